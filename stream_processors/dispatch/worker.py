"""One worker in the scheduler's picture: what it holds, how long that takes, and how long it may stand still. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.work import WorkerState

STALLED_MS = 15_000
"""A worker that announces a chunk and does not move on with it is left alone after this long, or after PATIENCE times
what it should need for its next step, whichever is longer."""
PATIENCE = 3.0
OVERDUE = 0.05
"""Share of its time that a chunk that should be done is expected to need still."""

Rank = tuple[float, float, int, str]
"""Which of two workers with room comes first: seconds until it is free, seconds that it needs for a second of expected
work, chunks that it holds, name."""


class Work(NamedTuple):
    """What is known of a chunk that a worker holds."""

    model: str
    cost_s: float
    """Device-seconds that it should take."""
    load_s: float = 0.0
    """Seconds that loading its model should take."""
    batch: int = 1
    """Chunks that may share its forward pass."""


class Held(NamedTuple):
    """What a worker has, as an estimate needs it."""

    slowness: float
    capacity: int
    chunks: tuple[tuple[str, float], ...]
    """Chunk ids in the order of rendering, and seconds that each still takes."""


UNKNOWN = Work("", 10.0)
"""Of a chunk that nobody here handed out."""


@dataclass(eq=False)
class Worker:
    state: WorkerState
    heard_at_ms: int
    sent: dict[str, int] = field(default_factory=dict)
    """Chunk ids sent to it and not yet seen among its pending ones, with the time."""
    work: dict[str, Work] = field(default_factory=dict)
    """What it holds."""
    slowness: float = 1.0
    """Device-seconds that it takes for one expected: above 1 it is slower than its chunks' costs say. Learnt."""
    moved_at_ms: int = 0
    stalled: bool = False
    offered: tuple[Rank, frozenset[str]] | None = None
    """How it stands in the heaps."""

    def load(self) -> int:
        return len(self.work)

    def room(self) -> int:
        """Chunks that it may still be sent."""
        able = self.state.partitions and not self.stalled
        return max(0, self.state.capacity - self.load()) if able else 0

    def warm(self) -> frozenset[str]:
        """Models that are warm, or will be when it comes to what it is sent next."""
        return frozenset((*self.state.models, *(work.model for work in self.work.values()))) - {UNKNOWN.model}

    def busy_s(self) -> float:
        """Expected device-seconds of what it holds."""
        busy_s = sum(work.cost_s for work in self.work.values())
        if self.state.pending and self.state.steps and (running := self.work.get(self.state.pending[0])):
            busy_s -= running.cost_s * min(1.0, self.state.step / self.state.steps)
        return busy_s

    def decides_in_s(self, now_ms: int) -> float:
        """Expected seconds until it has decided what to render next: a step before what runs is done, or a moment."""
        state = self.state
        running = self.work.get(state.pending[0], UNKNOWN) if state.pending else UNKNOWN
        takes_s = running.cost_s * self.slowness
        done = min(1.0, (state.step + 1) / state.steps) if state.steps else 0.0
        return takes_s * (1 - done) - (now_ms - self.heard_at_ms) / 1_000

    def held(self, now_ms: int) -> Held:
        """What it has, and how long it should still need for each."""
        state, chunks, warm = self.state, [], set(self.state.models)
        for chunk_id in (*state.pending, *(c for c in self.work if c not in state.pending)):
            work = self.work.get(chunk_id, UNKNOWN)
            takes_s = work.cost_s * self.slowness
            if chunk_id in state.pending[:1] and state.steps:
                left_s = takes_s * (1 - min(1.0, state.step / state.steps)) - (now_ms - self.heard_at_ms) / 1_000
                takes_s = max(left_s, OVERDUE * takes_s)
            if work.model and work.model not in warm:
                takes_s += work.load_s
                warm.add(work.model)
            chunks.append((chunk_id, takes_s))
        return Held(self.slowness, state.capacity, tuple(chunks))

    def rank(self) -> Rank:
        return self.busy_s() * self.slowness, self.slowness, self.load(), self.state.worker_id

    def patience_ms(self) -> float:
        """How long it may stand still now. Between two steps it should need a step's time; before the first and after
        the last one it prepares, loads, decodes and stores, which no step tells."""
        state = self.state
        work = self.work.get(state.pending[0], UNKNOWN)
        expected_s = work.cost_s * work.batch * self.slowness
        if 0 < state.step < state.steps:
            expected_s /= state.steps
        elif work.model not in state.models:
            expected_s += work.load_s
        return max(STALLED_MS, PATIENCE * 1_000 * expected_s)


def place_of(state: WorkerState) -> tuple[object, ...]:
    """What changes when a worker moves on."""
    return state.pending[:1], state.step, state.rendered, state.models
