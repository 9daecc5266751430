"""Which offset may be committed: per partition in order, never past a record that is not done. Pure."""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Record:
    offset: int
    done: bool = False


class Offsets:
    def __init__(self) -> None:
        self._lanes: dict[int, deque[_Record]] = {}

    def read(self, partition: int, offset: int) -> None:
        """A record was read; offsets of one partition only grow."""
        self._lanes.setdefault(partition, deque()).append(_Record(offset))

    def done(self, partition: int, offset: int) -> int | None:
        """A record is done with. Returns the offset to commit (the next one to read) if that moves it."""
        lane = self._lanes[partition]
        next(record for record in lane if record.offset == offset).done = True
        commit = None
        while lane and lane[0].done:
            commit = lane.popleft().offset + 1
        return commit

    def forget(self, partition: int) -> None:
        """The partition is not ours any more."""
        self._lanes.pop(partition, None)
