"""The muxer's bench runs, and its figures are well-formed; whether they hold is for the bench itself to say."""

import pytest

from ops.bench.mux import run


def test_a_quick_run_measures_all_three_figures() -> None:
    pytest.importorskip("imageio_ffmpeg")
    result = run(quick=True)
    assert set(result) == {"bench", "figures", "machine", "peers"}
    assert [figure["bar"] for figure in result["figures"]] == [0.8, 1.1, 2.0]
    for figure in result["figures"]:
        assert set(figure) == {"name", "value", "unit", "bar", "holds"}
        assert figure["value"] > 0
        at_least = figure["bar"] == 0.8
        assert figure["holds"] == (figure["value"] >= figure["bar"] if at_least else figure["value"] <= figure["bar"])
    assert [peer["frames_per_s"] > 0 for peer in result["peers"]] == [True, True, True]
    assert result["machine"]["quick"] is True
