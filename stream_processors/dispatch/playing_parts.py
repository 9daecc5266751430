"""What is played: jobs, the pieces that they are handed out in, workers, and jobs that are to be expected. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.request import Lane
from stream_processors.dispatch.job import Order


@dataclass(slots=True, eq=False)
class Item:
    """A job as it is played. ready: chains of waiting chunks of which the first may be rendered, the next one last."""

    key: str
    lane: Lane
    tenant: str
    account: str
    order: Order
    cost_s: float
    """Expected device-seconds of a chunk."""
    ready: list[int]
    waiting: int
    """Chunks that are not handed out."""
    left: int
    """Chunks that are not rendered."""
    real: bool = True
    """False: nobody asks for its position."""
    more: int = 0
    """Chains that follow when the ready ones are gone, of `chain` chunks each: jobs that are parked."""
    chain: int = 1
    queued: bool = False

    def take(self, most: int) -> tuple[int, int]:
        """The next piece: its chunks, and what is left of their chain."""
        chain = self.ready.pop()
        taken = min(most, chain)
        self.waiting -= taken
        self._refill(most)
        return taken, chain - taken

    def _refill(self, most: int) -> None:
        if not self.ready and self.more:
            chains = min(self.more, max(1, most // self.chain))
            self.more -= chains
            self.ready.append(chains * self.chain)

    def begun(self) -> bool:
        """From now on it has begun. False: it had before."""
        deadline, priority, fresh, age, key = self.order
        self.order = deadline, priority, False, age, key
        return fresh


class Piece(NamedTuple):
    item: Item | None
    """None: of no job that is known here."""
    chunks: int
    rest: int
    """Chunks of its chain that may follow it."""
    takes_s: float


@dataclass(slots=True, eq=False)
class Hand:
    """A worker. held: what it has, what runs first."""

    slowness: float
    capacity: int
    held: Sequence[Piece]
    free_s: float = 0.0
    """When it will have rendered all that it holds."""
    running: Piece | None = None
    ends_s: float = 0.0
    waiting: list[tuple[int, int, Piece]] = field(default_factory=list)
    offered: bool = False

    @property
    def load(self) -> int:
        return len(self.waiting) + (self.running is not None)


class Stream(NamedTuple):
    """Jobs that are to be expected: one of so many chunks, in chains of so many, every gap_s."""

    lane: Lane
    tenant: str
    weight: float
    gap_s: float
    chunks: int
    chain: int
    cost_s: float


class Played(NamedTuple):
    finish_s: Mapping[str, float]
    """Seconds from now until a job is rendered, by job."""
    positions: Mapping[str, int]
    """Place in its lane of each job that has chunks waiting, by when the last one is handed out."""
    steps: int
