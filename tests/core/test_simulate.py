"""The simulator: work is conserved, every job ends once, the same input gives the same result; and what the real
scheduler's core promises, seen through it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.bench.fairness_workloads import CHUNK_S, HARDWARE, MODEL, MODELS, POOL, job, limits, plans
from ops.simulate.hardware import Costs, Fleet, Hardware
from ops.simulate.jobs import SimJob, planned
from ops.simulate.measures import busy_share, jain, measured, percentile, solo_s
from ops.simulate.sizing import POLICIES, PolicyName, Targets, first_in_first_out, outcomes, run, scheduled, smallest
from ops.simulate.traces import Traces
from schemas.errors import InvalidMessage
from schemas.plan import Plan
from schemas.request import LANES

WEIGHTS = {"express": 8.0, "standard": 3.0, "bulk": 1.0}
POLICY = limits(WEIGHTS)


def simulated(
    jobs: list[SimJob], workers: int = 2, hardware: Hardware = HARDWARE, policy: PolicyName = "reelbus"
) -> Traces:
    return run(plans(jobs, POLICY), Fleet(POOL, workers, MODELS, hardware), POLICY, policy)


JOBS = st.lists(
    st.builds(
        job,
        arrival_s=st.floats(0, 200),
        lane=st.sampled_from(LANES),
        tenant=st.sampled_from(["a", "b", "c"]),
        chunks=st.integers(1, 5),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25, deadline=None)
@given(jobs=JOBS, workers=st.integers(1, 4))
def test_work_is_conserved_and_every_job_ends_once(policy: PolicyName, jobs: list[SimJob], workers: int) -> None:
    made = plans(jobs, POLICY)
    traces = simulated(jobs, workers, policy=policy)
    assert {(trace.ends, trace.end) for trace in traces.jobs.values()} == {(1, "completed")}
    chunks = [(one.job, one.index) for one in traces.handed_out]
    assert sorted(chunks) == sorted((plan.job, index) for plan in made for index in range(len(plan.chunks)))
    assert sum(worker.chunks for worker in traces.workers) == len(chunks)
    spent_s = sum(to - begin for worker in traces.workers for begin, to, _ in worker.spans) / 1000
    assert spent_s == pytest.approx(sum(one.cost_s for one in traces.handed_out), abs=0.001 * len(chunks))


@settings(max_examples=15, deadline=None)
@given(jobs=JOBS, seed=st.integers(0, 9))
def test_the_same_seed_gives_the_same_result_and_no_device_does_two_things(jobs: list[SimJob], seed: int) -> None:
    first, second = (simulated(jobs, hardware=Hardware(jitter=0.3, seed=seed)) for _ in range(2))
    assert (first.handed_out, first.workers, first.ended_ms) == (second.handed_out, second.workers, second.ended_ms)
    for worker in first.workers:
        assert all(end <= begin for (_, end, _), (begin, _, _) in zip(worker.spans, worker.spans[1:], strict=False))


def test_another_seed_gives_another_result() -> None:
    jobs = [job(0.0, "standard", chunks=3)]
    assert simulated(jobs, hardware=Hardware(jitter=0.3)) != simulated(jobs, hardware=Hardware(jitter=0.3, seed=1))


# ---- the scheduler's promises ----------------------------------------------------------------------------------------


class _Watcher:
    """Knows from the outside which chunks may be handed out, and looks after every round whether a device stands still
    meanwhile. Records are on their way for 10 ms, and a worker's word takes another hop: what counts is standing still
    for longer."""

    PATIENCE_MS = 60

    def __init__(self, made: list[Plan], workers: int) -> None:
        self.plans = {plan.job: plan for plan in made}
        self.simulation = scheduled(made, Fleet(POOL, workers, MODELS, HARDWARE), POLICY)
        self.since: int | None = None

    def look(self, now_ms: int) -> None:
        traces = self.simulation.traces
        handed = {(one.job, one.index) for one in traces.handed_out}
        store = self.simulation.store
        waiting = [
            (plan.job, index)
            for plan in (self.plans[key] for key in traces.jobs)
            for index, span in enumerate(plan.chunks)
            if (plan.job, index) not in handed and (span.after < 0 or self.ids[plan.job][span.after] in store)
        ]
        out = len(handed) - len(store)
        if waiting and out < len(traces.workers):
            self.since = now_ms if self.since is None else self.since
            assert now_ms - self.since <= self.PATIENCE_MS, (
                f"{waiting[0]} waits, {out} of {len(traces.workers)} at work"
            )
        else:
            self.since = None

    def run(self, ids: Callable[[Plan], tuple[str, ...]]) -> None:
        self.ids = {key: ids(plan) for key, plan in self.plans.items()}
        self.simulation.run(after_round=self.look)


@settings(max_examples=25, deadline=None)
@given(jobs=JOBS, workers=st.integers(1, 4))
def test_no_worker_is_idle_while_a_chunk_may_be_handed_out(jobs: list[SimJob], workers: int) -> None:
    from schemas.chunks import chunk_ids

    _Watcher(plans(jobs, POLICY), workers).run(chunk_ids)


def test_a_backlog_larger_than_the_windows_is_rendered_to_the_end() -> None:
    """More jobs than the scheduler keeps in memory: they are parked, and each is done."""
    jobs = [job(0.0, "bulk", f"t{number % 3}") for number in range(700)]
    traces = simulated(jobs, 4)
    assert {(trace.ends, trace.end) for trace in traces.jobs.values()} == {(1, "completed")}
    assert busy_share(traces, "rendering", traces.began_ms, traces.began_ms + 1_000_000) > 0.99


def test_a_chunk_of_a_worker_that_died_is_handed_out_again_and_no_other() -> None:
    jobs = [job(0.0, "standard", f"t{number}", 3) for number in range(6)]
    for away_s in (float("inf"), 120.0):
        traces = simulated(jobs, 2, replace(HARDWARE, deaths={0: (15.0, away_s)}))
        assert {trace.end for trace in traces.jobs.values()} == {"completed"}
        times = Counter((one.job, one.index) for one in traces.handed_out)
        lost = {
            (one.job, one.index)
            for one in traces.handed_out
            if one.worker == 0 and one.at_ms <= traces.began_ms + 15_000
        }
        assert {chunk for chunk, count in times.items() if count > 1} <= lost
        assert max(times.values()) <= 2
        came_back = [begin for begin, _, _ in traces.workers[0].spans if begin > traces.began_ms + 15_000]
        assert bool(came_back) == (away_s < 1000)


def test_a_fleet_that_dies_leaves_jobs_without_an_end_and_the_simulation_ends() -> None:
    traces = simulated([job(0.0, "standard", chunks=9)], 1, replace(HARDWARE, deaths={0: (15.0, float("inf"))}))
    (trace,) = traces.jobs.values()
    assert (trace.ends, trace.ended_ms) == (0, None)
    assert measured(traces, MODELS, HARDWARE, "reelbus").completed == 0


def test_a_slow_worker_gets_less() -> None:
    jobs = [job(0.0, "standard", f"t{number % 4}") for number in range(80)]
    traces = simulated(jobs, 2, replace(HARDWARE, slow={1: 4.0}))
    fast, slow = (worker.chunks for worker in traces.workers)
    assert fast > 3 * slow > 0


def test_express_overtakes_a_backlog_and_first_in_first_out_does_not_let_it() -> None:
    jobs = [*(job(0.0, "bulk") for _ in range(100)), job(50.0, "express")]
    waits = {}
    for policy in POLICIES:
        express = [t for t in simulated(jobs, policy=policy).jobs.values() if t.plan.request.lane == "express"]
        waits[policy] = (express[0].began_ms or 0) - express[0].plan.requested_at_ms
    assert waits["reelbus"] <= 2.2 * CHUNK_S * 1000
    assert waits["fifo"] > 10 * waits["reelbus"]


def test_a_deadline_ends_a_job_that_is_not_rendered_by_then() -> None:
    late = replace(job(0.0, "standard", chunks=5), deadline_s=25.0)
    (trace,) = simulated([late], 1).jobs.values()
    assert (trace.end, trace.ends) == ("expired", 1)


def test_the_chunk_of_a_job_that_has_ended_is_stopped_at_the_next_step() -> None:
    late = replace(job(0.0, "standard", chunks=2), deadline_s=24.0)
    hardware = Hardware(costs=Costs(by_model={MODEL.name: 40.0}))
    traces = simulated([late, job(1.0, "standard", "other")], 1, hardware)
    assert [trace.end for trace in traces.jobs.values()] == ["expired", "completed"]
    stopped, whole = (to - begin for begin, to, _ in traces.workers[0].spans)
    assert (stopped % 5_000, whole) == (0, 40_000), "a step is 5 s"
    assert 24_000 < stopped < 40_000


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_warm_is_loaded_first() -> None:
    models = {name: replace_model(name) for name in ("a", "b", "c")}
    hardware = Hardware(costs=Costs(load_s=30.0))
    jobs = [replace(job(0.0, "standard"), model=name) for name in ("a", "b", "c")]
    (found,) = outcomes(planned(jobs, models, POLICY, POOL), models, POLICY, POOL, [1], hardware)
    assert found.took_s == pytest.approx(3 * CHUNK_S + 30.0, abs=0.5)
    assert found.loading == pytest.approx(30.0 / found.took_s, abs=0.01)


def replace_model(name: str, max_batch: int = 1):
    import msgspec

    return msgspec.structs.replace(MODEL, name=name, max_batch=max_batch)


def test_a_batch_saves_what_its_gain_says() -> None:
    models = {"a": replace_model("a", max_batch=4)}
    jobs = [replace(job(0.0, "standard", f"t{number}"), model="a") for number in range(40)]
    took = {
        gain: next(
            iter(outcomes(planned(jobs, models, POLICY, POOL), models, POLICY, POOL, [1], Hardware(batch_gain=gain)))
        ).took_s
        for gain in (0.0, 1.0)
    }
    assert took[0.0] == pytest.approx(40 * CHUNK_S, rel=0.02)
    assert took[1.0] < took[0.0] / 3


def test_a_worker_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidMessage, match="slow: no worker 3; with 2 they go from 0 to 1"):
        list(
            outcomes(
                planned([job(0.0, "bulk")], MODELS, POLICY, POOL), MODELS, POLICY, POOL, [2, 4], Hardware(slow={3: 2.0})
            )
        )


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_more_devices_never_meet_less_and_the_smallest_number_is_found() -> None:
    rng = Random(4)
    jobs = [job(rng.uniform(0, 400), "standard", f"t{number % 3}", 1 + number % 2) for number in range(60)]
    found = list(outcomes(planned(jobs, MODELS, POLICY, POOL), MODELS, POLICY, POOL, [1, 2, 4, 8], HARDWARE))
    waits = [outcome.lanes[0].wait_p95_s for outcome in found]
    assert waits == sorted(waits, reverse=True)
    assert smallest(found, Targets(p95_wait_s={"standard": waits[2]})) == 4
    assert smallest(found, Targets(goodput={"standard": 1.01})) is None
    assert "standard: p95 wait" in Targets(p95_wait_s={"standard": waits[2]}).missed(found[0])[0]
    assert smallest(found, Targets(p95_wait_s={"express": 0.0})) == 1, "a lane without jobs holds everything"


def test_solo_time_is_that_of_the_longest_chain() -> None:
    (chained,) = plans([job(0.0, "standard", chunks=6)], POLICY)
    assert solo_s(chained, MODELS, HARDWARE, 4) == 6 * CHUNK_S
    (trace,) = simulated([job(0.0, "standard", chunks=6)], 4, Hardware()).jobs.values()
    assert (trace.ended_ms or 0) - chained.requested_at_ms == pytest.approx(6 * CHUNK_S * 1000, rel=0.01)


def test_percentiles_and_jain() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert (percentile([7.0], 0.5), percentile([], 0.5)) == (7.0, None)
    assert jain([3, 3, 3]) == 1
    assert jain([1, 0, 0, 0]) == 0.25


def test_first_in_first_out_keeps_the_order_of_arrival() -> None:
    jobs = [job(float(number), lane) for number, lane in enumerate(["bulk", "express", "bulk", "standard"] * 5)]
    traces = first_in_first_out(plans(jobs, POLICY), Fleet(POOL, 1, MODELS, HARDWARE)).run()
    assert [one.job for one in traces.handed_out] == [plan.job for plan in plans(jobs, POLICY)]
