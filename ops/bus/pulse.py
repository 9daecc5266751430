"""What this process is at and whether it gets on: counters that the stage writes and the watchdog reads.

One per process (`PULSE`). Writing costs well under a microsecond and takes no lock, so a stage may beat in every turn
of its loop and for every frame. The watchdog reads in a thread of its own; a value a moment old does no harm.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

Place = tuple[str, int]
"""Topic and partition."""


class Partition(Protocol):
    """A partition as confluent-kafka and Faust name it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


@dataclass(slots=True, eq=False)
class Activity:
    """Something that must get on while it is at work: a loop, the handling of a record.

    doing: what it is at, for the log; empty while there is nothing to do, and then it may be silent
    beats: grows with every step
    ping:  for a loop that turns only when it has something to do: asks it to beat
    limit_s: silence that counts as a hang, where that is shorter than the watchdog's
    id:    of no other activity of this process, also not of one that ended
    """

    name: str
    doing: str = ""
    beats: int = 0
    ping: Callable[[], object] | None = None
    limit_s: float = float("inf")
    id: int = field(default_factory=count().__next__)

    def beat(self) -> None:
        """It got on by a step."""
        self.beats += 1


@dataclass(slots=True)
class Stand:
    """Where one partition stands, as offsets of the next record; -1: nothing was read since it was assigned."""

    read: int = -1
    done: int = -1
    held: bool = False
    """It is not read for the moment, on purpose."""


@dataclass(slots=True)
class Pulse:
    """The state of one process."""

    activities: list[Activity] = field(default_factory=list)
    stands: dict[Place, Stand] = field(default_factory=dict)
    """Partitions that this process reads now."""
    group: str = ""
    """Consumer group of these partitions."""
    reads: int = 0
    """Records of these partitions read in all."""
    lacking: dict[str, str] = field(default_factory=lambda: {"start": "it is starting"})
    """What keeps the process from being ready, by subject, as a sentence."""
    role: str = ""
    """What it is now: "leading", "standing by"."""

    # ---- activities ------------------------------------------------------------------------------------------------

    def loop(self, name: str, post: Callable[[Callable[[], None]], object] | None = None) -> Activity:
        """A loop that starts now and turns until the process ends. It beats by itself, in the calling thread, or `post`
        hands it a function to call in its next turn."""
        made = Activity(name, doing="turning")
        self.activities.append(made)
        if post is None:
            _CURRENT.set(made)
        else:
            made.ping = lambda: post(made.beat)
        self.has("start")
        return made

    @contextlib.contextmanager
    def working(self, name: str, doing: str, limit_s: float = float("inf")) -> Iterator[Activity]:
        """Work of the calling thread or task, until the block ends: it must beat, or it is taken for a hang."""
        made = Activity(name, doing, limit_s=limit_s)
        before = _CURRENT.set(made)
        self.activities.append(made)
        try:
            yield made
        finally:
            self.activities.remove(made)
            _CURRENT.reset(before)

    # ---- partitions ------------------------------------------------------------------------------------------------

    def joining(self, group: str) -> None:
        """The process reads as a member of this consumer group, and is not in it yet."""
        self.group = group
        self.lacks("group", f"it has not joined consumer group {group} yet")

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """These partitions are read from now on. None: the group has enough members, this one stands by."""
        self.stands.update({(p.topic, p.partition): Stand() for p in partitions})
        self.has("group")

    def revoked(self, partitions: Iterable[Partition], *, lost: bool = False) -> None:
        """These partitions belong to somebody else. lost: the group has expelled this process."""
        for p in partitions:
            self.stands.pop((p.topic, p.partition), None)
        if lost:
            self.lacks("group", f"it lost its place in consumer group {self.group}")

    def read(self, topic: str, partition: int, offset: int) -> None:
        """This record was read."""
        if (stand := self.stands.get((topic, partition))) is not None:
            self.reads += 1
            stand.read = offset + 1

    def put_back(self, topic: str, partition: int, offset: int) -> None:
        """This record will be read again, and those after it."""
        if (stand := self.stands.get((topic, partition))) is not None:
            stand.read = offset

    def done(self, topic: str, partition: int, next_offset: int) -> None:
        """The records of this partition before `next_offset` are done with."""
        if (stand := self.stands.get((topic, partition))) is not None:
            stand.done = next_offset

    def hold(self, partitions: Iterable[Partition], held: bool) -> None:
        """These partitions are paused on purpose, or read again."""
        for p in partitions:
            if (stand := self.stands.get((p.topic, p.partition))) is not None:
                stand.held = held

    def at_hand(self) -> bool:
        """Whether a record was read that is not done with."""
        return any(stand.read > max(stand.done, 0) for stand in list(self.stands.values()))

    # ---- readiness -------------------------------------------------------------------------------------------------

    def lacks(self, subject: str, sentence: str) -> None:
        """The process is not ready: `sentence` says why."""
        self.lacking[subject] = sentence

    def has(self, subject: str) -> None:
        """Nothing is lacking in this any more."""
        self.lacking.pop(subject, None)


_CURRENT: ContextVar[Activity | None] = ContextVar("activity", default=None)
PULSE = Pulse()
"""Of this process."""


def beat() -> None:
    """What the calling thread or task is at got on by a step. Does nothing where nothing is watched."""
    if (current := _CURRENT.get()) is not None:
        current.beats += 1
