"""What of a batch is done: a low-water mark and the few beyond it, per source. Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]


class SourceState(msgspec.Struct, forbid_unknown_fields=True):
    """Units (row times cells of the matrix, from 0) of one source that are acknowledged or refused for good."""

    low: Count = 0
    """Every unit below is done."""
    beyond: set[Count] = msgspec.field(default_factory=set)
    """Units above that are done; as many as were on their way."""
    sent: Count = 0
    """Acknowledged by the broker."""
    refused: Count = 0
    """Wrong rows; they are in the error file."""
    complete: bool = False
    """The source was read to its end."""

    def done(self, unit: int) -> bool:
        """Whether this unit needs nothing any more."""
        return unit < self.low or unit in self.beyond

    def mark(self, unit: int) -> None:
        """One unit is done. Twice changes nothing."""
        if unit != self.low:
            if unit > self.low:
                self.beyond.add(unit)
            return
        low, beyond = unit + 1, self.beyond
        while low in beyond:
            beyond.discard(low)
            low += 1
        self.low = low


class Checkpoint(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A batch as it is kept in its checkpoint file."""

    batch_id: str
    tenant: str
    plan: str
    """Fingerprint of the plan: another template, matrix or default would make other jobs of the same ids."""
    started_at_ms: Count
    sources: dict[str, SourceState]

    @property
    def sent(self) -> int:
        """Jobs that the broker has."""
        return sum(source.sent for source in self.sources.values())

    @property
    def refused(self) -> int:
        """Rows that are wrong."""
        return sum(source.refused for source in self.sources.values())

    @property
    def complete(self) -> bool:
        """Whether every source was read to its end."""
        return all(source.complete for source in self.sources.values())
