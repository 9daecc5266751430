"""`make fuzz`: a long run on a broker of its own; one JSON object on the last line. Exit 1 when it did not hold."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from ops.local.kafka import LocalKafka
from tests.fuzz.records import JOB_EVERY
from tests.fuzz.run import STALL_BAR_S, fuzz, settings_in


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--job-every", type=int, default=JOB_EVERY, help="records between two good jobs; 0: none")
    parser.add_argument("--out", type=Path, help="also write the object to this file")
    options = parser.parse_args(argv)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="reelbus-fuzz-") as name, LocalKafka(Path(name), "auto") as broker:
        settings = settings_in(Path(name), broker.bootstrap_servers, "fuzz")
        report = fuzz(settings, options.seed, options.records, say, options.job_every)
    holds = report.sound and report.worst_stall_s <= STALL_BAR_S
    said = json.dumps({**asdict(report), "holds": holds})
    if options.out is not None:
        options.out.write_text(said + "\n")
    print(said)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
