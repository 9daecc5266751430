"""The object store's interface, its value types and the rules that all backends share."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from schemas.errors import PipelineError

MAX_URL_EXPIRY_S = 7 * 24 * 3600
"""Longest life of a presigned URL: the limit of AWS signature version 4."""

_KEY = re.compile(r"[a-z0-9/_.-]{1,200}")
_CONTENT_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")


class ObjectMissing(PipelineError):
    """No object has this key. Who needs it decides what to do: dispatch asks for the chunk again."""


class ObjectCorrupt(PipelineError):
    """The stored bytes do not hash to the recorded sha256, or none was recorded. Delete the object, make it anew."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store knows about an object without reading it."""

    key: str
    sha256: str
    """Hex SHA-256 of the bytes, recorded by `put`."""
    size_bytes: int
    content_type: str
    """type/subtype, e.g. video/mp4."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing knows it."""

    key: str
    size_bytes: int
    made_at_ms: int
    """When it was put, by the store's clock (a directory: this machine's)."""


class PutOutcome(Enum):
    """What became of a put."""

    CREATED = "created"
    EXISTED = "existed"


class Store(Protocol):
    """Write-once objects by key. Safe to use from many threads and processes.

    Every method raises ValueError for a key that `check_key` refuses, Transient when the store is out of reach or full,
    and Fatal when it refuses us (permissions, credentials, no such bucket).
    """

    def put(self, key: str, source: Path | bytes, content_type: str) -> tuple[PutOutcome, ObjectInfo]:
        """Store the bytes unless the key is taken (If-None-Match): the first writer wins.

        The others get EXISTED and the info of the object that is there, which may be their own: a put that was repeated
        because its answer got lost also ends as EXISTED, with an equal sha256. Nothing half-written is ever visible.
        A key must not be the folder of another key ("a" and "a/b"): stores on a file system raise ValueError.
        """

    def head(self, key: str) -> ObjectInfo | None:
        """Info of the object, None when there is none. Does not read the bytes."""

    def read(self, key: str) -> bytes:
        """All bytes. Raises ObjectMissing, ObjectCorrupt."""

    def fetch(self, key: str, target: Path) -> ObjectInfo:
        """Stream the object into the file `target`, which appears, or is replaced, only once the bytes are verified.

        The folder of `target` must exist. Raises ObjectMissing, ObjectCorrupt.
        """

    def delete(self, key: str) -> None:
        """Remove the object. No error when there is none."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix` ("" for all), in the order of their bytes."""

    def listing(self, prefix: str) -> Iterator[Listed]:
        """The same with size and age. What is put or deleted meanwhile may or may not be seen."""

    def uri(self, key: str) -> str:
        """Where the object is, for whoever has rights of their own: s3://bucket/key, or file:///path."""

    def url(self, key: str, expires_s: int) -> str:
        """Address for GET without credentials, valid for 1 .. MAX_URL_EXPIRY_S seconds. Does not look for the object.
        A directory gives file://, which does not expire."""

    def probe(self) -> None:
        """For `doctor`: write, write again, read, delete a tiny object. Raises Fatal or Transient with what to do."""


def fetch_promised(store: Store, key: str, sha256: str, target: Path, promised_by: str) -> None:
    """Fetch an object as a file, which is not there unless it has this hash. promised_by: as in "the job's state".

    Raises ObjectMissing, ObjectCorrupt (also for sound bytes that are others), Transient.
    """
    info = store.fetch(key, target)
    if info.sha256 != sha256:
        target.unlink()
        raise ObjectCorrupt(f"object {key}: {promised_by} says sha256 {sha256}, the store has {info.sha256}")


def check_key(key: str) -> str:
    """The key itself; ValueError says what a key may be. No accepted key leads out of the store's root.

    Parts that start with a dot are the store's own, which also rules out "." and "..".
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"object key {key[:220]!r}: expected 1 to 200 characters of a-z 0-9 / _ . -")
    if ".." in key or any(not part or part.startswith(".") for part in key.split("/")):
        raise ValueError(f"object key {key!r}: no part may be empty or start with a dot, and '..' is not allowed")
    return key


def is_key(text: str) -> bool:
    """Whether `check_key` accepts the text."""
    try:
        check_key(text)
    except ValueError:
        return False
    return True


def check_prefix(prefix: str) -> str:
    """The prefix itself; ValueError when no key can start with it."""
    if prefix:
        check_key(prefix + "0" if prefix.endswith(("/", ".")) else prefix)
    return prefix


def check_content_type(content_type: str) -> str:
    """The content type itself; ValueError when it is not a plain lower-case type/subtype."""
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError(f"content type {content_type[:130]!r}: expected type/subtype, e.g. video/mp4")
    return content_type


def check_expiry(expires_s: int) -> int:
    """The expiry itself; ValueError when it is out of range."""
    if not 1 <= expires_s <= MAX_URL_EXPIRY_S:
        raise ValueError(f"expires_s {expires_s}: expected 1 to {MAX_URL_EXPIRY_S}")
    return expires_s
