"""`reelbus verify FILE`: is this one of our videos, and whose?

The file is foreign, so it is opened in a child process with bounded memory and time: a hostile or broken file can crash
or hang a decoder (PyAV issue 2344), and must not take the command line with it. Containers and codecs are allow-listed.
"""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

from schemas.ids import job_key
from stream_processors.mux.payload import payload_of

CPU_S, _WALL_S = 120, 180


class NotVerifiable(Exception):
    """The file cannot be read; the message is one sentence for a person."""


class MarkFound(msgspec.Struct, frozen=True):
    """What the invisible mark's detector read."""

    payload: str
    """16 hex characters; means something only when `valid`."""
    valid: bool
    """The payload's check bits fit."""
    confidence: float
    """Below about 1.6 without a mark; see stream_processors.mux.mark.Reading."""
    job_prefix: str
    """First 10 hex characters of schemas.ids.job_uid of the job that made it; empty unless valid."""
    repaired_bits: int
    frames: int
    """Frames that were looked at."""


class Verification(msgspec.Struct, frozen=True):
    """What is known about one file."""

    container: str
    codec: str
    width_px: int
    height_px: int
    fps: float
    """0 for a still picture."""
    frames: int
    """Decoded frames."""
    duration_s: float
    label: Literal["found", "unknown"]
    """The visible mark. unknown: not where and how we draw it; it may be cropped, covered, or never have been there."""
    label_score: float
    """Correlation of the top-right corner with the plate, -1 .. 1; found from 0.6 on."""
    mark: MarkFound
    aigc: dict[str, str] | None
    """The AIGC metadata label (GB 45438-2025), if the file has one. Anybody can write one: not a proof."""

    @property
    def ok(self) -> bool:
        """True if the invisible mark proves that reelbus made it. Label and metadata alone prove nothing."""
        return self.mark.valid

    def belongs_to(self, tenant: str, job_id: str) -> bool:
        """True if this job made it: the invisible mark carries its id."""
        return self.mark.valid and self.mark.payload == payload_of(job_key(tenant, job_id))


def verify(path: Path) -> Verification:
    """Look at a video (MP4, MOV, Matroska, WebM) or a thumbnail or contact sheet (JPEG, PNG).

    Raises NotVerifiable with one sentence when it is none of these, is broken, or takes too much memory or time.
    """
    _check_file(path)
    command = [sys.executable, "-m", "ops.verify_child", str(path.resolve())]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_WALL_S,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotVerifiable(f"{path.name}: not read within {_WALL_S} s, so it was given up") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise NotVerifiable(f"{path.name}: {_cause(done.returncode)}; it is broken or hostile") from None
    if "error" in answer:
        raise NotVerifiable(f"{path.name}: {answer['error']}")
    return msgspec.convert(answer, Verification)


def _cause(status: int) -> str:
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return "reading it took too much processor time or memory"
    if status < 0:
        return f"the decoder crashed on it ({signal.Signals(-status).name})"
    return f"the decoder gave up on it (exit status {status})"


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as exc:
        raise NotVerifiable(f"{path}: {exc.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise NotVerifiable(f"{path}: not a regular file")
    if not os.access(path, os.R_OK):
        raise NotVerifiable(f"{path}: Permission denied")
