"""`make clients`: every program of docs/examples in another language, run against the real broker and pipeline."""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.cli.output import paper, say
from ops.cli.stack import interrupt_once
from ops.local import apicurio, jars
from ops.view.table import plain_table
from schemas.errors import PipelineError
from tests.clients import pipeline
from tests.clients.programs import PROGRAMS, Program
from tests.clients.trial import Outcome, attempt

BY_NAME = {program.name: program for program in PROGRAMS}


def main(argv: list[str]) -> int:
    """0 when every program did what it should. A missing tool counts as a failure in CI only."""
    parser = argparse.ArgumentParser(prog="make clients ARGS=", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=BY_NAME, default=list(BY_NAME), metavar="NAME", help=" ".join(BY_NAME)
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args(argv)
    interrupt_once()
    try:
        outcomes = _attempts([BY_NAME[name] for name in given.only])
    except PipelineError as exc:
        say(f"error: {exc}")
        return 1
    paper().print(_table(outcomes))
    for outcome in outcomes:
        for fault in outcome.faults:
            say(f"{outcome.name} {outcome.outcome}: {fault}")
    if given.record:
        given.record.write_text(json.dumps(_figures(outcomes), indent=2) + "\n")
    accepted = ("ok",) if os.environ.get("CI") else ("ok", "skipped")
    return 0 if all(outcome.outcome in accepted for outcome in outcomes) else 1


def _attempts(programs: list[Program]) -> list[Outcome]:
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="reelbus-clients-") as name, pipeline.running(Path(name), say) as settings:
        for program in programs:
            say(f"{program.name} ...")
            outcomes.append(attempt(program, settings, Path(name) / program.name))
    return outcomes


def _table(outcomes: list[Outcome]) -> Any:
    seconds = ("set-up", "video", "refused", "wrong hash")
    table = plain_table("program", "language", "client", *(f"{name} s" for name in seconds), "outcome",
                        numbers=tuple(f"{name} s" for name in seconds))  # fmt: skip
    for one in outcomes:
        took = (one.setup_s, one.video_s, one.refused_s, one.altered_s)
        table.add_row(one.name, one.language, one.library, *(f"{s:.1f}" if s else "–" for s in took), one.outcome)
    return table


def _figures(outcomes: list[Outcome]) -> dict[str, Any]:
    rounded = [{k: round(v, 1) if isinstance(v, float) else v for k, v in asdict(one).items()} for one in outcomes]
    return {
        "report": "clients",
        "command": "make clients",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "kafka": jars.VERSION,
        "registry": f"Apicurio Registry {apicurio.VERSION}",
        "machine": {"cpus": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2)},
        "programs": rounded,
    }


if __name__ == "__main__":
    began_s = time.monotonic()
    status = main(sys.argv[1:])
    say(f"took {time.monotonic() - began_s:.0f} s")
    sys.exit(status)
