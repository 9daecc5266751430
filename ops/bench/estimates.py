"""Bench of the estimates: when a job was told to be rendered, and when it was. In virtual time: the real scheduler and
workers' cores, simulated devices, a mixed run. The figures are the same on every machine.

`reelbus bench estimates --json`; committed in docs/reports/estimates.json.
"""

import platform
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from msgspec import to_builtins

from ops.bench import estimates_workload as work
from ops.simulate import estimates as measure
from ops.simulate.estimates import Telling
from ops.simulate.measures import percentile

SEED = 20261126
BAR = 0.15
HELD_EVERY_MS = 10_000
LATE_S = 5.0
BEFORE = {"error_p50": 0.3184, "error_worst_run": 0.44, "error_held_p50": 0.4111, "late_longest_s": 45.4}
"""Measured by this bench at commit 5eea6a3, the same workload and seeds."""


class Run(NamedTuple):
    workers: int
    load: float
    window_jobs: int = 200
    death: bool = False
    """A worker dies on the way, and comes back cold; later another one does and stays away."""


RUNS = (
    Run(4, 0.8),
    Run(8, 0.8),
    Run(16, 0.8),
    Run(4, 1.1),
    Run(8, 1.1),
    Run(16, 1.1),
    Run(8, 0.8, death=True),
    Run(8, 1.1, window_jobs=24),
)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: a fraction of the work, for tests."""
    jobs, runs = (60, RUNS[:1]) if quick else (300, RUNS)
    told: list[Telling] = []
    held: list[Telling] = []
    late: list[float] = []
    rows = []
    for number, one in enumerate(runs):
        traces = work.played(one.workers, one.load, jobs, one.window_jobs, one.death, Random(SEED + number))
        found, beliefs, lates = (
            measure.tellings(traces),
            measure.held(traces, HELD_EVERY_MS),
            measure.silently_late_s(traces),
        )
        told, held, late = told + found, held + beliefs, late + lates
        rows.append({
            **one._asdict(), "jobs": len(traces.jobs), "chunks": sum(w.chunks for w in traces.workers),
            "tellings_per_job": round(len(traces.told) / len(traces.jobs), 1),
            "error": to_builtins(measure.errors(found)), "error_held": to_builtins(measure.errors(beliefs)),
            "late_longest_s": max(lates, default=0.0),
        })  # fmt: skip
    return _report(told, held, late, rows, quick)


def _report(
    told: Sequence[Telling], held: Sequence[Telling], late: Sequence[float], rows: list[dict[str, Any]], quick: bool
) -> dict[str, Any]:
    worst = max(row["error"]["p50"] for row in rows)
    return {
        "bench": "estimates",
        "figures": [
            _figure("error of estimated finish, median over all tellings", measure.errors(told).p50, "", BAR),
            _figure("the same in the worst of the runs", worst, "", BAR),
            _figure("past its told finish without being told anew, longest", max(late, default=0.0), "s", LATE_S),
        ],
        "machine": {"python": platform.python_version(), "clock": "simulated", "seed": SEED, "quick": quick},
        "peers": [
            {"name": "the estimate before 2026-11-26, without plays and arrivals", **BEFORE},
        ],
        "details": {
            "runs": rows,
            "error": to_builtins(measure.errors(told)),
            "error_by_lane": to_builtins(measure.by_lane(told)),
            "error_by_remaining_time": to_builtins(measure.by_left(told)),
            "error_held": to_builtins(measure.errors(held)),
            "error_held_by_lane": to_builtins(measure.by_lane(held)),
            "error_held_by_remaining_time": to_builtins(measure.by_left(held)),
            "late_s_p50": percentile(late, 0.5),
            "late_s_p99": percentile(late, 0.99),
            "workload": work.DESCRIPTION,
        },
    }


def _figure(name: str, value: float | None, unit: str, bar: float) -> dict[str, Any]:
    """The bar is the most that it may be."""
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": value is not None and value <= bar}
