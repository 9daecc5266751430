"""A test build of a stage: `python -m tests.faults.process STAGE` is `reelbus run STAGE` with ears at its crash points.

environment, all optional:
    CRASH_AT=stage.point:n   SIGKILL itself when the point is reached for the n-th time
    FAULT_LOG=folder         deaths.jsonl gets a line for each such crash, steps.jsonl one for each step of a device;
                             armed.json, which may change at any time, says at which point of a stage one process,
                             whoever is first, is to die next: {"mux": ["17", "video-put", 2]} (cell, point, time)
    CLOCK_STEP=file          holds the seconds that this process's wall clock is ahead; read twice a second
    SEEDED_BUG=names         of tests/faults/bugs/, separated by commas
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from ops import crash_points

STEP = ("render", "step")
LOOK_EVERY_S = 0.2
COUNTS_TRIES = frozenset((stage, "committed") for stage, points in crash_points.POINTS.items() if "handled" in points)
"""Stages that give a record up when three processes died of it, as a poisonous one deserves. An armed cell kills only a
process that has got a record through, so that no innocent record is there three times in a row."""


class Ears:
    """Kills this process at its point; writes down what the report needs."""

    def __init__(self, crash_at: str, log: str) -> None:
        self._folder = Path(log) if log else None
        place, _, nth = crash_at.partition(":")
        stage, _, point = place.partition(".")
        self._always = {stage: ("", point, int(nth or 1))} if stage else {}
        self._armed: dict[str, tuple[str, str, int]] = {}
        self._read_s = -1.0
        self._heard: Counter[tuple[str, str]] = Counter()
        """How often each cell's point was reached since this process knows of the cell."""
        self._got_through: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, stage: str, point: str) -> None:
        if (stage, point) == STEP:
            self._write("steps.jsonl", stage, point, "")
        with self._lock:
            self._look()
            if (stage, point) in COUNTS_TRIES:
                self._got_through.add(stage)
            patient = any(stage == other for other, _ in COUNTS_TRIES) and stage not in self._got_through
            for armed in (self._always, {} if patient else self._armed):
                name, at, nth = armed.get(stage, ("", "", 0))
                if at == point:
                    self._heard[name, at] += 1
                    if self._heard[name, at] >= nth and self._claim(name):
                        self._write("deaths.jsonl", stage, point, name)
                        os.kill(os.getpid(), signal.SIGKILL)

    def _look(self) -> None:
        now_s = time.monotonic()
        if self._folder is not None and now_s - self._read_s > LOOK_EVERY_S:
            self._read_s = now_s
            with suppress(OSError, ValueError):
                self._armed = json.loads((self._folder / "armed.json").read_text())

    def _claim(self, cell: str) -> bool:
        """Whether this process is the one that dies for a cell: several of a stage may reach its point at once."""
        if self._folder is None or not cell:
            return True
        try:
            os.close(os.open(self._folder / f"claimed-{cell}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _write(self, name: str, stage: str, point: str, cell: str) -> None:
        if self._folder is not None:
            line = {"at_s": clock(), "pid": os.getpid(), "point": f"{stage}.{point}", "cell": cell}
            with (self._folder / name).open("a") as file:
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

        bugs.plant(bug, sys.argv[1])
    from ops.cli import main as command_line

    sys.argv[1:] = ["run", *sys.argv[1:]]
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
