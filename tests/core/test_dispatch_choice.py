"""The queue of a pool decides as if it looked at every job every time, and shares out as its weights say."""

from collections import Counter
from itertools import count

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from schemas.request import LANES
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.fairness import LaneShares, TenantShares
from stream_processors.dispatch.job import Job, new_job
from tests.core.plans import plan
from tests.core.scheduled import WEIGHTS

TENANTS = ("ada", "bob", "cyd", "dan")
COSTS_S = {"ada": 1.0, "bob": 0.25, "cyd": 3.0, "dan": 1.0}
TENANT_WEIGHTS = {"ada": 1.0, "bob": 2.0, "cyd": 1.0, "dan": 0.5}


class ByLookingAtAll:
    """What a queue must decide, written down plainly."""

    def __init__(self) -> None:
        self.lanes = LaneShares(dict(WEIGHTS))
        self.tenants = {lane: TenantShares() for lane in WEIGHTS}

    def pick(self, wanting: list[Job]) -> Job | None:
        heads = {}
        for lane in LANES:
            here = [job for job in wanting if job.plan.request.lane == lane]
            if here:
                tenant = self.tenants[lane].pick({job.plan.request.tenant for job in here})
                heads[lane] = min((job for job in here if job.plan.request.tenant == tenant), key=Job.order)
        if not heads:
            return None
        return heads[self.lanes.pick({lane: job.placement.chunk_cost_s for lane, job in heads.items()})]

    def charge(self, job: Job) -> None:
        request = job.plan.request
        self.lanes.charge(request.lane, job.placement.chunk_cost_s)
        self.tenants[request.lane].charge(request.tenant, job.placement.chunk_cost_s, job.placement.weight)


class Histories(RuleBasedStateMachine):
    @initialize()
    def empty(self) -> None:
        self.numbers = count()
        self.jobs: list[Job] = []
        self.wanting: set[str] = set()
        self.queue = Queue(WEIGHTS, lambda job: job.key in self.wanting)
        self.oracle = ByLookingAtAll()

    @rule(
        lane=st.sampled_from(LANES),
        tenant=st.sampled_from(TENANTS),
        age=st.integers(0, 3),
        deadline_ms=st.sampled_from((None, 5_000, 9_000)),
    )
    def come(self, lane, tenant, age, deadline_ms) -> None:
        made = plan(
            f"j{next(self.numbers)}", lane=lane, tenant=tenant, requested_at_ms=age, deadline_ms=deadline_ms,
            cost_s=COSTS_S[tenant], weight=TENANT_WEIGHTS[tenant],
        )  # fmt: skip
        job = new_job(made, 0)
        self.jobs.append(job)
        self.wanting.add(job.key)
        self.queue.put(job)

    @rule(times=st.integers(1, 12), starts=st.booleans())
    def serve(self, times, starts) -> None:
        """starts: as in life, a job that got its first chunk comes first among its tenant's."""
        for _ in range(times):
            expected = self.oracle.pick([job for job in self.jobs if job.key in self.wanting])
            picked = self.queue.pick()
            assert picked is expected
            if picked is None:
                return
            self.queue.charge(picked)
            self.oracle.charge(picked)
            if starts:
                picked.row = replace(picked.row, started_at_ms=1)
                self.queue.put(picked)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 99))
    def wait(self, pick) -> None:
        """A chained job waits for the chunk that is being rendered, or ends. Nobody tells the queue."""
        self.wanting.discard(self.jobs[pick % len(self.jobs)].key)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 99))
    def go_on(self, pick) -> None:
        job = self.jobs[pick % len(self.jobs)]
        self.wanting.add(job.key)
        self.queue.put(job)


def test_it_decides_as_if_it_looked_at_every_job() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


@given(st.permutations(TENANTS))
@settings(max_examples=10, deadline=None)
def test_saturated_tenants_get_device_seconds_by_weight_whatever_their_chunks_cost(tenants) -> None:
    queue = Queue(WEIGHTS, lambda _job: True)
    for tenant in tenants:
        for n in range(3):
            made = plan(f"{tenant}{n}", tenant=tenant, cost_s=COSTS_S[tenant], weight=TENANT_WEIGHTS[tenant])
            queue.put(new_job(made, 0))
    served_s: Counter[str] = Counter()
    for _ in range(4_000):
        job = queue.pick()
        assert job is not None
        queue.charge(job)
        served_s[job.plan.request.tenant] += job.placement.chunk_cost_s
    shares = [served_s[tenant] / TENANT_WEIGHTS[tenant] for tenant in TENANTS]
    jain = sum(shares) ** 2 / (len(shares) * sum(x * x for x in shares))
    assert jain > 0.999


def test_a_lane_gets_its_weight_however_much_waits_beside_it() -> None:
    queue = Queue(WEIGHTS, lambda _job: True)
    for lane in LANES:
        for n in range(50 if lane == "express" else 1):
            queue.put(new_job(plan(f"{lane}{n}", lane=lane), 0))
    served: Counter[str] = Counter()
    for _ in range(1_200):
        job = queue.pick()
        assert job is not None
        queue.charge(job)
        served[job.plan.request.lane] += 1
    assert served == {"express": 800, "standard": 300, "bulk": 100}
