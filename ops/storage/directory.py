"""The object store in a local directory.

Layout under the root:
    <key>                       symbolic link, relative, to the bytes: ../../.objects/3f/<name>
    .objects/<nn>/<name>        the bytes; name = <sha256>.<content type, quoted>.<nonce>, nn = start of the nonce
    .incoming/<nonce>.draft     bytes being written
    .incoming/<name>            symbolic link whose text is a key: this blob is about to be linked from that key
    .lock                       locked (flock) by whoever removes a link

The link is the object: making it is atomic, fails when the name is taken (If-None-Match), and its text carries sha256
and content type, so `head` reads no bytes. Every put has a blob of its own (the nonce), so no writer can remove the
bytes of another. Links are made without the lock and removed only under it; a link that was seen dangling under the
lock is therefore still the same one when it is removed.

`put` step by step, and what SIGKILL or power loss leaves when it comes right after that step:
    1. write .incoming/<nonce>.draft, fsync      a draft                               swept when old
    2. make the intent .incoming/<name>          a draft and an intent                 swept when old
    3. rename the draft to .objects/nn/<name>    an invisible blob and its intent      both swept when old
    4. make the link <key>, fsync its folder     the object is there, and an intent    intent swept, blob kept
    5. remove the blob if the link is another's, then the intent
Steps 1 to 3 leave nothing that a reader sees; the repeated put starts anew.
`delete` makes an intent, removes the link, then the blob and the intent: killed in between, the sweep does the rest.
Power loss may take an intent with it (folders are synced for blobs and links only): at worst an invisible blob stays.
A dangling link (somebody emptied .objects, or a broken disk) counts as missing, and `put` replaces it.
A draft or intent is old after a day, far longer than any put takes; they are swept when a store is opened. Should a
process sleep for longer than that between steps 3 and 4, its link may dangle: the object is missing, and is made again.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ops.storage.links import (
    blob_name,
    info_of,
    is_blob_name,
    linked_blob,
    make_folders,
    prune_folders,
    shard,
    sync_folder,
    walk,
)
from ops.storage.probe import probe_store
from ops.storage.store import (
    Listed,
    ObjectInfo,
    ObjectMissing,
    PutOutcome,
    check_content_type,
    check_expiry,
    check_key,
    check_prefix,
)
from ops.storage.transfer import blocks_of, blocks_of_stream, disk_errors, join_verified, write_new, write_verified
from schemas.errors import Fatal, Transient

STALE_AFTER_S = 24 * 3600.0
ATTEMPTS = 16
"""Tries at a step that a concurrent delete can undo. Each try lost is a delete that came through."""


class DirectoryStore:
    """Implements `Store` under `root`, which is made when missing. Any number of processes may share it."""

    def __init__(self, root: Path, stale_after_s: float = STALE_AFTER_S) -> None:
        """Opens the store and sweeps what crashed writers left more than `stale_after_s` seconds ago."""
        self._root = root.resolve()
        self._objects = self._root / ".objects"
        self._incoming = self._root / ".incoming"
        with disk_errors(f"cannot use {root} as object store"):
            try:
                make_folders(self._objects)
                make_folders(self._incoming)
            except (FileExistsError, NotADirectoryError):
                raise Fatal(f"cannot use {root} as object store: it, or a part of it, is a file") from None
            self._sweep(time.time() - stale_after_s)

    def put(self, key: str, source: Path | bytes, content_type: str) -> tuple[PutOutcome, ObjectInfo]:
        """See Store.put and the steps above. The object is on disk when this returns."""
        check_content_type(content_type)
        if (present := self.head(key)) is not None:
            return PutOutcome.EXISTED, present
        nonce = secrets.token_hex(8)
        draft = self._incoming / f"{nonce}.draft"
        with disk_errors(f"cannot store object {key}"):
            try:
                sha256, size_bytes = write_new(blocks_of(source), draft)
                winner = self._publish(key, blob_name(sha256, content_type, nonce), draft)
            finally:
                draft.unlink(missing_ok=True)
        if winner is not None:
            return PutOutcome.EXISTED, winner
        return PutOutcome.CREATED, ObjectInfo(key, sha256, size_bytes, content_type)

    def head(self, key: str) -> ObjectInfo | None:
        """One readlink and one stat. A dangling link, or a file that this store did not make, is no object."""
        path = self._root / check_key(key)
        with disk_errors(f"cannot look up object {key}"):
            name = linked_blob(path)
            try:
                return info_of(key, name, self._blob(name).stat().st_size) if name else None
            except FileNotFoundError:
                return None

    def read(self, key: str) -> bytes:
        """See Store.read."""
        with disk_errors(f"cannot read object {key}"), self._open(key) as (stream, info):
            return join_verified(blocks_of_stream(stream), info)

    def fetch(self, key: str, target: Path) -> ObjectInfo:
        """See Store.fetch."""
        with disk_errors(f"cannot fetch object {key}"), self._open(key) as (stream, info):
            write_verified(blocks_of_stream(stream), info, target)
        return info

    def delete(self, key: str) -> None:
        """Removes the link, the blob, and folders that are empty now."""
        path = self._root / check_key(key)
        with disk_errors(f"cannot delete object {key}"), self._locked():
            name = linked_blob(path)
            if name is None:
                return
            with suppress(FileExistsError):  # of its put, or of a delete that was killed
                os.symlink(key, self._incoming / name)
            path.unlink()
            sync_folder(path.parent)
            self._settle(key, name)
            prune_folders(path.parent, self._root)

    def list(self, prefix: str) -> Iterator[str]:
        """See Store.list."""
        return (found.key for found in self.listing(prefix))

    def listing(self, prefix: str) -> Iterator[Listed]:
        """Walks the folders that can hold such keys. The age is that of the link, which is made last."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with disk_errors(f"cannot list objects {prefix!r}"):
            for key in walk(self._root, folder, prefix):
                if (info := self.head(key)) is not None:
                    with suppress(FileNotFoundError):
                        made_at_ms = (self._root / key).lstat().st_mtime_ns // 1_000_000
                        yield Listed(key, info.size_bytes, made_at_ms)

    def uri(self, key: str) -> str:
        """file:// address of the object. Players that open it follow the link."""
        return (self._root / check_key(key)).as_uri()

    def url(self, key: str, expires_s: int) -> str:
        """The same as `uri`."""
        check_expiry(expires_s)
        return self.uri(key)

    def probe(self) -> None:
        """See Store.probe."""
        probe_store(self)

    def _publish(self, key: str, name: str, draft: Path) -> ObjectInfo | None:
        """Steps 2 to 5. Returns the winner's info when the key is taken."""
        blob = self._blob(name)
        os.symlink(key, self._incoming / name)
        try:
            make_folders(blob.parent)
            draft.rename(blob)
            sync_folder(blob.parent)
            return self._link(key, name)
        finally:
            self._settle(key, name)

    def _link(self, key: str, name: str) -> ObjectInfo | None:
        path, text = self._root / key, "../" * key.count("/") + f".objects/{shard(name)}/{name}"
        for _ in range(ATTEMPTS):
            try:
                os.symlink(text, path)
            except FileExistsError:
                if (winner := self.head(key)) is not None:
                    return winner
                self._drop_dangling(key)
            except (FileNotFoundError, NotADirectoryError):
                self._make_key_folders(key)
            else:
                sync_folder(path.parent)
                return None
        raise Transient(f"object {key}: it is deleted again and again while it is stored")

    def _make_key_folders(self, key: str) -> None:
        try:
            # A delete may prune a folder that was just made: then `_link` comes here again.
            with suppress(FileNotFoundError):
                make_folders((self._root / key).parent)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"object key {key!r}: a part of it is an object already, it cannot be a folder") from None

    def _drop_dangling(self, key: str) -> None:
        path = self._root / key
        with self._locked():
            if self.head(key) is not None or not os.path.lexists(path):
                return
            if linked_blob(path) is None:
                raise ValueError(f"object key {key!r}: {self._root} has a folder or a foreign file of that name")
            path.unlink()

    def _settle(self, key: str, name: str) -> None:
        """Step 5: removes the intent, and its blob unless the key links to it."""
        if linked_blob(self._root / key) != name:
            self._blob(name).unlink(missing_ok=True)
        (self._incoming / name).unlink(missing_ok=True)

    def _sweep(self, before_s: float) -> None:
        for entry in os.scandir(self._incoming):
            # Another process may sweep, or finish its put, at the same time.
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime > before_s:
                    continue
                if is_blob_name(entry.name) and entry.is_symlink():
                    self._settle(os.readlink(entry.path), entry.name)
                elif entry.name.endswith(".draft"):
                    os.unlink(entry.path)

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[BinaryIO, ObjectInfo]]:
        """Opens the blob, not the link: bytes and sha256 belong together even when the key is deleted and put anew."""
        name = linked_blob(self._root / check_key(key))
        try:
            stream = self._blob(name).open("rb") if name else None
        except FileNotFoundError:
            stream = None
        if name is None or stream is None:
            raise ObjectMissing(f"object {key} is not in the store")
        with stream:
            yield stream, info_of(key, name, os.fstat(stream.fileno()).st_size)

    def _blob(self, name: str) -> Path:
        return self._objects / shard(name) / name

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Who removes links waits here for the others. The kernel frees the lock of a process that dies."""
        with open(self._root / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
