"""Is this process hanging? Pure: time comes in as ticks of the watchdog's own thread.

Ticks, not a clock: a process that was stopped for 90 s (SIGSTOP, a frozen container, a machine without CPU to give)
had no time to get on, and its watchdog had none to tick.

Two ways to hang:
- silent: something is at work (a loop, a record) and has not got on for the limit;
- starved: the loop turns, nothing is at hand, nothing was read for the limit, and yet there was a record to read all
  that time (found by another consumer, twice): the client library stands still.

What waits on purpose is neither: who puts a record off is not at work on it, and has it at hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """An activity as one tick sees it. id: tells two of the same name apart; doing: empty means nothing to do;
    limit_s: its own limit, where that is shorter."""

    id: int
    name: str
    doing: str
    beats: int
    limit_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tick makes of it. Sentences."""

    hanging: tuple[str, ...] = ()
    """Reasons to end the process; empty: it does not hang."""
    slow: tuple[str, ...] = ()
    """What has been silent for half the limit: it may still come back."""
    look: bool = False
    """Nothing was read for long: it is time to look whether there is something to read."""


@dataclass(slots=True)
class Judge:
    """limit_ticks: ticks without progress that count as a hang, at least 2. tick_s: length of a tick, for sentences."""

    limit_ticks: int
    tick_s: float
    _silent: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Beats of an activity when it last got on, and ticks since."""
    _reads: int = -1
    _unread_ticks: int = 0
    _unread: dict[Place, int] = field(default_factory=dict)
    """Records that an earlier look found, in a time without reads."""
    _starved: tuple[str, ...] = ()

    def tick(self, activities: Sequence[Seen], reads: int, *, reading: bool) -> Verdict:
        """One tick has passed.

        reads:   records read in all
        reading: it owns partitions, reads them, and has nothing at hand
        """
        self._silent = {seen.id: self._since(seen) for seen in activities if seen.doing}
        look = self._count_unread(reads, reading)
        at_work = [seen for seen in activities if seen.doing]
        slow = tuple(self._sentence(seen) for seen in at_work if 2 * self._ticks(seen) >= self._limit(seen))
        hanging = tuple(self._sentence(seen) for seen in at_work if self._ticks(seen) >= self._limit(seen))
        return Verdict((*hanging, *self._starved), (*slow, *self._starved), look)

    def _ticks(self, seen: Seen) -> int:
        return self._silent[seen.id][1]

    def _limit(self, seen: Seen) -> int:
        return int(min(self.limit_ticks, max(2.0, seen.limit_s / self.tick_s)))

    def _sentence(self, seen: Seen) -> str:
        return f"{seen.name} has not got on for {self._ticks(seen) * self.tick_s:.0f} s ({seen.doing})"

    def _since(self, seen: Seen) -> tuple[int, int]:
        beats, ticks = self._silent.get(seen.id, (seen.beats, -1))
        return (beats, ticks + 1) if beats == seen.beats else (seen.beats, 0)

    def _count_unread(self, reads: int, reading: bool) -> bool:
        if reads != self._reads or not reading:
            self._reads, self._unread_ticks, self._unread, self._starved = reads, 0, {}, ()
            return False
        self._unread_ticks += 1
        return self._unread_ticks % self.limit_ticks == 0

    def found(self, unread: Mapping[Place, int]) -> None:
        """The look that was asked for found these records: place and offset of the first one of each."""
        again = {place: offset for place, offset in unread.items() if self._unread.get(place) == offset}
        self._unread = dict(unread)
        self._starved = tuple(
            f"{topic}[{partition}] has a record at {offset} that is not read"
            for (topic, partition), offset in again.items()
        )

    def forgive(self) -> None:
        """Start counting anew: it was not our fault."""
        self._silent = {id_: (beats, 0) for id_, (beats, _) in self._silent.items()}
        self._unread_ticks, self._unread, self._starved = 0, {}, ()
