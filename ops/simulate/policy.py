"""What decides whose chunk is next: the scheduler's face, and plain first in, first out to compare it with. Pure."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Protocol

from schemas.chunks import chunk_ids, chunk_specs
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.topics import CHUNKS, MUX_TASKS
from schemas.work import ChunkInspected, ChunkTask, Command, MuxTask, WorkerState


class Policy(Protocol):
    """The part of `stream_processors.dispatch.core.Scheduler` that its shell uses."""

    def on_plan(self, plan: Plan, now_ms: int) -> Sequence[Outgoing]: ...

    def on_inspected(self, inspected: ChunkInspected, now_ms: int) -> Sequence[Outgoing]: ...

    def on_control(self, control: Command, now_ms: int) -> Sequence[Outgoing]: ...

    def on_worker(self, state: WorkerState, now_ms: int) -> None: ...

    def tick(self, now_ms: int) -> Sequence[Outgoing]: ...


SILENT_MS = 15_000
"""A worker that says nothing for this long is dead: its chunks go to others. As long as the scheduler waits."""


class FirstInFirstOut:
    """One line for everybody, in the order of arrival: the oldest job's next chunk that may be rendered goes to the
    worker with most room. No lanes, tenants, priorities or deadlines. A chunk whose predecessor is not ready is passed
    over, so no device waits for a chain. Every plan is in memory at once."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._ids: dict[str, tuple[str, ...]] = {}
        self._ready: list[tuple[int, int, str]] = []
        """Heap of (order of arrival, chunk, job): chunks that may be handed out."""
        self._order: dict[str, int] = {}
        self._left: dict[str, set[int]] = {}
        """Chunks of each job that have not come back."""
        self._workers: dict[str, tuple[WorkerState, int]] = {}
        """Last announcement of each, and when it was heard."""
        self._out: dict[str, dict[str, tuple[str, int]]] = {}
        """By worker: chunk id -> job and chunk, of what was handed to it and has not come back."""
        self._attempts: dict[tuple[str, int], int] = {}

    def on_plan(self, plan: Plan, now_ms: int) -> list[Outgoing]:
        if plan.job in self._order:
            return []
        self._order[plan.job], self._plans[plan.job] = len(self._order), plan
        self._ids[plan.job], self._left[plan.job] = chunk_ids(plan), set(range(len(plan.chunks)))
        for index, span in enumerate(plan.chunks):
            if span.after < 0:
                self._wait(plan.job, index)
        return []

    def on_control(self, control: Command, now_ms: int) -> list[Outgoing]:
        """It knows no orders: what arrives is rendered."""
        return []

    def on_worker(self, state: WorkerState, now_ms: int) -> None:
        self._workers[state.worker_id] = state, now_ms

    def on_inspected(self, inspected: ChunkInspected, now_ms: int) -> list[Outgoing]:
        rendered = inspected.rendered
        for out in self._out.values():
            out.pop(rendered.chunk_id, None)
        left = self._left.get(rendered.job, set())
        if rendered.index not in left:
            return []
        left.remove(rendered.index)
        plan = self._plans[rendered.job]
        for index, span in enumerate(plan.chunks):
            if span.after == rendered.index:
                self._wait(plan.job, index)
        if left:
            return []
        del self._plans[plan.job], self._ids[plan.job], self._left[plan.job]
        return [Outgoing(MUX_TASKS, plan.job, MuxTask(plan=plan, ready=(), attempt=1))]

    def tick(self, now_ms: int) -> list[Outgoing]:
        self._forget_silent(now_ms)
        out: list[Outgoing] = []
        while self._ready and (worker := self._roomiest()) is not None:
            _, index, job = heappop(self._ready)
            if index in self._left.get(job, ()):
                out += self._send(job, index, worker, now_ms)
        return out

    def _wait(self, job: str, index: int) -> None:
        heappush(self._ready, (self._order[job], index, job))

    def _forget_silent(self, now_ms: int) -> None:
        for name in [n for n, (_, heard_ms) in self._workers.items() if now_ms - heard_ms >= SILENT_MS]:
            del self._workers[name]
            for job, index in self._out.pop(name, {}).values():
                self._wait(job, index)

    def _roomiest(self) -> WorkerState | None:
        loads = {
            name: len(self._out.get(name, {}).keys() | set(state.pending)) / state.capacity
            for name, (state, _) in self._workers.items()
            if state.partitions
        }
        name = min(loads, key=lambda n: (loads[n], n), default=None)
        return None if name is None or loads[name] >= 1 else self._workers[name][0]

    def _send(self, job: str, index: int, worker: WorkerState, now_ms: int) -> list[Outgoing]:
        plan, chunk_id = self._plans[job], self._ids[job][index]
        assert plan.placement is not None
        attempt = self._attempts[job, index] = self._attempts.get((job, index), 0) + 1
        self._out.setdefault(worker.worker_id, {})[chunk_id] = job, index
        task = ChunkTask(
            job=job, index=index, attempt=attempt, chunk_id=chunk_id, spec=chunk_specs(plan)[index],
            lane=plan.request.lane, pool=plan.placement.pool, dispatched_at_ms=now_ms,
        )  # fmt: skip
        return [Outgoing(CHUNKS[task.pool], job, task, partition=worker.partitions[0])]
