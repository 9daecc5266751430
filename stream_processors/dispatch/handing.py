"""Handing chunks to idle workers, and asking again for those that nobody holds. Pure."""

from collections.abc import Mapping
from math import inf

from msgspec.structs import replace

from schemas.chunks import batch_key
from schemas.records import Outgoing
from schemas.request import Lane
from schemas.topics import CHUNKS
from schemas.work import ChunkTask
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.choice import Queue, Turn
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.worker import Work, Worker
from stream_processors.dispatch.workers import Workers

LOST_FIRST_MS, LOST_LAST_MS = 30_000, 300_000
"""A dispatched chunk that no live worker holds is asked for again after this long, doubled each time."""


class Handing:
    def __init__(self, book: Book, lane_weights: Mapping[Lane, float]) -> None:
        self.workers = Workers(self._out, book.switches)
        self._book = book
        self._lane_weights = lane_weights
        self._queues: dict[str, Queue] = {}

    def queue(self, pool: str) -> Queue:
        """The jobs of a pool that may want chunks. Each pool is shared out by itself."""
        if pool not in self._queues:
            self._queues[pool] = Queue(
                self._lane_weights, self._book.next_chunk, self._load_s, self._book.accounts.blocked
            )
        return self._queues[pool]

    def hand_out(self, now_ms: int) -> list[Outgoing]:
        """Chunks for workers that have room."""
        out: list[Outgoing] = []
        self._refresh()
        for pool in self.workers.pools():
            queue = self.queue(pool)
            queue.look_again()
            while self.workers.idle(pool) is not None:
                if (turn := queue.pick(now_ms, self.workers.warm(pool))) is None:
                    break
                out += self._serve(queue, turn, now_ms)
            while self.workers.idle(pool) is None and (sent := self._express(queue, pool, now_ms)):
                out += sent
        return out

    def _express(self, queue: Queue, pool: str, now_ms: int) -> list[Outgoing]:
        """An express chunk for which no worker has room goes to one that holds all it wants: workers render the faster
        lanes first, so it waits for what runs there and not for what waits. One beyond what each wants, and only
        while its lane has not had more than its share."""
        turn = queue.express(now_ms)
        if turn is None or (worker := self.workers.full(pool, turn.job.model, now_ms)) is None:
            return []
        queue.charge(turn)
        return self._send(turn, worker, now_ms)

    def _serve(self, queue: Queue, turn: Turn, now_ms: int) -> list[Outgoing]:
        """A chunk goes to a worker that has its model warm, or to any, which then changes its model; others that may
        share its forward pass go with it."""
        job, pool = turn.job, turn.job.placement.pool
        worker = self.workers.idle(pool, job.model) or self.workers.idle(pool)
        assert worker is not None, "a chunk is picked for a worker that has room"
        changes = bool(worker.state.models) and job.model not in worker.warm()
        spare_s = inf if job.deadline_ms is None else (job.deadline_ms - now_ms) / 1_000 - job.remaining_s
        queue.charge(turn, self._load_s(job) if changes else 0.0)
        out = self._send(turn, worker, now_ms)
        if job.placement.max_batch > 1:
            out += self._fill(queue, turn, worker, spare_s, now_ms)
        return out

    def _fill(self, queue: Queue, turn: Turn, worker: Worker, spare_s: float, now_ms: int) -> list[Outgoing]:
        """A batch takes longer the more chunks are in it: no more than the first one's deadline has time for."""
        out: list[Outgoing] = []
        kind = batch_key(turn.job.specs[turn.chunk])
        for _ in range(min(turn.job.placement.max_batch - 1, worker.room())):
            other = queue.companion(kind, turn.job.lane, now_ms)
            if other is None or (spare_s := spare_s - other.job.chunk_cost_s) < 0:
                break
            queue.charge(other)
            out += self._send(other, worker, now_ms)
        return out

    def _load_s(self, job: Job) -> float:
        return self.workers.load_s(job.placement.pool, job.model, job.placement.load_s)

    def _work(self, job: Job) -> Work:
        return Work(job.model, job.chunk_cost_s, self._load_s(job), job.placement.max_batch)

    def _out(self, chunk_id: str) -> Work | None:
        """What is known of a chunk that is out."""
        job = self._book.jobs.get(self._book.out.holder(chunk_id))
        return self._work(job) if job is not None else None

    def _refresh(self) -> None:
        """What happened to jobs reaches their queues."""
        for key in self._book.changed:
            if (job := self._book.jobs.get(key)) is not None:
                self.queue(job.placement.pool).put(job)
        self._book.changed.clear()
        for tenant in self._book.accounts.freed:
            for queue in self._queues.values():
                queue.readmit(tenant)
        self._book.accounts.freed.clear()

    def ask_again(self, job: Job, now_ms: int) -> list[Outgoing]:
        """Chunks of a job that were handed out and are with nobody wait again."""
        lost = []
        for index, chunk in enumerate(job.row.chunks):
            patience_ms = min(LOST_FIRST_MS * 2 ** max(0, chunk.attempt - 1), LOST_LAST_MS)
            if chunk.state == "d" and now_ms - chunk.at_ms > patience_ms and not self.workers.holds(job.ids[index]):
                lost.append(index)
        for index in lost:
            self._book.out.landed(job, index)
            job.set_chunk(index, state="w")
        return [self._book.saved(job)] if lost else []

    def _send(self, turn: Turn, worker: Worker, now_ms: int) -> list[Outgoing]:
        out: list[Outgoing] = []
        job, index = turn.job, turn.chunk
        partition = self.workers.send(worker, job.ids[index], self._work(job), now_ms)
        attempt = job.chunk(index).attempt + 1
        first = all(c.attempt == 0 for c in job.row.chunks)
        job.set_chunk(index, state="d", attempt=attempt, at_ms=now_ms)
        self._book.out.sent(job, index)
        if first:
            job.row = replace(job.row, started_at_ms=now_ms)
            out.append(event(job.plan, "job.started", now_ms, progress=job.progress()))
        task = ChunkTask(
            job=job.key,
            index=index,
            attempt=attempt,
            chunk_id=job.ids[index],
            spec=job.specs[index],
            lane=job.lane,
            pool=job.placement.pool,
            dispatched_at_ms=now_ms,
        )
        out.append(Outgoing(CHUNKS[job.placement.pool], job.key, task, partition=partition))
        out.append(self._book.saved(job))
        self._refresh()
        return out
