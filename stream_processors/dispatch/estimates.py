"""Keeps the plays of all pools: when each live job will be rendered, as of now. Pure."""

from collections.abc import Iterator

from schemas.plan import Plan
from schemas.request import Lane
from stream_processors.dispatch.arrivals import Arrivals
from stream_processors.dispatch.backlog import parts_of
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.handing import Handing
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.positions import ParkedJobs, Positions, Scene


class Estimates:
    def __init__(self, book: Book, handing: Handing) -> None:
        self.arrivals = Arrivals()
        self._book, self._handing = book, handing
        self._pools: dict[str, Positions] = {}

    def all(self, now_ms: int) -> Iterator[tuple[Job, int | None, int | None]]:
        """Yield (job, position in its lane, ms since the epoch when it will be rendered) for jobs that want chunks,
        those that came after the last play excepted: it is their turn with the next.

        None: it has nothing waiting; nobody can tell, because there is no worker, or because it is stopped.
        """
        pools: dict[str, list[Job]] = {}
        for job in self._book.active():
            pools.setdefault(job.placement.pool, []).append(job)
        for pool, jobs in pools.items():
            positions = self._pools.setdefault(pool, Positions())
            if positions.due(now_ms):
                positions.put(self._scene(pool, jobs, now_ms), now_ms)
            for job in jobs:
                if job.stopped:
                    yield job, None, None
                elif positions.knows(job):
                    yield job, *positions.of(job)

    def of_parked(self, plan: Plan, line: str, now_ms: int) -> float | None:
        """Seconds until a job that is parked now will be rendered, as far as can be told of it among its like."""
        assert plan.placement is not None
        positions = self._pools.get(plan.placement.pool)
        return None if positions is None else positions.of_line(line, self._book.backlog.ahead(line), now_ms)

    def _scene(self, pool: str, jobs: list[Job], now_ms: int) -> Scene:
        costs_s: dict[Lane, float] = {}
        most_out: dict[str, int] = {}
        for job in jobs:
            costs_s[job.lane] = job.chunk_cost_s
            if most := self._book.accounts.quota(job.tenant).running_chunks:
                most_out[job.tenant] = most
        return Scene(
            jobs,
            self._handing.queue(pool),
            self._handing.workers.held(pool, now_ms),
            self.arrivals.streams(pool, costs_s, now_ms, lambda tenant: self._book.accounts.quota(tenant).weight),
            list(self._parked(pool)),
            most_out,
        )

    def _parked(self, pool: str) -> Iterator[ParkedJobs]:
        for line, jobs in self._book.backlog.parked.items():
            parts = parts_of(line)
            if parts.pool == pool:
                yield ParkedJobs(line, parts.lane, parts.tenant, parts.account, parts.hurry == "urgent", jobs)
