"""How often a record was tried, kept where it survives the process: in the metadata of the committed offset. Pure.

A stage writes, with the offset that it has committed anyway, which record it is about to handle and which try that is.
When the process dies of it, the next owner of the partition reads that and counts on.
"""

import json

from schemas.errors import Bug, GivenUp, Poison

MAX_TRIES = 3
"""Tries of a record that kills its process or raises an exception that nobody foresaw."""
MAX_WHY_CHARS = 100
MAX_NOTES = 3
"""The broker takes 4096 bytes of metadata. One record at work and one that killed an earlier process are two."""
_MARK = "reelbus.tries"


class Notes:
    """Tries of records of one partition that did not end well, by offset."""

    def __init__(self, metadata: str | None = None) -> None:
        """What `text` made of notes; none for what somebody else wrote."""
        self._notes: dict[int, tuple[int, str]] = {}
        try:
            found = json.loads(metadata or "{}")[_MARK]
            self._notes = {int(offset): (int(tries), str(why)) for offset, (tries, why) in found.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass

    def __bool__(self) -> bool:
        return bool(self._notes)

    def tries(self, offset: int) -> int:
        """Tries of a record that were begun and did not end well."""
        return self._notes.get(offset, (0, ""))[0]

    def why(self, offset: int) -> str:
        """The exception that ended the last one; "" when the process just died."""
        return self._notes.get(offset, (0, ""))[1]

    def put(self, offset: int, tries: int, why: str = "") -> None:
        """Remember the tries of a record; 0 forgets it."""
        self._notes.pop(offset, None)
        if tries > 0:
            self._notes[offset] = tries, why[:MAX_WHY_CHARS]
        self._bound()

    def suspect(self, offset: int) -> None:
        """A record up to this one may have ended the process; nobody knows which."""
        self._notes.setdefault(offset, (0, ""))
        self._bound()

    def _bound(self) -> None:
        while len(self._notes) > MAX_NOTES:
            del self._notes[max(self._notes)]

    def forget_below(self, offset: int) -> None:
        """Records before `offset` are done with."""
        self._notes = {at: note for at, note in self._notes.items() if at >= offset}

    def text(self) -> str:
        """As metadata, at most 4096 bytes; empty when there is nothing to remember."""
        return self.text_from(0)

    def text_from(self, offset: int) -> str:
        """The same, of records from `offset` on."""
        notes = {at: note for at, note in self._notes.items() if at >= offset}
        return json.dumps({_MARK: notes}, separators=(",", ":")) if notes else ""


def described(error: BaseException) -> str:
    """An exception for a note and a dead letter: its class and text on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def spent(why: str, stage: str) -> GivenUp:
    """What a record that was tried MAX_TRIES times becomes. why: its last exception, "" when the process died of it."""
    if why:
        return Bug(f"{stage} raised in {MAX_TRIES} tries: {why}")
    return Poison(f"{stage} died in {MAX_TRIES} tries of this record")
