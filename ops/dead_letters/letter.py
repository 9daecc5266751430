"""A dead letter topic as letters and what became of them. Pure.

Beside the letters their topic carries markers, records without key and value, written by `ops.dead_letters.replay`:

    claim   a run is about to send the letter of offset `of` again
    void    it did not, and never will
    done    the broker has it

Each names the marker of the same letter that it follows (`after`, -1 for the first). One that does not follow the last
valid marker changes nothing: of two runs that reach for the same letter, the one whose claim came first in the log has
it. Markers share partition and retention with their letters, so they live as long as there is something to remember.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ops.bus.dead_letter import FIRST_FAILED_AT
from schemas.records import Headers, Incoming
from schemas.topics import Topic

Kind = Literal["claim", "void", "done"]
KINDS: tuple[Kind, ...] = ("claim", "void", "done")

REPLAY = "reelbus.replay."
ATTEMPT = f"{REPLAY}attempt"
CLAIM = f"{REPLAY}claim"
_KIND, _OF, _RUN, _AFTER, _AT = (f"{REPLAY}{name}" for name in ("kind", "of", "run", "after", "at"))
_PARTITION, _OFFSET = f"{REPLAY}to-partition", f"{REPLAY}to-offset"
_ORIGIN = "__dlq.errors."
_ERROR = "reelbus.error."
_ADDED = (_ORIGIN, _ERROR, REPLAY)


@dataclass(frozen=True, slots=True)
class Marker:
    """One step of a replay.

    of:        offset of the letter
    run:       who replays; a run is one call of the command
    after:     offset of the marker that it follows, -1 for none
    partition: of the letter's own topic, where the record goes
    to:        claim: from which offset on the record would be found there; done: its offset
    offset:    of the marker itself; -1 when it is not written yet
    """

    kind: Kind
    of: int
    run: str
    after: int
    at_ms: int
    partition: int
    to: int
    offset: int = -1

    def headers(self) -> list[tuple[str, bytes]]:
        """As a record; `marker_of` reads it back."""
        named = {
            _KIND: self.kind, _OF: self.of, _RUN: self.run, _AFTER: self.after, _AT: self.at_ms,
            _PARTITION: self.partition, _OFFSET: self.to,
        }  # fmt: skip
        return [(name, str(value).encode()) for name, value in named.items()]


@dataclass(slots=True)
class Letter:
    """A dead letter.

    record: as it lies in the dead letter topic
    of:     the topic that it came from
    steps:  valid markers, oldest first
    """

    record: Incoming
    of: Topic
    steps: list[Marker] = field(default_factory=list)

    def header(self, name: str) -> str:
        """Value of a header of ours, "" without it. A stranger's own header of that name comes earlier and loses."""
        raw = next((value for key, value in reversed(self.record.headers) if key == name), b"")
        return raw.decode(errors="replace")

    @property
    def stage(self) -> str:
        return self.header(f"{_ERROR}stage")

    @property
    def code(self) -> str:
        return self.header(f"{_ERROR}code")

    @property
    def message(self) -> str:
        return self.header(f"{_ORIGIN}message")

    @property
    def cut(self) -> str:
        """Why its bytes are not all there, "" when they are."""
        return self.header(f"{_ERROR}cut")

    @property
    def origin(self) -> tuple[str, int, int]:
        """Topic, partition and offset where the record was read; -1 for what no header says."""
        place = [whole(self.header(f"{_ORIGIN}{name}")) for name in ("partition", "offset")]
        return self.header(f"{_ORIGIN}topic"), place[0], place[1]

    @property
    def attempt(self) -> int:
        """How often the record was replayed before it became this letter."""
        return max(0, whole(self.header(ATTEMPT)))

    @property
    def replays(self) -> list[Marker]:
        """Replays of this letter that the broker has."""
        return [step for step in self.steps if step.kind == "done"]

    @property
    def claimed(self) -> Marker | None:
        """The claim of a run that has not said what became of it."""
        return self.steps[-1] if self.steps and self.steps[-1].kind == "claim" else None

    @property
    def last(self) -> int:
        """What the next marker follows."""
        return self.steps[-1].offset if self.steps else -1

    def own_headers(self) -> Headers:
        """The record's headers as they were when a stage read it for the first time."""
        return tuple((name, value) for name, value in self.record.headers if not name.startswith(_ADDED))

    def first_failed_at(self) -> Headers:
        """The header that keeps the moment of the first failure over replays."""
        found = self.header(FIRST_FAILED_AT)
        return ((FIRST_FAILED_AT, found.encode()),) if found else ()

    def take(self, marker: Marker) -> bool:
        """Count a marker of this letter in, in the order of the log. False: it came too late and changes nothing."""
        claimed = self.claimed
        follows = marker.after == self.last and (marker.kind == "claim" or claimed is not None)
        if follows:
            self.steps.append(marker)
        return follows


def whole(text: str) -> int:
    """A number out of a header; -1 when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1


def marker_of(record: Incoming) -> Marker | None:
    """The marker in a record of a dead letter topic; None for a letter, whatever headers a stranger gave it."""
    named = {name: value.decode(errors="replace") for name, value in record.headers}
    kind = next((kind for kind in KINDS if kind == named.get(_KIND)), None)
    if kind is None or f"{_ORIGIN}topic" in named:
        return None
    of, after, at_ms, partition, to = (whole(named.get(n, "")) for n in (_OF, _AFTER, _AT, _PARTITION, _OFFSET))
    return Marker(kind, of, named.get(_RUN, ""), after, at_ms, partition, to, record.offset)


def fold(letters: dict[int, Letter], of: Topic, records: Iterable[Incoming]) -> None:
    """Count records of one partition, in its order, into its letters (by offset)."""
    for record in records:
        marker = marker_of(record)
        if marker is None:
            letters[record.offset] = Letter(record, of)
        elif (letter := letters.get(marker.of)) is not None:
            letter.take(marker)


def sent_again(letter: Letter, claim: Marker) -> Headers:
    """Headers of the record that is sent again: its own, and what is remembered about the replay."""
    place = f"{letter.record.topic}:{letter.record.partition}:{letter.record.offset}"
    attempt = letter.attempt + len(letter.replays) + 1
    ours = {ATTEMPT: str(attempt), _OF: place, CLAIM: str(claim.offset)}
    added = tuple((name, value.encode()) for name, value in ours.items())
    return (*letter.own_headers(), *letter.first_failed_at(), *added)


def is_replay(record: Incoming, letter: Letter, claim: Marker) -> bool:
    """Whether this record of the letter's own topic is what the run of `claim` sent."""
    named = dict(record.headers)
    place = f"{letter.record.topic}:{letter.record.partition}:{letter.record.offset}".encode()
    same = (record.key, record.value) == (letter.record.key, letter.record.value)
    return same and named.get(_OF) == place and named.get(CLAIM) == str(claim.offset).encode()
