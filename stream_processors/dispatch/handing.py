"""Handing chunks to idle workers, and asking again for those that nobody holds. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from schemas.records import Outgoing
from schemas.request import Lane
from schemas.topics import CHUNKS
from schemas.work import ChunkTask
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.workers import Worker, Workers

LOST_FIRST_MS, LOST_LAST_MS = 30_000, 300_000
"""A dispatched chunk that no live worker holds is asked for again after this long, doubled each time."""


class Handing:
    def __init__(self, book: Book, lane_weights: Mapping[Lane, float]) -> None:
        self.workers = Workers(book.switches)
        self._book = book
        self._lane_weights = lane_weights
        self._queues: dict[str, Queue] = {}

    def queue(self, pool: str) -> Queue:
        """The jobs of a pool that may want chunks. Each pool is shared out by itself."""
        if pool not in self._queues:
            self._queues[pool] = Queue(self._lane_weights, lambda job: self._book.next_chunk(job) is not None)
        return self._queues[pool]

    def hand_out(self, now_ms: int) -> list[Outgoing]:
        """Chunks for workers that have room."""
        out: list[Outgoing] = []
        self._refresh()
        for pool in sorted(self.workers.pools()):
            queue = self.queue(pool)
            while (worker := self.workers.idle(pool)) is not None and (job := queue.pick()) is not None:
                index = self._book.next_chunk(job)
                assert index is not None, "a job that was picked wants a chunk"
                queue.charge(job)
                out += self._send(job, index, worker, now_ms)
                self._refresh()
        return out

    def _refresh(self) -> None:
        """What happened to jobs reaches their queues."""
        for key in self._book.changed:
            if (job := self._book.jobs.get(key)) is not None:
                self.queue(job.placement.pool).put(job)
        self._book.changed.clear()

    def ask_again(self, job: Job, now_ms: int) -> list[Outgoing]:
        """Chunks of a job that were handed out and are with nobody wait again."""
        lost = []
        for index, chunk in enumerate(job.row.chunks):
            patience_ms = min(LOST_FIRST_MS * 2 ** max(0, chunk.attempt - 1), LOST_LAST_MS)
            if chunk.state == "d" and now_ms - chunk.at_ms > patience_ms and not self.workers.holds(job.ids[index]):
                lost.append(index)
        for index in lost:
            self._book.landed(job, index)
            job.set_chunk(index, state="w")
        return [self._book.saved(job)] if lost else []

    def _send(self, job: Job, index: int, worker: Worker, now_ms: int) -> list[Outgoing]:
        out: list[Outgoing] = []
        partitions = worker.state.partitions
        partition = partitions[len(worker.sent) % len(partitions)]
        worker.sent[job.ids[index]] = now_ms
        attempt = job.chunk(index).attempt + 1
        first = all(c.attempt == 0 for c in job.row.chunks)
        job.set_chunk(index, state="d", attempt=attempt, at_ms=now_ms)
        self._book.in_flight[job.ids[index]] = job.key
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
        return [*out, self._book.saved(job)]
