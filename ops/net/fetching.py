"""A stranger's file to a file of ours, through a child process that dials only checked addresses."""

import hashlib
import os
from pathlib import Path

import msgspec

from ops.net.addresses import Refused
from ops.net.dialling import NoAnswer
from ops.net.download import NoFile
from ops.sandbox.child import ChildFailed, ask
from ops.sandbox.lockdown import Limits

MAX_BYTES = 64 << 20
TIMEOUT_S = 15.0
_CPU_S_PER_GIB = 60
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_BLOCK_BYTES = 1 << 20


class Order(msgspec.Struct, frozen=True):
    """What is wanted. fd: the empty file, writable."""

    fd: int
    limits: Limits
    url: str
    max_bytes: int
    timeout_s: float
    allow_private: bool
    operators: bool
    """The host is the operator's own: http and private addresses are fine."""


class Answer(msgspec.Struct, frozen=True):
    """How it went; error is empty, or a part of a sentence."""

    outcome: str = "fetched"
    """fetched, refused, no-file or no-answer."""
    error: str = ""
    guards: tuple[str, ...] = ()


def limits(max_bytes: int, timeout_s: float) -> Limits:
    """Of the child that fetches so many bytes in so much time."""
    cpu_s = max(5, _CPU_S_PER_GIB * max_bytes // (1 << 30))
    return Limits(memory_bytes=256 << 20, cpu_s=cpu_s, wall_s=timeout_s + 5, output_bytes=4096, file_bytes=max_bytes)


LIMITS = limits(MAX_BYTES, TIMEOUT_S)


def fetch(
    url: str,
    target: Path,
    *,
    allow_private: bool = False,
    operators: bool = False,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """GET `url` into the new file `target`. Returns the SHA-256 of the bytes, hex.

    operators: the URL was made by us for a host that the operator named (a presigned address of an allowed bucket).
    Raises Refused before any packet goes to a denied address, NoFile when the file is not there or not taken, NoAnswer
    when another try may bring it.
    """
    with target.open("xb") as file:
        bounds = limits(max_bytes, timeout_s)
        order = Order(file.fileno(), bounds, url, max_bytes, timeout_s, allow_private, operators)
        environment = {name: os.environ[name] for name in _CERTIFICATES if name in os.environ}
        try:
            said = ask("ops.net.fetch_child", order, bounds, hand_over=[file.fileno()], environment=environment)
            answer = msgspec.json.decode(said.output, type=Answer)
        except ChildFailed as exc:
            raise NoAnswer(f"the fetching process {exc}") from None
        except msgspec.DecodeError:
            raise NoFile("made the fetching process answer nonsense") from None
    error = ascii(answer.error[:300])[1:-1]
    match answer.outcome:
        case "fetched":
            return _sha256(target)
        case "refused":
            raise Refused(error)
        case "no-answer":
            raise NoAnswer(error)
    raise NoFile(error)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
