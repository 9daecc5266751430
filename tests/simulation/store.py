"""The fake object store: If-None-Match, outages, answers that get lost, objects that rot or vanish."""

import hashlib
from dataclasses import dataclass
from typing import Any

from ops.storage.store import ObjectCorrupt, ObjectInfo, ObjectMissing, PutOutcome
from schemas.errors import Transient


@dataclass(slots=True)
class Stored:
    """content: what a decoder would see (see `media`)."""

    content: Any
    info: ObjectInfo
    corrupt: bool = False


class Store:
    """As ops.storage.store.Store, with contents in place of files."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.down = False
        self.answers_to_lose = 0
        """So many of the next puts and deletes succeed and time out."""
        self.overwrites = False
        """Only in a seeded bug: no If-None-Match."""
        self.puts = 0
        self.overwritten: list[str] = []
        self.spoilt: set[str] = set()
        """Keys of objects that a program lost or corrupted."""

    def _reach(self) -> None:
        if self.down:
            raise Transient("store is out of reach")

    def _answer(self) -> None:
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise Transient("store gave no answer")

    def put(self, key: str, content: Any) -> tuple[PutOutcome, ObjectInfo]:
        self._reach()
        outcome = PutOutcome.EXISTED
        if self.overwrites or key not in self.objects:
            digest = hashlib.sha256(repr(content).encode()).hexdigest()
            info = ObjectInfo(key, digest, len(repr(content)), "video/x-matroska")
            if key in self.objects:
                self.overwritten.append(key)
            self.objects[key], outcome = Stored(content, info), PutOutcome.CREATED
            self.puts += 1
        self._answer()
        return outcome, self.objects[key].info

    def head(self, key: str) -> ObjectInfo | None:
        self._reach()
        stored = self.objects.get(key)
        return None if stored is None else stored.info

    def fetch(self, key: str) -> tuple[ObjectInfo, Any]:
        """Info and content. Raises ObjectMissing, ObjectCorrupt."""
        self._reach()
        if (stored := self.objects.get(key)) is None:
            raise ObjectMissing(f"no object {key}")
        if stored.corrupt:
            raise ObjectCorrupt(f"object {key} is corrupt")
        return stored.info, stored.content

    def delete(self, key: str) -> None:
        self._reach()
        self.objects.pop(key, None)
        self._answer()

    # ---- faults ----------------------------------------------------------------------------------------------------

    def lose(self, key: str) -> None:
        self.spoilt.add(key)
        del self.objects[key]

    def corrupt(self, key: str) -> None:
        self.spoilt.add(key)
        self.objects[key].corrupt = True
