"""Command lines, run as a person would type them."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

LONGEST_S = 300.0
"""Of one command: a first `npm install` or Maven run fetches packages. The programs themselves wait 120 s."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended. status is None when it was killed because it took too long."""

    status: int | None
    stdout: str
    stderr: str
    took_s: float

    def last_words(self) -> str:
        said = (self.stderr or self.stdout).strip()[-1500:] or "nothing"
        return f"it ended with status {self.status} and said: {said}"


def run(command: str, folder: Path) -> Ended:
    """Run a command line in a folder, by bash, in a process group that does not outlive its time."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    status: int | None = None
    try:
        stdout, stderr = process.communicate(timeout=LONGEST_S)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
    return Ended(status, stdout, stderr, time.monotonic() - began_s)
