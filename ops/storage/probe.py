"""One check of a store for `doctor`, the same for every backend."""

import secrets

from ops.storage.store import PutOutcome, Store
from schemas.errors import Fatal

_FIRST, _SECOND = b"reelbus probe, first writer", b"reelbus probe, second writer"


def probe_store(store: Store) -> None:
    """Writes, writes again, reads and deletes a tiny object. Raises Fatal when the store breaks a promise."""
    key = f"probe/{secrets.token_hex(8)}.txt"
    try:
        first, info = store.put(key, _FIRST, "text/plain")
        second, kept = store.put(key, _SECOND, "text/plain")
        if (first, second) != (PutOutcome.CREATED, PutOutcome.EXISTED) or kept != info or store.read(key) != _FIRST:
            raise Fatal("the object store ignores If-None-Match: a second write replaced the first; use another server")
    finally:
        store.delete(key)
    if store.head(key) is not None:
        raise Fatal(f"the object store does not delete: {key} is still there")
