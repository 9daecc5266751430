"""The records of one partition that a worker holds, and what becomes of one that fails. Pure: time comes in."""

from collections import deque
from dataclasses import dataclass, field

from ops.bus.tries import Notes
from schemas.records import Incoming

RETRY_FIRST_S, RETRY_LAST_S = 0.5, 30.0
IN_PLACE_TRIES = 4
"""Tries in place before a record may be moved aside."""
LANE_HIGH, LANE_LOW = 100, 25
"""Records held of one partition: it is not read at LANE_HIGH, and again at LANE_LOW. Per partition, because one that
waits (for a retry to be due, for a store that is away) must not keep others from being read."""


@dataclass
class Lane:
    """Records of one partition, oldest first.

    not_before_s: when the head may be tried next (monotonic)
    tries:        tries in place of the head that were Transient
    through:      how many records the worker had got through when the head first failed
    probe:        position of the record behind the head that would be probed next
    probed:       value of `tries` when the last probe was made: one probe per try of the head
    notes:        what the metadata of the committed offset says, and what it will say
    fresh:        nothing of this lane was handled yet since the partition was assigned
    """

    records: deque[Incoming] = field(default_factory=deque)
    not_before_s: float = 0.0
    tries: int = 0
    through: int = 0
    probe: int = 1
    probed: int = 0
    notes: Notes = field(default_factory=Notes)
    fresh: bool = True
    paused: bool = False

    def is_head(self, record: Incoming) -> bool:
        return bool(self.records) and self.records[0].offset == record.offset

    def failed(self, now_s: float, through: int) -> float:
        """The head was Transient once more. Returns the seconds to wait.

        through: records that the worker has got through so far
        """
        if self.tries == 0:
            self.through = through
        self.tries += 1
        wait_s = min(RETRY_FIRST_S * 2.0 ** (self.tries - 1), RETRY_LAST_S)
        self.not_before_s = now_s + wait_s
        return wait_s

    def trouble_is_its_own(self, through: int) -> bool:
        """Whether the head failed often enough while others got through. When nobody does, it is an outage."""
        return self.tries >= IN_PLACE_TRIES and through > self.through

    def to_probe(self, through: int) -> Incoming | None:
        """The record behind a head that fails, to find out whether it is an outage, when nothing else tells.

        One that may be killing the process is not asked.
        """
        if self.tries < IN_PLACE_TRIES or through > self.through or self.probed >= self.tries:
            return None
        for record in list(self.records)[self.probe :]:
            if self.notes.tries(record.offset) == 0:
                return record
            self.probe += 1
        return None

    def done(self) -> None:
        """The head is out of the way."""
        self.notes.forget_below(self.records.popleft().offset + 1)
        self.tries, self.not_before_s, self.probe, self.probed = 0, 0.0, 1, 0
