"""The scheduler's picture of the workers, made of their own announcements. Pure.

A stale picture costs optimality, never a chunk: whoever owns a partition renders what lies on it.
"""

from dataclasses import dataclass, field

from schemas.work import WorkerState
from stream_processors.dispatch.switches import ALL_ON, Switches

SILENT_MS = 15_000
"""A worker that says nothing for this long is taken for dead."""
UNSEEN_MS = 10_000
"""A chunk sent to a worker and not announced as pending by then is no longer counted against it."""


@dataclass
class Worker:
    state: WorkerState
    heard_at_ms: int
    sent: dict[str, int] = field(default_factory=dict)
    """Chunk ids sent to it and not yet seen among its pending ones, with the time."""

    def load(self) -> int:
        return len(self.sent.keys() | set(self.state.pending))


class Workers:
    """switches: says which of them are drained; those get nothing, and are not counted on."""

    def __init__(self, switches: Switches = ALL_ON) -> None:
        self._workers: dict[str, Worker] = {}
        self._switches = switches

    def hear(self, state: WorkerState, now_ms: int) -> None:
        """Take in an announcement."""
        if state.leaving:
            self._workers.pop(state.worker_id, None)
            return
        known = self._workers.get(state.worker_id)
        sent = known.sent if known else {}
        self._workers[state.worker_id] = Worker(
            state, now_ms, {c: at for c, at in sent.items() if c not in state.pending and now_ms - at < UNSEEN_MS}
        )

    def forget_silent(self, now_ms: int) -> None:
        """Drop workers that have gone silent."""
        self._workers = {w: x for w, x in self._workers.items() if now_ms - x.heard_at_ms < SILENT_MS}

    def finished(self, chunk_id: str) -> None:
        """A result of this chunk was seen: nobody is waited for."""
        for worker in self._workers.values():
            worker.sent.pop(chunk_id, None)

    def holds(self, chunk_id: str) -> bool:
        """Does a live worker have it, as far as is known?"""
        return any(chunk_id in w.sent or chunk_id in w.state.pending for w in self._workers.values())

    def idle(self, pool: str) -> Worker | None:
        """The worker of a pool with most room, or None when all are full."""
        able = [w for w in self._workers.values() if self._serves(w, pool) and w.load() < w.state.capacity]
        return min(able, key=lambda w: (w.load() / w.state.capacity, w.state.worker_id), default=None)

    def slots(self) -> dict[str, int]:
        """Chunks that the workers of each pool can hold."""
        held: dict[str, int] = {}
        for worker in self._workers.values():
            if self._switches.drained(worker.state.worker_id):
                continue
            held[worker.state.pool] = held.get(worker.state.pool, 0) + worker.state.capacity
        return held

    def count(self, pool: str) -> int:
        """Workers of a pool that chunks may go to."""
        return sum(self._serves(w, pool) for w in self._workers.values())

    def _serves(self, worker: Worker, pool: str) -> bool:
        drained = self._switches.drained(worker.state.worker_id)
        return worker.state.pool == pool and bool(worker.state.partitions) and not drained

    def pools(self) -> set[str]:
        return {w.state.pool for w in self._workers.values()}
