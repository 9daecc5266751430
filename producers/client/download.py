"""Fetches a published file from where the result says it is."""

import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ops.settings import Settings
from ops.storage.open import open_store
from ops.storage.store import ObjectCorrupt
from schemas.errors import InvalidMessage
from schemas.events import PublishedFile


def store_of(file: PublishedFile) -> str:
    """The store (setting `store`) that a file lies in: its address without its key. Pure.

    Raises InvalidMessage for an address of another kind.
    """
    root = file.uri.removesuffix(file.key).rstrip("/")
    parts = urlsplit(root)
    if root == file.uri or parts.scheme not in ("file", "s3"):
        raise InvalidMessage(f"uri: found {file.uri[:200]}; expected file:// or s3:// and the key {file.key}")
    return unquote(parts.path) if parts.scheme == "file" else root


def fetch(settings: Settings, file: PublishedFile, target: Path) -> Path:
    """Write a published file to `target`, which appears only once size and sha256 are those of the result.

    Credentials for s3:// are boto3's own; endpoint: settings.s3_endpoint_url. Raises ObjectMissing, ObjectCorrupt.
    """
    where = store_of(file)
    if not where.startswith("s3://"):
        settings = settings.replace(s3_endpoint_url="")
        if not Path(where).is_dir():
            raise InvalidMessage(f"uri: {file.uri} is on another machine: there is no folder {where} here")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".reelbus-", dir=target.parent) as drafts:
        draft = Path(drafts) / "draft"
        found = open_store(settings.replace(store=where)).fetch(file.key, draft)
        if (found.sha256, found.size_bytes) != (file.sha256, file.size_bytes):
            raise ObjectCorrupt(f"object {file.key}: the result says sha256 {file.sha256}, found is {found.sha256}")
        draft.replace(target)
    return target
