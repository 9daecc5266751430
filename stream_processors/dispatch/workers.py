"""The scheduler's picture of the workers, made of their own announcements. Pure.

A stale picture costs optimality, never a chunk: whoever owns a partition renders what lies on it. Finding a worker
looks at none that has no room: heaps whose entries may be out of date, checked when they come to the top.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from schemas.work import WorkerState
from stream_processors.dispatch.switches import ALL_ON, Switches
from stream_processors.dispatch.worker import UNKNOWN, Held, Rank, Work, Worker, place_of

SILENT_MS = 15_000
"""A worker that says nothing for this long is taken for dead."""
UNSEEN_MS = 10_000
"""A chunk sent to a worker and not announced as pending by then is no longer counted against it."""
REACH_S = 0.75
"""What it takes, with some to spare, from handing a chunk out to its being ready at a worker."""
LEARNING = 0.2
"""Weight of the newest measurement in an exponentially weighted mean."""
SPEED_RANGE = (0.05, 20.0)

ANY = ""
"""Instead of a model's name: any worker."""


class Workers:
    """work_of: what is known of a chunk by its id; None of one that is not out. switches: says which workers are
    drained; those get nothing, and are not counted on."""

    def __init__(
        self, work_of: Callable[[str], Work | None] = lambda _chunk_id: None, switches: Switches = ALL_ON
    ) -> None:
        self._work_of = work_of
        self._switches = switches
        self._workers: dict[str, Worker] = {}
        self._pools: dict[str, set[str]] = {}
        self._holders: dict[str, set[str]] = {}
        """Names of the workers that have a chunk, sent or pending."""
        self._heaps: dict[str, dict[str, list[Rank]]] = {}
        """By pool and warm model (or ANY): workers with room."""
        self._loads: dict[tuple[str, str], float] = {}
        """Seconds that loading a model takes, by pool and model. Learnt."""

    # ---- what workers say --------------------------------------------------------------------------------------------

    def hear(self, state: WorkerState, now_ms: int) -> None:
        """Take in an announcement."""
        known = self._workers.get(state.worker_id)
        if known is not None and (state.leaving or known.state.pool != state.pool):
            self._forget(known)
            known = None
        if state.leaving:
            return
        if known is None:
            worker = self._workers[state.worker_id] = Worker(state, now_ms, moved_at_ms=now_ms)
            self._pools.setdefault(state.pool, set()).add(state.worker_id)
        else:
            worker = known
            if not state.pending or place_of(state) != place_of(known.state):
                worker.moved_at_ms = now_ms
        self._learn_loads(state, known.state if known is not None else None)
        worker.state, worker.heard_at_ms = state, now_ms
        worker.sent = {
            c: at_ms for c, at_ms in worker.sent.items() if c not in state.pending and now_ms - at_ms < UNSEEN_MS
        }
        self._hold(
            worker, {c: worker.work.get(c) or self._work_of(c) or UNKNOWN for c in (*worker.sent, *state.pending)}
        )
        self._judge(worker, now_ms)

    def _learn_loads(self, state: WorkerState, before: WorkerState | None) -> None:
        known = before.loads if before is not None else ()
        for load in state.loads:
            if load not in known:
                mean_s = self._loads.get((state.pool, load.model), load.load_s)
                self._loads[state.pool, load.model] = mean_s + LEARNING * (load.load_s - mean_s)

    def measured(self, worker_id: str, device_s: float, expected_s: float) -> None:
        """A worker took device_s for a chunk that should have taken expected_s."""
        worker = self._workers.get(worker_id)
        if worker is not None and device_s > 0:
            low, high = SPEED_RANGE
            ratio = min(high, max(low, device_s / expected_s))
            worker.slowness += LEARNING * (ratio - worker.slowness)
            self._offer(worker)

    def forget_silent(self, now_ms: int) -> None:
        """Drop workers that have gone silent, leave alone those that stand still."""
        for worker in list(self._workers.values()):
            if now_ms - worker.heard_at_ms >= SILENT_MS:
                self._forget(worker)
            else:
                self._judge(worker, now_ms)

    def _judge(self, worker: Worker, now_ms: int) -> None:
        worker.stalled = bool(worker.state.pending) and now_ms - worker.moved_at_ms > worker.patience_ms()
        self._offer(worker)

    def _forget(self, worker: Worker) -> None:
        self._hold(worker, {})
        del self._workers[worker.state.worker_id]
        self._pools[worker.state.pool].discard(worker.state.worker_id)

    # ---- who has what ------------------------------------------------------------------------------------------------

    def send(self, worker: Worker, chunk_id: str, work: Work, now_ms: int) -> int:
        """A chunk goes to this worker. Returns the partition to put it on."""
        partitions = worker.state.partitions
        partition = partitions[len(worker.sent) % len(partitions)]
        worker.sent[chunk_id] = now_ms
        self._hold(worker, {**worker.work, chunk_id: work})
        self._offer(worker)
        return partition

    def finished(self, chunk_id: str) -> None:
        """A result of this chunk was seen: nobody is waited for."""
        for worker_id in list(self._holders.get(chunk_id, ())):
            worker = self._workers[worker_id]
            if worker.sent.pop(chunk_id, None) is not None and chunk_id not in worker.state.pending:
                self._hold(worker, {c: work for c, work in worker.work.items() if c != chunk_id})
                self._offer(worker)

    def holds(self, chunk_id: str) -> bool:
        """Does a live worker have it, as far as is known, that has not come to a halt?"""
        return any(not self._workers[w].stalled for w in self._holders.get(chunk_id, ()))

    def _hold(self, worker: Worker, work: dict[str, Work]) -> None:
        name = worker.state.worker_id
        for chunk_id in worker.work.keys() - work.keys():
            self._holders[chunk_id].discard(name)
            if not self._holders[chunk_id]:
                del self._holders[chunk_id]
        for chunk_id in work.keys() - worker.work.keys():
            self._holders.setdefault(chunk_id, set()).add(name)
        worker.work = work

    # ---- who has room ------------------------------------------------------------------------------------------------

    def idle(self, pool: str, model: str = ANY) -> Worker | None:
        """Of the workers of a pool with room, the one that is free first; with a model, of those that have it warm.
        None when there is none."""
        heap = self._heaps.get(pool, {}).get(model, [])
        while heap:
            worker = self._workers.get(heap[0][-1])
            offered = worker.offered if worker is not None and worker.state.pool == pool else None
            if offered is not None and offered[0] == heap[0] and (model == ANY or model in offered[1]):
                return worker
            heappop(heap)
        return None

    def full(self, pool: str, model: str, now_ms: int) -> Worker | None:
        """Of the workers that hold all they want and nothing beyond it, with this model warm, the one that decides
        first what to render next, of those that a chunk still reaches before. Looks at all of them: only an express
        chunk that found no room asks."""
        able = [
            w
            for w in (self._workers[name] for name in self._pools.get(pool, ()))
            if w.load() == w.state.capacity and w.state.partitions and not (w.stalled or self._drained(w))
        ]
        times = [(w.decides_in_s(now_ms), w) for w in able if model in w.state.models]
        in_time = [(at_s, w.state.worker_id, w) for at_s, w in times if at_s >= REACH_S]
        late = [(-at_s, w.state.worker_id, w) for at_s, w in times if at_s < REACH_S]
        return min(in_time or late, default=(0.0, "", None))[-1]

    def warm(self, pool: str) -> Iterator[str]:
        """Models that a worker of this pool with room has warm."""
        return (m for m in self._heaps.get(pool, {}) if m != ANY and self.idle(pool, m) is not None)

    def switched(self) -> None:
        """Workers may have been drained, or not be any more."""
        for worker in self._workers.values():
            self._offer(worker)

    def _offer(self, worker: Worker) -> None:
        able = worker.room() and not self._drained(worker)
        offered = (worker.rank(), worker.warm()) if able else None
        if offered == worker.offered:
            return
        worker.offered = offered
        if offered is None:
            return
        heaps = self._heaps.setdefault(worker.state.pool, {})
        for model in (ANY, *offered[1]):
            heap = heaps.setdefault(model, [])
            heappush(heap, offered[0])
            if len(heap) > 4 * len(self._pools[worker.state.pool]) + 64:
                heaps[model] = self._heap(worker.state.pool, model)

    def _drained(self, worker: Worker) -> bool:
        return self._switches.drained(worker.state.worker_id)

    def _heap(self, pool: str, model: str) -> list[Rank]:
        """A heap without the entries that are out of date."""
        offers = [o for name in self._pools[pool] if (o := self._workers[name].offered) is not None]
        heap = [rank for rank, warm in offers if model == ANY or model in warm]
        heapify(heap)
        return heap

    # ---- in figures --------------------------------------------------------------------------------------------------

    def load_s(self, pool: str, model: str, prior_s: float) -> float:
        """Seconds that a worker of this pool needs to have a model warm."""
        return self._loads.get((pool, model), prior_s)

    def slots(self) -> dict[str, int]:
        """Chunks that the workers of each pool can hold."""
        held: dict[str, int] = {}
        for worker in self._workers.values():
            if self._drained(worker):
                continue
            held[worker.state.pool] = held.get(worker.state.pool, 0) + worker.state.capacity
        return held

    def held(self, pool: str, now_ms: int) -> list[Held]:
        """What the workers of a pool that can be counted on are at."""
        workers = [self._workers[name] for name in sorted(self._pools.get(pool, ()))]
        return [w.held(now_ms) for w in workers if w.state.partitions and not w.stalled and not self._drained(w)]

    def pools(self) -> list[str]:
        """Pools that have workers, by name."""
        return sorted(pool for pool, names in self._pools.items() if names)
