"""`reelbus verify FILE`: is this one of our videos, and whose?

The file is foreign, so it is opened in a child process with bounded memory and time: a hostile or broken file can crash
or hang a decoder (PyAV issue 2344), and must not take the command line with it. Containers and codecs are allow-listed.
"""

import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from ops.sandbox.child import ChildFailed, ask
from ops.sandbox.lockdown import Limits
from schemas.ids import job_key
from stream_processors.mux.payload import payload_of

LIMITS = Limits(memory_bytes=3 << 30, cpu_s=120, wall_s=180.0, output_bytes=64 * 1024)
"""A whole video is decoded and searched for its mark."""


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


class Order(msgspec.Struct, frozen=True):
    """What the child is told. fd: the file, readable and seekable."""

    fd: int
    limits: Limits


class Answer(msgspec.Struct, frozen=True):
    """What the child says: what it found, or a part of a sentence about why not."""

    found: Verification | None = None
    error: str = ""


def verify(path: Path) -> Verification:
    """Look at a video (MP4, MOV, Matroska, WebM) or a thumbnail or contact sheet (JPEG, PNG).

    Raises NotVerifiable with one sentence when it is none of these, is broken, or takes too much memory or time.
    """
    _check_file(path)
    with path.open("rb") as file:
        try:
            used = ask("ops.verify_child", Order(file.fileno(), LIMITS), LIMITS, hand_over=[file.fileno()])
            answer = msgspec.json.decode(used.output, type=Answer)
        except ChildFailed as exc:
            raise NotVerifiable(f"{path.name}: the decoder {exc}; the file is broken or hostile") from None
        except msgspec.DecodeError:
            raise NotVerifiable(f"{path.name}: the decoder's answer makes no sense; the file is hostile") from None
    if answer.found is None:
        raise NotVerifiable(f"{path.name}: {answer.error}")
    return answer.found


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as exc:
        raise NotVerifiable(f"{path}: {exc.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise NotVerifiable(f"{path}: not a regular file")
    if not os.access(path, os.R_OK):
        raise NotVerifiable(f"{path}: Permission denied")
