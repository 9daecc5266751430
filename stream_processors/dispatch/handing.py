"""Handing chunks to idle workers, and asking again for those that nobody holds. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from schemas.records import Outgoing
from schemas.request import Lane
from schemas.topics import CHUNKS
from schemas.work import ChunkTask
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.choice import Shares, Waiting
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.workers import Worker, Workers

LOST_FIRST_MS, LOST_LAST_MS = 30_000, 300_000
"""A dispatched chunk that no live worker holds is asked for again after this long, doubled each time."""


class Handing:
    def __init__(self, book: Book, lane_weights: Mapping[Lane, float]) -> None:
        self.workers = Workers()
        self.shares = Shares(lane_weights)
        self._book = book

    def hand_out(self, now_ms: int) -> list[Outgoing]:
        """Chunks for workers that have room."""
        out: list[Outgoing] = []
        for pool in sorted(self.workers.pools()):
            if self.workers.idle(pool) is None:
                continue
            able = (j for j in self._book.active() if j.placement.pool == pool)
            waiting = Waiting(j for j in able if self._next_chunk(j) is not None)
            while waiting and (worker := self.workers.idle(pool)) is not None:
                job = self.shares.pick(waiting)
                if (index := self._next_chunk(job)) is None:
                    waiting.remove(job)
                    continue
                self.shares.charge(job)
                out += self._send(job, index, worker, now_ms)
        return out

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

    def _next_chunk(self, job: Job) -> int | None:
        """The first chunk of a job that may be rendered now and that no other job is having rendered."""
        return next((i for i in job.waiting() if self._book.in_flight.get(job.ids[i], job.key) == job.key), None)

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
            lane=job.plan.request.lane,
            pool=job.placement.pool,
            dispatched_at_ms=now_ms,
        )
        out.append(Outgoing(CHUNKS[job.placement.pool], job.key, task, partition=partition))
        return [*out, self._book.saved(job)]
