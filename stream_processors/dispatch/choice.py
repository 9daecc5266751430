"""Which job gets the next chunk. Pure."""

from collections.abc import Iterable, Mapping

from schemas.request import Lane
from stream_processors.dispatch.fairness import LaneShares, TenantShares
from stream_processors.dispatch.job import Job


class Waiting:
    """Jobs of one pool that may have a chunk to hand out, by lane and tenant."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.lanes: dict[Lane, dict[str, list[Job]]] = {}
        for job in jobs:
            request = job.plan.request
            self.lanes.setdefault(request.lane, {}).setdefault(request.tenant, []).append(job)

    def __bool__(self) -> bool:
        return bool(self.lanes)

    def remove(self, job: Job) -> None:
        """This job has nothing more to hand out now."""
        request = job.plan.request
        tenants = self.lanes[request.lane]
        tenants[request.tenant].remove(job)
        if not tenants[request.tenant]:
            del tenants[request.tenant]
        if not tenants:
            del self.lanes[request.lane]


class Shares:
    """Lanes by weight, tenants of a lane by weight, jobs of a tenant by their order."""

    def __init__(self, lane_weights: Mapping[Lane, float]) -> None:
        self._lanes = LaneShares(dict(lane_weights))
        self.tenants = {lane: TenantShares() for lane in lane_weights}

    def pick(self, waiting: Waiting) -> Job:
        """The job to serve next."""
        chosen = {
            lane: min(tenants[self.tenants[lane].pick(tenants)], key=Job.order)
            for lane, tenants in waiting.lanes.items()
        }
        return chosen[self._lanes.pick({lane: job.placement.chunk_cost_s for lane, job in chosen.items()})]

    def charge(self, job: Job) -> None:
        """Book one chunk of this job."""
        cost_s, request = job.placement.chunk_cost_s, job.plan.request
        self._lanes.charge(request.lane, cost_s)
        self.tenants[request.lane].charge(request.tenant, cost_s, job.placement.weight)
