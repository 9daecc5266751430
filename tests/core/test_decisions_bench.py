"""The bench of the scheduler's core runs and compares what it says it compares."""

from ops.bench.decisions import run


def test_it_measures_decisions_and_whole_hand_outs() -> None:
    result = run(quick=True)
    (figure,) = result["figures"]
    assert figure["value"] > 0
    assert result["machine"]["chunks_handed_out_per_s_with_all_records"] > 0
    assert [len(peer["per_s"]) for peer in result["peers"]] == [1, 1]
