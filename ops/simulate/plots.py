"""Draws outcomes as PNG files. Needs matplotlib (reelbus[plot])."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.simulate.measures import Outcome
from schemas.request import LANES

COLOURS = {"express": "#c0392b", "standard": "#2471a3", "bulk": "#7d8a2e"}
DPI = 100


def _figure(**size: Any) -> Any:
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    return Figure(dpi=DPI, layout="constrained", **size)


def _saved(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of matplotlib in it the same figures are the same bytes.
    figure.savefig(path, metadata={"Software": None})
    return path


def plot_outcomes(outcomes: Sequence[Outcome], folder: Path) -> Iterator[Path]:
    """p95 wait and goodput by lane, and what the devices did, over the number of devices. Yields what it wrote."""
    gpus = [str(outcome.gpus) for outcome in outcomes]
    figure = _figure(figsize=(11, 3.6))
    waits, good, used = figure.subplots(1, 3)
    for lane in LANES:
        groups = [next((g for g in outcome.lanes if g.lane == lane), None) for outcome in outcomes]
        if all(group is None for group in groups):
            continue
        waits.plot(gpus, [g and g.wait_p95_s for g in groups], "o-", color=COLOURS[lane], label=lane)
        good.plot(gpus, [g and g.goodput for g in groups], "o-", color=COLOURS[lane], label=lane)
    waits.set(title="wait to the first chunk, p95", xlabel="GPUs", ylabel="seconds (log above 1)")
    waits.set_yscale("symlog", linthresh=1.0)
    waits.set_ylim(bottom=0)
    good.set(title="goodput: done within 3 solo times", xlabel="GPUs", ylabel="share of jobs", ylim=(0, 1.03))
    good.legend(frameon=False, loc="best")
    bottom = [0.0] * len(outcomes)
    for doing, colour in (("rendering", "#2e7d32"), ("loading", "#e0a030"), ("idle", "#d8d8d8")):
        shares = [getattr(outcome, doing) for outcome in outcomes]
        used.bar(gpus, shares, bottom=bottom, color=colour, label=doing)
        bottom = [below + share for below, share in zip(bottom, shares, strict=True)]
    used.set(title="what the devices did", xlabel="GPUs", ylabel="share of the time", ylim=(0, 1.0))
    used.legend(frameon=False, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    yield _saved(figure, folder / "simulation.png")


def plot_goodput(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Goodput over load, ours and first in, first out. rows: as `ops.bench.fairness` lists them under `peers`."""
    kinds = list(dict.fromkeys(row["lanes"] for row in rows))
    figure = _figure(figsize=(9, 3.6))
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        chosen = [row for row in rows if row["lanes"] == kind]
        loads = [row["load"] for row in chosen]
        axes.plot(loads, [row["goodput"] for row in chosen], "o-", color="#2471a3", label="reelbus")
        axes.plot(loads, [row["goodput_fifo"] for row in chosen], "s--", color="#7f7f7f", label="first in, first out")
        axes.set(title=f"lanes: {kind}", xlabel="load", ylim=(0, 1.03), xticks=loads)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("done within 3 times their time alone")
    figure.axes[0].legend(frameon=False, loc="lower left")
    return _saved(figure, path)
