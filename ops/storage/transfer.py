"""Moving bytes: hashed while they pass, verified before anyone sees them."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ops.bus.pulse import beat
from ops.storage.store import ObjectCorrupt, ObjectInfo
from schemas.errors import Fatal, Transient

BLOCK_BYTES = 1 << 20

_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_TRANSIENT = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK,
}  # fmt: skip


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turns a full or failing disk into Transient and a refusal into Fatal; any other OSError is a bug and passes."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _REFUSED:
            raise Fatal(f"{doing}: {exc.strerror}; check owner, permissions and mount options") from exc
        if exc.errno in _TRANSIENT:
            raise Transient(f"{doing}: {exc.strerror}") from exc
        raise


def blocks_of(source: Path | bytes) -> Iterator[bytes]:
    """The source in blocks of BLOCK_BYTES. OSError when a file cannot be read."""
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as stream:
        yield from blocks_of_stream(stream)


def blocks_of_stream(stream: BinaryIO) -> Iterator[bytes]:
    """What is left of the stream, in blocks of BLOCK_BYTES."""
    while block := stream.read(BLOCK_BYTES):
        beat()
        yield block


def sha256_and_size(blocks: Iterable[bytes]) -> tuple[str, int]:
    """Hex SHA-256 and number of bytes."""
    digest, size_bytes = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size_bytes += len(block)
    return digest.hexdigest(), size_bytes


def join_verified(blocks: Iterable[bytes], info: ObjectInfo) -> bytes:
    """The blocks as one. Raises ObjectCorrupt when they are not what `info` says."""
    data = b"".join(blocks)
    _compare(*sha256_and_size([data]), info)
    return data


def write_verified(blocks: Iterable[bytes], info: ObjectInfo, target: Path) -> None:
    """Stream the blocks into `target`, which is only touched once they are verified. Raises ObjectCorrupt."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with disk_errors(f"cannot write {target}"):
        try:
            with draft.open("xb") as stream:
                _compare(*sha256_and_size(_tee(blocks, stream)), info)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def write_new(blocks: Iterable[bytes], target: Path) -> tuple[str, int]:
    """Stream the blocks into the new file `target`, on disk when this returns. Returns sha256 and size in bytes."""
    with target.open("xb") as stream:
        measured = sha256_and_size(_tee(blocks, stream))
        stream.flush()
        os.fsync(stream.fileno())
    return measured


def _tee(blocks: Iterable[bytes], stream: BinaryIO) -> Iterator[bytes]:
    for block in blocks:
        stream.write(block)
        beat()
        yield block


def _compare(sha256: str, size_bytes: int, info: ObjectInfo) -> None:
    if (sha256, size_bytes) != (info.sha256, info.size_bytes):
        raise ObjectCorrupt(
            f"object {info.key}: recorded sha256 {info.sha256} and {info.size_bytes} bytes, "
            f"stored are {sha256} and {size_bytes} bytes"
        )
