"""`reelbus verify FILE`: is this one of our videos, whose, and is it as it was signed?

The file is foreign, so it is opened in a child process with bounded memory and time: a hostile or broken file can crash
or hang a decoder (PyAV issue 2344), and must not take the command line with it. Containers and codecs are allow-listed.
"""

import os
import stat
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from ops.sandbox.child import ChildFailed, ask
from ops.sandbox.lockdown import Limits
from schemas.errors import Fatal
from schemas.ids import job_key
from schemas.mark_payload import payload_of

LIMITS = Limits(memory_bytes=3 << 30, cpu_s=120, wall_s=180.0, output_bytes=64 * 1024)
"""A whole video is decoded and searched for its mark."""
MAX_URL_BYTES, URL_TIMEOUT_S = 1 << 30, 300.0
_NEEDED = ("av", "cv2", "c2pa", "PIL")
_PEM = "-----BEGIN CERTIFICATE-----"


class NotVerifiable(Exception):
    """The file cannot be read; the message is one sentence for a person."""


class MarkFound(msgspec.Struct, frozen=True):
    """What the invisible mark's detector read."""

    payload: str
    """16 hex characters; means something only when `valid`."""
    valid: bool
    """The payload's check bits fit."""
    confidence: float
    """Below about 1.9 without a mark; see stream_processors.mux.mark.Reading."""
    job_prefix: str
    """First 10 hex characters of schemas.ids.job_uid of the job that made it; empty unless valid."""
    repaired_bits: int
    frames: int
    """Frames that were looked at."""


class Credentials(msgspec.Struct, frozen=True):
    """What the file's C2PA manifest says, and whether it holds. All but `state`, `development` and `problems` is what
    the signer claims."""

    state: Literal["absent", "valid", "trusted", "tampered", "invalid", "unreadable"]
    """absent: none, or removed. valid: unchanged since it was signed, by somebody who is not known here. trusted: the
    same, and one of the given certificates vouches for the signer. tampered: changed since. invalid: unchanged, but
    the signer's certificate is no good (expired, not for signing). unreadable: not checked, for the reason in
    `problems`."""
    signer: str = ""
    """Common name of who signed."""
    issuer: str = ""
    """Organisation of who signed."""
    signed_at: str = ""
    """When a time-stamp authority saw it, ISO 8601; empty: none was asked."""
    signed_at_trusted: bool = False
    """One of the given certificates vouches for that authority; without, anybody could have said so."""
    development: bool = False
    """Trusted only because this machine's own development key signed it."""
    made_with: str = ""
    """Program and version."""
    made_at: str = ""
    """When, by the signer's own clock."""
    source_type: str = ""
    """IPTC digital source type: trainedAlgorithmicMedia, or compositeWithTrainedAlgorithmicMedia when pictures of the
    caller's went in."""
    model: str = ""
    """Name of the model that made it."""
    model_revision: str = ""
    """Which weights and settings that name stood for."""
    job_uid: str = ""
    """schemas.ids.job_uid of the job that made it."""
    mark_payload: str = ""
    """Payload of the invisible mark that the file had when it was signed."""
    ingredients: tuple[str, ...] = ()
    """What went in."""
    prompts: tuple[str, ...] = ()
    """Only where the operator has prompts written into files."""
    problems: tuple[str, ...] = ()
    """Why it does not hold: C2PA's codes."""


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
    c2pa: Credentials
    """The content credentials."""

    @property
    def ok(self) -> bool:
        """True if the invisible mark proves that reelbus made it. Label and metadata alone prove nothing."""
        return self.mark.valid

    def belongs_to(self, tenant: str, job_id: str) -> bool:
        """True if this job made it: the invisible mark carries its id."""
        return self.mark.valid and self.mark.payload == payload_of(job_key(tenant, job_id))


class Order(msgspec.Struct, frozen=True):
    """What the child is told.

    fd:          the file, readable and seekable
    trust:       PEM certificates of those whose signatures are trusted
    development: PEM certificates that vouch for this machine's own development key
    """

    fd: int
    limits: Limits
    trust: str = ""
    development: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the child says: what it found, or a part of a sentence about why not."""

    found: Verification | None = None
    error: str = ""


def verify(
    source: Path | str,
    *,
    trust: Sequence[Path | str] = (),
    development_roots: Sequence[Path | str] = (),
    allow_private: bool = False,
) -> Verification:
    """Look at a video (MP4, MOV, Matroska, WebM) or a thumbnail or contact sheet (JPEG, PNG): a file, or its https
    address. Works without a network for files.

    trust:             PEM files with certificates of those whose content credentials are trusted
    development_roots: the same for development keys (Settings.development_root), where the files are there
    allow_private:     also fetch from private and loopback networks
    Raises NotVerifiable with one sentence when it is none of these, is broken, or takes too much memory or time; Fatal
    when packages are missing.
    """
    remote = isinstance(source, str) and "://" in source
    _check_installed((*_NEEDED, "httpcore") if remote else _NEEDED)
    anchors = "".join(_certificates(Path(file)) for file in trust)
    own = "".join(_certificates(Path(file)) for file in development_roots if Path(file).is_file())
    if remote:
        with tempfile.TemporaryDirectory(prefix="reelbus-verify-") as folder:
            return _look(_fetched(str(source), Path(folder), allow_private), anchors, own)
    return _look(Path(source), anchors, own)


def _look(path: Path, trust: str, development: str) -> Verification:
    _check_file(path)
    with path.open("rb") as file:
        order = Order(file.fileno(), LIMITS, trust, development)
        try:
            used = ask("ops.verify_child", order, LIMITS, hand_over=[file.fileno()])
            answer = msgspec.json.decode(used.output, type=Answer)
        except ChildFailed as exc:
            raise NotVerifiable(f"{path.name}: the decoder {exc}; the file is broken or hostile") from None
        except msgspec.DecodeError:
            raise NotVerifiable(f"{path.name}: the decoder's answer makes no sense; the file is hostile") from None
    if answer.found is None:
        raise NotVerifiable(f"{path.name}: {answer.error}")
    return answer.found


def _check_installed(needed: Sequence[str]) -> None:
    """The child could only say that it ended."""
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise Fatal(f"verifying needs {', '.join(missing)}, not installed: pip install 'reelbus[verify]'")


def _certificates(path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise NotVerifiable(f"trusted certificates: cannot read {path}: {exc}") from None
    if _PEM not in text:
        raise NotVerifiable(f"trusted certificates: {path} holds none; expected PEM, {_PEM}")
    return text + "\n"


def _fetched(url: str, folder: Path, allow_private: bool) -> Path:
    """The file behind an https address, through the same checks as callers' files. Its query may hold a token, so
    only its last part is ever shown."""
    from ops.net.addresses import Refused
    from ops.net.dialling import NoAnswer
    from ops.net.download import NoFile
    from ops.net.fetching import fetch

    path = folder / (PurePosixPath(urlsplit(url).path).name[-80:] or "file")
    try:
        fetch(url, path, allow_private=allow_private, max_bytes=MAX_URL_BYTES, timeout_s=URL_TIMEOUT_S)
    except (Refused, NoFile, NoAnswer) as exc:
        raise NotVerifiable(f"{path.name}: the address: {exc}") from None
    return path


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as exc:
        raise NotVerifiable(f"{path}: {exc.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise NotVerifiable(f"{path}: not a regular file")
    if not os.access(path, os.R_OK):
        raise NotVerifiable(f"{path}: Permission denied")
