"""A test build of a stage: `python -m tests.faults.process STAGE` is `reelbus run STAGE` with ears at its crash points.

environment, all optional:
    CRASH_AT=stage.point:n   SIGKILL itself when the point is reached for the n-th time
    FAULT_LOG=folder         deaths.jsonl gets a line for each such crash, steps.jsonl one for each step of a device
    CLOCK_STEP=file          holds the seconds that this process's wall clock is ahead; read twice a second
    SEEDED_BUG=name          one of tests/faults/bugs.py
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from ops import crash_points

STEP = ("render", "step")


class Ears:
    """Kills this process at its point; writes down what the report needs."""

    def __init__(self, crash_at: str, log: str) -> None:
        place, _, nth = crash_at.partition(":")
        stage, _, point = place.partition(".")
        self._crash, self._nth = (stage, point), int(nth or 1)
        self._folder = log
        self._heard: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def __call__(self, stage: str, point: str) -> None:
        with self._lock:
            self._heard[stage, point] += 1
            dies = (stage, point) == self._crash and self._heard[stage, point] == self._nth
        if (stage, point) == STEP:
            self._write("steps.jsonl", stage, point)
        if dies:
            self._write("deaths.jsonl", stage, point)
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, name: str, stage: str, point: str) -> None:
        if self._folder:
            line = {"at_s": clock(), "pid": os.getpid(), "point": f"{stage}.{point}"}
            with open(os.path.join(self._folder, name), "a") as file:
                file.write(json.dumps(line) + "\n")


clock = time.time
"""The real wall clock, whatever CLOCK_STEP does to everybody else's."""


def step_clock(file: Path) -> None:
    """From now on `time.time` and `time.time_ns` are ahead by what the file says."""
    real_s, real_ns = time.time, time.time_ns
    read: dict[str, float] = {"at_s": -1.0, "ahead_s": 0.0}

    def ahead_s() -> float:
        now_s = time.monotonic()
        if now_s - read["at_s"] > 0.5:
            read["at_s"], read["ahead_s"] = now_s, float(file.read_text() or 0) if file.exists() else 0.0
        return read["ahead_s"]

    time.time = lambda: real_s() + ahead_s()
    time.time_ns = lambda: real_ns() + int(ahead_s() * 1e9)


def main() -> int:
    if step := os.environ.pop("CLOCK_STEP", ""):
        step_clock(Path(step))
    crash_points.listen(Ears(os.environ.pop("CRASH_AT", ""), os.environ.get("FAULT_LOG", "")))
    if bug := os.environ.get("SEEDED_BUG", ""):
        from tests.faults import bugs

        bugs.plant(bug)
    from ops.cli import main as command_line

    sys.argv[1:] = ["run", *sys.argv[1:]]
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
