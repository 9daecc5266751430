"""The long run: `python -m tests.simulation --programs 200000 --seed 1`. Prints one JSON line.

`--replay BLOB` runs one program again and prints it; `--bug NAME` switches a seeded bug on; `--lines` measures which
lines of the cores the programs reach.
"""

import argparse
import ast
import contextlib
import json
import logging
import sys
import time

from tests.simulation.bugs import BUGS, seeded
from tests.simulation.lines import Lines
from tests.simulation.runner import Failure, machine, replay, run

BATCH = 1_000
"""Programs per seed: hypothesis remembers what it has tried, so batches keep memory and speed level. The n-th batch has
seed SEED + n."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--programs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", metavar="BLOB", help="as printed, b'...'")
    parser.add_argument("--bug", choices=list(BUGS))
    parser.add_argument("--lines", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        bugs = stack.enter_context(seeded(asked.bug)) if asked.bug else frozenset[str]()
        if asked.replay:
            what, program = replay(machine(bugs), ast.literal_eval(asked.replay))
            print(program, what or "nothing failed", sep="\n")
            return 1 if what else 0
        lines = stack.enter_context(Lines()) if asked.lines else None
        return _long(bugs, asked.seed, asked.programs, lines)


def _long(bugs: frozenset[str], seed: int, programs: int, lines: Lines | None) -> int:
    began_s, kind, failure = time.monotonic(), machine(bugs), None
    batch = 0
    while batch * BATCH < programs and failure is None:
        failure = run(kind, seed + batch, min(BATCH, programs - batch * BATCH))
        batch += 1
    took_s = time.monotonic() - began_s
    if failure is not None:
        _tell(failure)
    print(
        json.dumps(_summary(kind.counts, seed, took_s, failure) | ({} if lines is None else {"lines": lines.reached()}))
    )
    return 0 if failure is None else 1


def _tell(failure: Failure) -> None:
    print(failure.program, failure.what, sep="\n", file=sys.stderr)
    print(f'again: .venv/bin/python -m tests.simulation --replay "{failure.blob!r}"', file=sys.stderr)


def _summary(counts: dict[str, int], seed: int, took_s: float, failure: Failure | None) -> dict[str, object]:
    return {
        "seed": seed,
        **counts,
        "violations": int(failure is not None),
        "violation": None if failure is None else failure.what,
        "failing_seed": None if failure is None else failure.seed,
        "blob": None if failure is None else repr(failure.blob),
        "took_s": round(took_s, 1),
        "programs_per_s": round(counts["programs"] / took_s, 1),
        "rules_per_s": round(counts["rules"] / took_s, 1),
        "effects_per_s": round(counts["effects"] / took_s, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
