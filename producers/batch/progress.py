"""What of a batch is done. Pure.

Jobs are handed over in blocks, in the order of the rows. A block counts when the broker has acknowledged every job of
it, so what is done of a source is one number. After a crash the blocks that did not count are made and sent again.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]


class SourceState(msgspec.Struct, forbid_unknown_fields=True):
    """One source. A unit is one row in one cell of the matrix, counted from 0."""

    version: str = ""
    """Tells whether the source is still the same."""
    low: Count = 0
    """Every unit below is acknowledged, or its row is in the error file, or blank."""
    units: Count | None = None
    """Of the whole source; None until it was read to its end."""
    sent: Count = 0
    """Jobs acknowledged by the broker."""
    refused: Count = 0
    """Wrong ones; they are in the error file."""

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.units is not None and self.low >= self.units


class Checkpoint(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A batch as it is kept in its checkpoint file."""

    batch_id: str
    tenant: str
    plan: str
    """Fingerprint of the plan: another template, matrix or default would make other jobs of the same ids."""
    target: str
    """Cluster and prefix that it goes to."""
    started_at_ms: Count
    sources: dict[str, SourceState]
    errors: str = ""
    """Path of the error file."""
    errors_bytes: Count = 0
    """Its length when this was written; what is behind it will be written again."""

    @property
    def sent(self) -> int:
        """Jobs that the broker has."""
        return sum(source.sent for source in self.sources.values())

    @property
    def refused(self) -> int:
        """Jobs that are wrong."""
        return sum(source.refused for source in self.sources.values())

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(source.complete for source in self.sources.values())


class Mark(msgspec.Struct):
    """How far a block goes in one source, and what it adds."""

    low: int
    units: int | None = None
    sent: int = 0
    refused: int = 0


class Block:
    """What is handed over together. `marks` are in the order of the sources."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.marks: dict[str, Mark] = {}
        self.errors_bytes = 0

    def mark(self, source: str, low: int) -> Mark:
        """The mark of a source, begun at `low` when the block has none of it."""
        return self.marks.setdefault(source, Mark(low))

    @property
    def jobs(self) -> int:
        """Handed over in it."""
        return sum(mark.sent for mark in self.marks.values())

    def settle(self) -> None:
        """All of it is acknowledged: count it. Blocks are settled in the order in which they were begun."""
        for name, mark in self.marks.items():
            state = self._checkpoint.sources[name]
            state.low = max(state.low, mark.low)
            state.units = mark.units if mark.units is not None else state.units
            state.sent += mark.sent
            state.refused += mark.refused
        if self.marks:
            self._checkpoint.errors_bytes = self.errors_bytes
        self.marks = {}
