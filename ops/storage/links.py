"""File system steps of the directory store: names of blobs, what links say, folders that survive a power cut."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from ops.storage.store import ObjectInfo

_BLOB_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})\.(?P<content_type>[^/]+)\.(?P<nonce>[0-9a-f]{16})")


def blob_name(sha256: str, content_type: str, nonce: str) -> str:
    """File name that carries all of an object's info but its key and size. `nonce`: 16 hex characters."""
    return f"{sha256}.{quote(content_type, safe='')}.{nonce}"


def is_blob_name(name: str) -> bool:
    """Whether `blob_name` can have made this."""
    return _BLOB_NAME.fullmatch(name) is not None


def shard(name: str) -> str:
    """Folder of a blob: the first two characters of its nonce, so that no folder gets too long."""
    return name[-16:-14]


def info_of(key: str, name: str, size_bytes: int) -> ObjectInfo:
    """Object info out of a blob's name and size."""
    match = _BLOB_NAME.fullmatch(name)
    assert match is not None
    return ObjectInfo(key, match["sha256"], size_bytes, unquote(match["content_type"]))


def linked_blob(path: Path) -> str | None:
    """Name of the blob that the link points to; None when there is no link, or none of the store's making."""
    try:
        name = os.readlink(path).rpartition("/")[2]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        if exc.errno == errno.EINVAL:  # a folder or a regular file
            return None
        raise
    return name if is_blob_name(name) else None


def make_folders(folder: Path) -> None:
    """Like makedirs, and the new names are on disk when this returns."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        sync_folder(folder.parent)


def prune_folders(folder: Path, root: Path) -> None:
    """Removes `folder` and its parents below `root` as far as they are empty."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone already
            return
        folder = folder.parent


def sync_folder(folder: Path) -> None:
    """Puts the folder's names on disk. One that was pruned meanwhile needs none."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def walk(root: Path, folder: str, prefix: str) -> Iterator[str]:
    """Keys below `folder` in byte order; a folder sorts as its name and a slash, as it does within its keys."""
    try:
        entries = [(e.name, e.is_dir(follow_symlinks=False)) for e in os.scandir(root / folder)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for part in sorted(name + "/" * is_dir for name, is_dir in entries if not name.startswith(".")):
        path = f"{folder}/{part}" if folder else part
        if part.endswith("/") and (path.startswith(prefix) or prefix.startswith(path)):
            yield from walk(root, path[:-1], prefix)
        elif not part.endswith("/") and path.startswith(prefix):
            yield path
