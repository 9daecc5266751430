"""Queue positions and estimates of when a job is rendered. Pure.

The estimate plays the scheduler's own order forward: jobs of an account by their order, accounts and tenants by virtual
time, lanes at their shares, a lane that runs dry leaving its share to the others. A job stands where its last chunk
does: that chunk's start tag (see `fairness`) says what is served before it. Turns by age, models and batches are not
played; jobs that are not in memory yet neither.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import floor
from typing import NamedTuple

from schemas.request import Lane
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.fairness import Shares
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.workers import Pool

FIRST = 100
"""Positions behind this one are not told: they change with every chunk and help nobody."""


class _Last(NamedTuple):
    """The last chunk of a job among those of a group (an account, a tenant, a lane)."""

    work_s: float
    """What the group is served up to its end, in expected device-seconds."""
    job: Job

    @property
    def before_s(self) -> float:
        return self.work_s - self.job.chunk_cost_s


class _Group(NamedTuple):
    name: str
    virtual_s: float
    weight: float
    lasts: Sequence[_Last]
    """In the order in which they are served; not empty."""
    total_s: float
    chunk_s: float
    """Its mean chunk."""

    def tag(self, last: _Last) -> tuple[float, str]:
        return self.virtual_s + last.before_s / self.weight, self.name

    def served_s(self, tag: tuple[float, str]) -> float:
        """What it is served before another group's chunk of this tag."""
        chunks = (tag[0] - self.virtual_s) * self.weight / self.chunk_s
        whole = floor(chunks)
        started = whole + (1 if whole < chunks or self.name < tag[1] else 0)
        return min(self.total_s, max(0, started) * self.chunk_s)


def estimate(active: Iterable[Job], queue: Queue, pool: Pool) -> Iterator[tuple[Job, int | None, float | None]]:
    """Yield (job, position in its lane, seconds until rendered) for the first jobs of every lane of one pool.

    Without a worker there is no estimate (None). A job with nothing waiting has no position. One that is stopped has
    neither: nobody knows for how long.
    """
    lanes: dict[Lane, dict[str, dict[str, list[Job]]]] = {}
    for job in active:
        if job.stopped:
            yield job, None, None
        elif _waiting_s(job) > 0:
            tenants = lanes.setdefault(job.lane, {})
            tenants.setdefault(job.plan.request.tenant, {}).setdefault(job.account, []).append(job)
        else:
            yield job, None, _seconds(job, 0.0, pool)
    totals_s = {
        lane: sum(_waiting_s(job) for accounts in tenants.values() for jobs in accounts.values() for job in jobs)
        for lane, tenants in lanes.items()
    }
    weights = queue.shares.weights
    for lane, tenants in lanes.items():
        for position, last in enumerate(_lane(tenants, queue, lane)):
            others_s = sum(
                min(total_s, last.work_s * weights[other] / weights[lane])
                for other, total_s in totals_s.items()
                if other != lane
            )
            yield last.job, position, _seconds(last.job, last.before_s + others_s, pool)


def _seconds(job: Job, ahead_s: float, pool: Pool) -> float | None:
    """Until a job is rendered: what its last chunk waits for, and that chunk; its own chain, if that is longer."""
    if not pool.rate:
        return None
    chunk_s = job.chunk_cost_s * pool.workers / pool.rate
    waits_s = (ahead_s + pool.busy_s) / pool.rate + chunk_s if ahead_s or _waiting_s(job) else chunk_s
    return round(max(waits_s, _chain(job) * chunk_s), 1)


def _chain(job: Job) -> int:
    """Chunks that have to be rendered one after the other."""
    depths: list[int] = []
    for chunk, span in zip(job.row.chunks, job.plan.chunks, strict=True):
        before = depths[span.after] if span.after >= 0 else 0
        depths.append(before + (chunk.state != "r"))
    return max(depths)


def _waiting_s(job: Job) -> float:
    return sum(c.state == "w" for c in job.row.chunks) * job.chunk_cost_s


def _lane(tenants: dict[str, dict[str, list[Job]]], queue: Queue, lane: Lane) -> list[_Last]:
    table = queue.lanes[lane].table
    groups = []
    for tenant, accounts in tenants.items():
        shares = table.accounts_of(tenant)
        lasts = _merged([_account(name, shares, jobs) for name, jobs in accounts.items()])
        jobs = [job for jobs in accounts.values() for job in jobs]
        groups.append(_group(tenant, table.tenants, jobs[0].placement.weight, lasts, jobs))
    return _merged(groups)


def _account(name: str, shares: Shares, jobs: list[Job]) -> _Group:
    lasts, work_s = [], 0.0
    for job in sorted(jobs, key=Job.order):
        work_s += _waiting_s(job)
        lasts.append(_Last(work_s, job))
    return _group(name, shares, jobs[0].placement.account_weight, lasts, jobs)


def _group(name: str, shares: Shares, weight: float, lasts: Sequence[_Last], jobs: Sequence[Job]) -> _Group:
    total_s = sum(map(_waiting_s, jobs))
    chunks = sum(c.state == "w" for job in jobs for c in job.row.chunks)
    return _Group(name, shares.virtual_s(name), weight, lasts, total_s, total_s / chunks)


def _merged(groups: Sequence[_Group]) -> list[_Last]:
    """The first jobs of several groups that share, as those of one."""
    if len(groups) == 1:
        return list(groups[0].lasts[:FIRST])
    tagged = [(group.tag(last), last, group) for group in groups for last in group.lasts]
    tagged.sort(key=lambda one: (one[0], one[1].work_s))
    merged = []
    for tag, last, own in islice(tagged, FIRST):
        others_s = sum(group.served_s(tag) for group in groups if group is not own)
        merged.append(_Last(last.work_s + others_s, last.job))
    return merged
