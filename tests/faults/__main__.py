"""The command line of the harness; prints one JSON line per run on stdout, what happens on stderr."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import run as runs
from tests.faults.schedule import Dose

QUICK = Dose(kills=10, terms=2, freezes=1, broker_down_s=(5.0,), store_windows=1, storms=0, clock_steps=1, wipes=0)
CI = Dose(kills=60, broker_down_s=(5.0, 30.0, 60.0))


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("what", choices=("run", "quick"))
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    given = parser.parse_args()
    plan = {
        "run": runs.Plan(given.jobs or 500, given.seed, CI),
        "quick": runs.Plan(given.jobs or 60, given.seed, QUICK, cell_rounds=0),
    }[given.what]
    # "Connection refused" is what a client says for as long as the broker is down.
    logging.getLogger("ops.bus.clients").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="reelbus-faults-"))
    say(f"logs are in {folder}")
    result = runs.run(plan, folder, say)
    say(runs.report(result))
    print(result.line(), flush=True)
    if result.clean and not given.keep:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    return 0 if result.clean else 1


if __name__ == "__main__":
    sys.exit(main())
