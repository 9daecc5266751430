"""The command line of the harness; prints one JSON line per run on stdout, what happens on stderr."""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults import run as runs
from tests.faults.schedule import Dose

QUICK = Dose(kills=10, terms=2, freezes=1, broker_down_s=(5.0,), store_windows=1, storms=0, clock_steps=1, wipes=0)
CI = Dose(kills=60, broker_down_s=(5.0, 30.0, 60.0))
PART = Dose(
    kills=100, terms=10, freezes=3, freeze_s=90.0, broker_down_s=(5.0, 5.0, 30.0, 30.0, 120.0), store_windows=6,
    storms=1,
    clock_steps=4, disk_full=2, wipes=1, rolling=2, device_kills=5, spacing_s=2.5,
)  # fmt: skip
"""A tenth of a soak."""
PARTS, PART_JOBS = 10, 1000
ADDED = ("jobs", "random_kills", "crash_point_kills", "broker_kills", "restarts", "rubbish_records", "took_s")


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def one(plan: runs.Plan, keep: bool) -> runs.Result:
    """A run in a folder of its own, which stays when something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="reelbus-faults-"))
    say(f"logs are in {folder}")
    result = runs.run(plan, folder, say)
    say(runs.report(result))
    print(result.line(), flush=True)
    if result.clean and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def soak(seed: int, first: int, parts: int, jobs: int, keep: bool, file: Path | None) -> bool:
    """Parts of a soak one after another, every other one on three brokers; the report holds all of them, those of an
    earlier call (first > 1) too."""
    done = json.loads(file.read_text())["parts"][: first - 1] if file is not None and first > 1 else []
    for number in range(first, first + parts):
        plan = runs.Plan(jobs, seed + number - 1, PART, cell_rounds=1, brokers=1 if number % 2 else 3)
        done.append({"brokers": plan.brokers, **runs.details(one(plan, keep))})
        if file is not None:
            file.write_text(json.dumps(summary(done), indent=1) + "\n")
    print(json.dumps({k: v for k, v in summary(done).items() if k != "parts"}), flush=True)
    return all(part["clean"] for part in done)


def summary(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All parts together, and each by itself."""
    kills = sum(part["random_kills"] + part["crash_point_kills"] for part in parts)
    return {
        "clean": all(part["clean"] for part in parts),
        "parts_run": len(parts),
        "parts_wanted": PARTS,
        **{name: sum(part[name] for part in parts) for name in ADDED},
        "kills": kills,
        "violations": sum(sum(part["violations"].values()) for part in parts),
        "chance_of_harm_per_kill_below": round(3 / kills, 5) if kills else None,
        "parts": list(parts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("what", choices=("run", "quick", "soak", "selfcheck"))
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="the same seed, the same schedule")
    parser.add_argument("--jobs", type=int, help="jobs of a run, or of one part of a soak")
    parser.add_argument("--parts", type=int, default=PARTS, help="parts of a soak to run now")
    parser.add_argument("--first", type=int, default=1, help="number of the first of them; the report has those before")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    parser.add_argument("--report", type=Path, help="also write the JSON to this file")
    parser.add_argument("--at-once", type=int, default=1, help="selfcheck: runs side by side")
    parser.add_argument("--only", nargs="*", default=(), help="selfcheck: these mistakes, or clean-SCENARIO")
    given = parser.parse_args()
    # "Connection refused" is what a client says for as long as the broker is down.
    logging.getLogger("ops.bus.clients").setLevel(logging.CRITICAL)
    if given.what == "selfcheck":
        from tests.faults import selfcheck

        return selfcheck.main(given.seed, given.report, say, given.only, given.at_once)
    if given.what == "soak":
        return 0 if soak(given.seed, given.first, given.parts, given.jobs or PART_JOBS, given.keep, given.report) else 1
    dose, jobs, rounds = (CI, 500, 1) if given.what == "run" else (QUICK, 60, 0)
    result = one(runs.Plan(given.jobs or jobs, given.seed, dose, rounds, brokers=given.brokers), given.keep)
    if given.report is not None:
        given.report.write_text(json.dumps(runs.details(result), indent=1) + "\n")
    return 0 if result.clean else 1


if __name__ == "__main__":
    sys.exit(main())
