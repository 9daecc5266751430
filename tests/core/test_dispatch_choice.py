"""The queue of a pool decides as if it looked at every job every time, and shares out as its weights say."""

from collections import Counter
from itertools import count

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from schemas.request import LANES
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.fairness import LaneShares, Shares
from stream_processors.dispatch.job import Job, new_job
from stream_processors.dispatch.line import AGED_MS
from tests.core.plans import plan
from tests.core.scheduled import WEIGHTS

TENANTS = ("ada", "bob", "cyd", "dan")
COSTS_S = {"ada": 1.0, "bob": 0.25, "cyd": 3.0, "dan": 1.0}
TENANT_WEIGHTS = {"ada": 1.0, "bob": 2.0, "cyd": 1.0, "dan": 0.5}


class ByLookingAtAll:
    """What a queue must decide, written down plainly."""

    def __init__(self) -> None:
        self.lanes = LaneShares(dict(WEIGHTS))
        self.tenants = {lane: Shares() for lane in WEIGHTS}
        self.accounts: dict[tuple[str, str], Shares] = {}
        self.turns: Counter[tuple[str, str, str]] = Counter()

    def _first(self, jobs: list[Job], now_ms: int) -> tuple[Job, bool]:
        """Of one lane, and whether it goes by its age."""
        lane = jobs[0].lane
        tenant = min({j.plan.request.tenant for j in jobs}, key=lambda t: (self.tenants[lane].virtual_s(t), t))
        jobs = [j for j in jobs if j.plan.request.tenant == tenant]
        shares = self.accounts.setdefault((lane, tenant), Shares())
        account = min({j.account for j in jobs}, key=lambda a: (shares.virtual_s(a), a))
        jobs = [j for j in jobs if j.account == account]
        oldest = min(jobs, key=lambda j: (j.plan.requested_at_ms, j.key))
        if self.turns[lane, tenant, account] >= 7 and now_ms - oldest.plan.requested_at_ms > AGED_MS:
            return oldest, True
        return min(jobs, key=Job.order), False

    def pick(self, wanting: list[Job], now_ms: int) -> tuple[Job, bool] | None:
        heads = {}
        for lane in LANES:
            if here := [job for job in wanting if job.lane == lane]:
                heads[lane] = self._first(here, now_ms)
        if not heads:
            return None
        return heads[self.lanes.pick({lane: job.chunk_cost_s for lane, (job, _) in heads.items()})]

    def charge(self, job: Job, aged: bool) -> None:
        tenant, cost_s = job.plan.request.tenant, job.chunk_cost_s
        self.lanes.charge(job.lane, cost_s)
        self.tenants[job.lane].charge(tenant, cost_s, job.placement.weight)
        self.accounts[job.lane, tenant].charge(job.account, cost_s, job.placement.account_weight)
        place = job.lane, tenant, job.account
        self.turns[place] = 0 if aged else self.turns[place] + 1


def no_load(_job: Job) -> float:
    return 0.0


def always(_job: Job, _kind: object) -> int | None:
    return 0


class Histories(RuleBasedStateMachine):
    @initialize()
    def empty(self) -> None:
        self.numbers = count()
        self.now_ms = 0
        self.jobs: list[Job] = []
        self.wanting: set[str] = set()
        self.queue = Queue(WEIGHTS, lambda job, _kind: 0 if job.key in self.wanting else None, no_load)
        self.oracle = ByLookingAtAll()

    @rule(
        lane=st.sampled_from(LANES),
        tenant=st.sampled_from(TENANTS),
        project=st.sampled_from((None, "film", "game")),
        deadline_ms=st.sampled_from((None, 5_000_000, 9_000_000)),
        priority=st.sampled_from((0, 0, 5)),
    )
    def come(self, lane, tenant, project, deadline_ms, priority) -> None:
        made = plan(
            f"j{next(self.numbers)}", lane=lane, tenant=tenant, requested_at_ms=self.now_ms, deadline_ms=deadline_ms,
            cost_s=COSTS_S[tenant], weight=TENANT_WEIGHTS[tenant], project=project, priority=priority,
            account_weight=2.0 if project == "film" else 1.0,
        )  # fmt: skip
        job = new_job(made, 0)
        self.jobs.append(job)
        self.wanting.add(job.key)
        self.queue.put(job)

    @rule(ms=st.sampled_from((1, 1_000, AGED_MS)))
    def pass_time(self, ms) -> None:
        self.now_ms += ms

    @rule(times=st.integers(1, 12), starts=st.booleans())
    def serve(self, times, starts) -> None:
        """starts: as in life, a job that got its first chunk comes before its equals."""
        for _ in range(times):
            expected = self.oracle.pick([job for job in self.jobs if job.key in self.wanting], self.now_ms)
            turn = self.queue.pick(self.now_ms)
            if turn is None:
                assert expected is None
                return
            assert (turn.job, turn.aged) == expected
            self.queue.charge(turn)
            self.oracle.charge(turn.job, turn.aged)
            if starts:
                turn.job.row = replace(turn.job.row, started_at_ms=1)
                self.queue.put(turn.job)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 99))
    def wait(self, pick) -> None:
        """A chained job waits for the chunk that is being rendered, or ends, and is not put."""
        self.wanting.discard(self.jobs[pick % len(self.jobs)].key)
        self.queue.look_again()

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
    queue = Queue(WEIGHTS, always, no_load)
    for tenant in tenants:
        for n in range(3):
            made = plan(f"{tenant}{n}", tenant=tenant, cost_s=COSTS_S[tenant], weight=TENANT_WEIGHTS[tenant])
            queue.put(new_job(made, 0))
    served_s: Counter[str] = Counter()
    for _ in range(4_000):
        turn = queue.pick(0)
        assert turn is not None
        queue.charge(turn)
        served_s[turn.job.plan.request.tenant] += turn.job.chunk_cost_s
    shares = [served_s[tenant] / TENANT_WEIGHTS[tenant] for tenant in TENANTS]
    jain = sum(shares) ** 2 / (len(shares) * sum(x * x for x in shares))
    assert jain > 0.999


def test_a_lane_gets_its_weight_however_much_waits_beside_it() -> None:
    queue = Queue(WEIGHTS, always, no_load)
    for lane in LANES:
        for n in range(50 if lane == "express" else 1):
            queue.put(new_job(plan(f"{lane}{n}", lane=lane), 0))
    served: Counter[str] = Counter()
    for _ in range(1_200):
        turn = queue.pick(0)
        assert turn is not None
        queue.charge(turn)
        served[turn.job.lane] += 1
    assert served == {"express": 800, "standard": 300, "bulk": 100}
