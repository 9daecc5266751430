"""Queue positions and estimates of when a job is rendered. Pure.

The estimate plays the scheduler's own order forward: tenants by virtual time, jobs of a tenant by their order, the lane
at its share of the devices. It assumes that all lanes that have work keep it, so it errs on the late side.
"""

from collections.abc import Iterator, Mapping, Sequence

from schemas.request import Lane
from stream_processors.dispatch.fairness import TenantShares
from stream_processors.dispatch.job import Job

FIRST = 100
"""Positions behind this one are not told: they change with every chunk and help nobody."""


def estimate(
    active: Sequence[Job],
    tenants: Mapping[Lane, TenantShares],
    weights: Mapping[Lane, float],
    devices: int,
) -> Iterator[tuple[Job, int | None, float | None]]:
    """Yield (job, position in its lane, seconds until rendered) for the first jobs of every lane of one pool, and
    (job, None, None) for all that are stopped: nobody knows for how long.

    devices: its live workers. Without one there is no estimate (None). A job with nothing waiting has no position.
    """
    lanes: dict[Lane, list[Job]] = {}
    for job in active:
        if job.stopped:
            yield job, None, None
        else:
            lanes.setdefault(job.lane, []).append(job)
    total_weight = sum(weights[lane] for lane in lanes)
    for lane, jobs in lanes.items():
        speed = devices * weights[lane] / total_weight
        position, ahead_s = 0, 0.0
        for job in _in_order(jobs, tenants[lane]):
            ahead_s += job.remaining_s
            waits = any(c.state == "w" for c in job.row.chunks)
            yield job, position if waits else None, round(ahead_s / speed, 1) if speed else None
            position += waits
            if position >= FIRST:
                break


def _in_order(jobs: Sequence[Job], shares: TenantShares) -> Iterator[Job]:
    queues: dict[str, list[Job]] = {}
    for job in jobs:
        queues.setdefault(job.plan.request.tenant, []).append(job)
    for queue in queues.values():
        queue.sort(key=Job.order, reverse=True)
    virtual_s = {tenant: shares.virtual_s(tenant) for tenant in queues}
    while queues:
        tenant = min(queues, key=lambda t: (virtual_s[t], t))
        job = queues[tenant].pop()
        virtual_s[tenant] += job.remaining_s / job.placement.weight
        if not queues[tenant]:
            del queues[tenant]
        yield job
