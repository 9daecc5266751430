"""The content credentials (C2PA) of a foreign file, as an ingredient of what is made from it, by way of a child.

What comes out is c2pa's own form of an ingredient: the file's manifests as they were signed, and what c2pa found when
it checked them against the file. Whoever puts it into another manifest needs the file no more.
"""

from pathlib import Path
from typing import BinaryIO

import msgspec

from ops.sandbox.child import ChildFailed, ask
from ops.sandbox.lockdown import Limits

PURPOSES = (
    "1.3.6.1.5.5.7.3.4",  # id-kp-emailProtection
    "1.3.6.1.5.5.7.3.36",  # id-kp-documentSigning
    "1.3.6.1.5.5.7.3.8",  # id-kp-timeStamping, for time-stamp authorities
    "1.3.6.1.5.5.7.3.9",  # id-kp-OCSPSigning
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft C2PA signing
    "1.3.6.1.4.1.62558.2.1",  # c2pa-kp-claimSigning, what certificates of the C2PA trust list have
)
"""Extended key usages that are taken for content credentials. c2pa by itself takes the first only."""
MAX_BYTES = 1 << 20
"""Longest ingredient that is kept."""
CONTENT_TYPE = "application/c2pa"
CHILD = "ops.media.credentials_child"
_MARK = b"c2pa"
"""Is in every file that has credentials: the name of the box that holds them."""
_BLOCK_BYTES = 1 << 20
_HEADER_BYTES = 4096
MEMORY_BYTES, CPU_S, WALL_S = 320 << 20, 5, 20.0


class Order(msgspec.Struct, frozen=True):
    """What is wanted. fd: the file, readable and seekable."""

    fd: int
    limits: Limits
    max_bytes: int


class Answer(msgspec.Struct, frozen=True):
    """The line of JSON; an ingredient follows unless there is an error or `size_bytes` is 0."""

    error: str = ""
    """Why the credentials that are there cannot be kept, a part of a sentence."""
    size_bytes: int = 0
    """Length of the ingredient; 0: the file has no credentials."""
    guards: tuple[str, ...] = ()


class NotKept(Exception):
    """The file seems to have credentials, and they cannot be carried over; the message is a part of a sentence."""


def ingredient(path: Path) -> bytes:
    """The file's credentials as an ingredient, at most MAX_BYTES; empty when it has none. Raises NotKept."""
    with path.open("rb") as file:
        if not _marked(file):
            return b""
        limits = Limits(memory_bytes=MEMORY_BYTES, cpu_s=CPU_S, wall_s=WALL_S, output_bytes=_HEADER_BYTES + MAX_BYTES)
        try:
            said = ask(CHILD, Order(file.fileno(), limits, MAX_BYTES), limits, hand_over=[file.fileno()]).output
        except ChildFailed as exc:
            raise NotKept(f"cannot be read: the reader {exc}") from None
    head, _, body = said.partition(b"\n")
    try:
        answer = msgspec.json.decode(head, type=Answer)
    except msgspec.DecodeError:
        raise NotKept("cannot be read: the reader's answer makes no sense") from None
    if answer.error:
        raise NotKept(ascii(answer.error[:300])[1:-1])
    if len(body) != answer.size_bytes or len(body) > MAX_BYTES:
        raise NotKept(f"cannot be read: the reader gave {len(body)} bytes, {answer.size_bytes} were expected")
    return body


def _marked(file: BinaryIO) -> bool:
    tail = b""
    while block := file.read(_BLOCK_BYTES):
        if _MARK in tail + block:
            return True
        tail = block[1 - len(_MARK) :]
    return False
