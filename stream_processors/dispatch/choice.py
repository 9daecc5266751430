"""Which job gets the next chunk of a pool, without looking at all that wait. Pure.

Heaps whose entries may be out of date, checked when they come to the top: of a lane's tenants by virtual time, of a
tenant's jobs by their order. A decision costs O(log n); a change of a job is at most one more entry.
"""

from collections.abc import Callable, Mapping
from heapq import heappop, heappush, heapreplace

from schemas.request import Lane
from stream_processors.dispatch.fairness import LaneShares, TenantShares
from stream_processors.dispatch.job import Job, Order

Wants = Callable[[Job], bool]
"""Does this job still live and have a chunk that may be handed out now?"""


class Queue:
    """Jobs of one pool: lanes by weight, tenants of a lane by weight, jobs of a tenant by their order."""

    def __init__(self, lane_weights: Mapping[Lane, float], wants: Wants) -> None:
        self._shares = LaneShares(dict(lane_weights))
        # A job that was moved is in two lanes' heaps; the one that it left passes it over.
        self._lanes = {lane: _LaneQueue(_in(lane, wants)) for lane in lane_weights}

    @property
    def tenants(self) -> dict[Lane, TenantShares]:
        return {lane: queue.shares for lane, queue in self._lanes.items()}

    def put(self, job: Job) -> None:
        """A job that is new, or that changed: it may want a chunk, or has another place in the order. A job that
        `pick` found to want none is not looked at again before."""
        self._lanes[job.lane].put(job)

    def pick(self) -> Job | None:
        """The job to serve next; None when no job wants a chunk."""
        heads = {lane: job for lane, queue in self._lanes.items() if (job := queue.head()) is not None}
        if not heads:
            return None
        return heads[self._shares.pick({lane: job.placement.chunk_cost_s for lane, job in heads.items()})]

    def charge(self, job: Job) -> None:
        """Book one chunk of this job."""
        cost_s = job.placement.chunk_cost_s
        self._shares.charge(job.lane, cost_s)
        self._lanes[job.lane].charge(job.plan.request.tenant, cost_s, job.placement.weight)


def _in(lane: Lane, wants: Wants) -> Wants:
    return lambda job: job.lane == lane and wants(job)


class _LaneQueue:
    def __init__(self, wants: Wants) -> None:
        self.shares = TenantShares()
        self._wants = wants
        self._tenants: list[tuple[float, str]] = []
        """Heap of (virtual time, tenant). Virtual time only grows, so an old entry comes to the top too early."""
        self._orders: dict[str, list[Order]] = {}
        """Heap of each tenant that is among `_tenants`."""
        self._jobs: dict[str, tuple[Order, Job]] = {}
        """What counts of a job that waits; entries of the heaps that say otherwise are old."""
        self._found: Job | None = None
        """The last answer, as long as nothing can have come before it."""

    def charge(self, tenant: str, cost_s: float, weight: float) -> None:
        self._found = None
        self.shares.charge(tenant, cost_s, weight)

    def put(self, job: Job) -> None:
        self._found = None
        order, tenant = job.order(), job.plan.request.tenant
        known = self._jobs.get(job.key)
        self._jobs[job.key] = order, job
        if tenant not in self._orders:
            self._orders[tenant] = []
            heappush(self._tenants, (self.shares.virtual_s(tenant), tenant))
        if known is None or known[0] != order:
            heappush(self._orders[tenant], order)

    def head(self) -> Job | None:
        """First job of the first tenant."""
        if self._found is None or not self._wants(self._found):
            self._found = self._find()
        return self._found

    def _find(self) -> Job | None:
        while self._tenants:
            virtual_s, tenant = self._tenants[0]
            job = self._first(self._orders[tenant])
            if job is None:
                heappop(self._tenants)
                del self._orders[tenant]
            elif (present_s := self.shares.virtual_s(tenant)) != virtual_s:
                heapreplace(self._tenants, (present_s, tenant))
            else:
                return job
        return None

    def _first(self, orders: list[Order]) -> Job | None:
        while orders:
            order = orders[0]
            known = self._jobs.get(order[-1])
            if known is not None and known[0] == order:
                if self._wants(known[1]):
                    return known[1]
                del self._jobs[order[-1]]
            heappop(orders)
        return None
