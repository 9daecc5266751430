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
from urllib.parse import urlsplit

import msgspec

from ops import mark_keys
from ops.sandbox.child import ChildFailed, ask
from ops.sandbox.lockdown import Limits
from ops.verification import MarkFound, NotVerifiable, Verification
from ops.verify_keyed import FRAMES_BYTES, Frames, Tried, try_keys, whole
from schemas.errors import Fatal
from schemas.mark_payload import ID_HEX

LIMITS = Limits(memory_bytes=3 << 30, cpu_s=120, wall_s=180.0, output_bytes=64 * 1024)
"""A whole video is decoded and searched for its mark."""
MAX_URL_BYTES, URL_TIMEOUT_S = 1 << 30, 300.0
_NEEDED = ("av", "cv2", "c2pa", "PIL")
_PEM = "-----BEGIN CERTIFICATE-----"


class Order(msgspec.Struct, frozen=True):
    """What the child is told.

    fd:          the file, readable and seekable
    frames:      answer with the frames too, for those who have keys
    trust:       PEM certificates of those whose signatures are trusted
    development: PEM certificates that vouch for this machine's own development key
    """

    fd: int
    limits: Limits
    trust: str = ""
    development: str = ""
    frames: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What the child says: what it found, or a part of a sentence about why not."""

    found: Verification | None = None
    error: str = ""
    frames: Frames = Frames()


def verify(
    source: Path | str,
    *,
    trust: Sequence[Path | str] = (),
    development_roots: Sequence[Path | str] = (),
    allow_private: bool = False,
    mark_key_file: Path | str = "",
    tenants: Sequence[str] = (),
) -> Verification:
    """Look at a video (MP4, MOV, Matroska, WebM) or a thumbnail or contact sheet (JPEG, PNG): a file, or its https
    address. Works without a network for files.

    trust:             PEM files with certificates of those whose content credentials are trusted
    development_roots: the same for development keys (Settings.development_root), where the files are there
    allow_private:     also fetch from private and loopback networks
    mark_key_file:     master keys of the invisible mark (Settings.mark_key_file); the public pattern is always tried
    tenants:           whose keys of it to try; a cropped picture is searched with at most SEARCHED_KEYS
    Raises NotVerifiable with one sentence when it is none of these, is broken, or takes too much memory or time; Fatal
    when packages are missing, or the file of keys is no good.
    """
    if bool(mark_key_file) != bool(tenants):
        raise Fatal(f"{mark_keys.SETTING} and tenants' names go together: a key is one tenant's under a master key")
    keys = tuple(mark_keys.of_tenants(mark_keys.load(mark_key_file), tenants)) if mark_key_file else ()
    remote = isinstance(source, str) and "://" in source
    _check_installed((*_NEEDED, "httpcore") if remote else _NEEDED)
    anchors = "".join(_certificates(Path(file)) for file in trust)
    own = "".join(_certificates(Path(file)) for file in development_roots if Path(file).is_file())
    if remote:
        with tempfile.TemporaryDirectory(prefix="reelbus-verify-") as folder:
            return _look(_fetched(str(source), Path(folder), allow_private), anchors, own, keys)
    return _look(Path(source), anchors, own, keys)


def _look(path: Path, trust: str, development: str, keys: Sequence[mark_keys.TenantMarkKey]) -> Verification:
    """The child that opens the file gives its frames back where keys are to be tried: it never has a key itself."""
    _check_file(path)
    limits = msgspec.structs.replace(LIMITS, output_bytes=LIMITS.output_bytes + FRAMES_BYTES) if keys else LIMITS
    with path.open("rb") as file:
        order = Order(file.fileno(), limits, trust, development, bool(keys))
        try:
            used = ask("ops.verify_child", order, limits, hand_over=[file.fileno()])
            answer = msgspec.json.decode(used.output, type=Answer)
        except ChildFailed as exc:
            raise NotVerifiable(f"{path.name}: the decoder {exc}; the file is broken or hostile") from None
        except msgspec.DecodeError:
            raise NotVerifiable(f"{path.name}: the decoder's answer makes no sense; the file is hostile") from None
    if answer.found is None:
        raise NotVerifiable(f"{path.name}: {answer.error}")
    if keys and not whole(answer.frames):
        raise NotVerifiable(f"{path.name}: the decoder's frames make no sense; the file is hostile")
    try:
        tried = try_keys(answer.frames, keys, search=not answer.found.mark.valid) if keys else Tried()
    except ChildFailed as exc:
        raise NotVerifiable(f"{path.name}: trying {len(keys)} keys {exc}; give fewer tenants") from None
    return msgspec.structs.replace(answer.found, mark=_best(answer.found.mark, tried, keys))


def _best(public: MarkFound, tried: Tried, keys: Sequence[mark_keys.TenantMarkKey]) -> MarkFound:
    """What a tenant's key reads says more than the public pattern, which anybody can put over it. Whatever the child
    that read the latter says of tenants is not believed: it has no keys."""
    counts = {"keys_tried": len(keys), "keys_searched": tried.searched}
    if tried.key is None:
        return msgspec.structs.replace(public, tenant="", key_id="", **counts)
    found = keys[tried.key]
    return MarkFound(
        payload=tried.payload,
        valid=True,
        confidence=tried.confidence,
        job_prefix=tried.payload[:ID_HEX],
        repaired_bits=tried.repaired_bits,
        frames=tried.frames,
        tenant=found.tenant,
        key_id=found.key_id,
        **counts,
    )


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
