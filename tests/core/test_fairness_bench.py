"""The bench of the scheduler's promises runs, and its figures are the simulator's."""

from ops.bench.fairness import run


def test_it_measures_every_promise_in_virtual_time() -> None:
    result = run(quick=True)
    figures = {figure["name"]: figure for figure in result["figures"]}
    assert len(figures) == 8
    assert figures["Jain index over weighted tenants"]["value"] > 0.9
    assert figures["workers busy meanwhile"]["value"] > 0.9
    assert {(row["lanes"], row["load"]) for row in result["peers"]} == {
        (lanes, load) for lanes in ("by length", "one for all") for load in (0.5, 0.8, 1.1)
    }
    assert all(0 <= row["goodput_fifo"] <= 1 for row in result["peers"])
    assert result["details"]["express_under_bulk"]["jobs_not_begun_at_the_end"] > 0, "the backlog lasted"
