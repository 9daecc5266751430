"""What holds of the scheduler with several models, batches and urgent jobs without end."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from gpu_consumers.pipelines.renderer import compatible
from schemas.chunks import batch_key
from schemas.work import ChunkTask
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.job import new_job
from stream_processors.dispatch.line import AGED_MS, TURNS
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, tasks

LOAD_S = 10.0
SLOW = ("standard", "bulk")
"""Lanes that only go to workers with room; express also goes to full ones."""


def placed(out) -> dict[str, int]:
    """Job id -> partition of its chunk."""
    return {o.record.job.partition("/")[2]: o.partition for o in out if isinstance(o.record, ChunkTask)}


def some(_job, _kind) -> int:
    return 0


@given(
    st.lists(st.tuples(st.sampled_from(SLOW), st.sampled_from("xyz"), st.integers(1, 3), st.booleans()), max_size=12),
    st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 5)), max_size=4),
    st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_no_worker_has_room_while_a_chunk_may_go_out(jobs, workers, batch) -> None:
    scheduler = Scheduler(WEIGHTS)
    for number, (lane, model, chunks, chained) in enumerate(jobs):
        made = plan(
            f"j{number}", lane=lane, model=model, chunks=chunks, chained=chained, load_s=LOAD_S, max_batch=batch
        )
        scheduler.on_plan(made, 1)
    for number, (model, capacity) in enumerate(workers):
        scheduler.on_worker(worker(f"w{number}", capacity=capacity, models=(model,)), 1)
    wanted = sum(1 if chained else chunks for _, _, chunks, chained in jobs)
    assert len(tasks(scheduler.tick(2))) == min(wanted, sum(capacity for _, capacity in workers))


def test_a_job_whose_model_is_cold_is_passed_until_that_has_cost_what_loading_would() -> None:
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_worker(worker(capacity=1, models=("warm",)), 0)
    scheduler.on_plan(plan("cold", model="cold", chunks=1, load_s=LOAD_S, requested_at_ms=0), 1)
    for number in range(30):
        scheduler.on_plan(plan(f"warm-{number}", model="warm", chunks=1, load_s=LOAD_S, requested_at_ms=1), 1)
    order = []
    for _ in range(15):
        (task,) = tasks(scheduler.tick(10))
        order.append(task.spec.model)
        scheduler.on_inspected(result(task), 10)
    assert order == ["warm"] * 10 + ["cold"] + ["warm"] * 4


def test_a_deadline_does_not_wait_for_a_warm_worker_and_a_warm_worker_comes_first() -> None:
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_worker(worker(capacity=1, models=("warm",)), 0)
    soon = plan("soon", model="cold", chunks=1, load_s=LOAD_S, deadline_ms=15_000)
    scheduler.on_plan(soon, 1)
    scheduler.on_plan(plan("other", model="warm", chunks=1, load_s=LOAD_S), 1)
    assert [t.job for t in tasks(scheduler.tick(10))] == ["default/soon"]
    for number, model in enumerate(("warm", "cold"), start=2):
        state = replace(worker(f"w{number}", capacity=1, models=(model,)), partitions=(number,))
        scheduler.on_worker(state, 11)
    scheduler.on_plan(plan("third", model="cold", chunks=1, load_s=LOAD_S), 12)
    assert placed(scheduler.tick(13)) == {"other": 2, "third": 3}


@given(st.permutations(("ada", "bob", "cyd")), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_shares_are_fair_in_the_long_run_whatever_is_warm_or_batched(tenants, batch) -> None:
    """Three saturated tenants of one lane by weight, two of them with the same model, on one worker that changes."""
    weights = dict(zip(tenants, (1.0, 2.0, 1.0), strict=True))
    models = {"ada": "x", "bob": "x", "cyd": "y"}
    scheduler = Scheduler(WEIGHTS)
    for tenant in tenants:
        for number in range(2):
            made = plan(
                f"{number}", tenant=tenant, weight=weights[tenant], model=models[tenant], chunks=400, chained=False,
                load_s=LOAD_S, max_batch=batch,
            )  # fmt: skip
            scheduler.on_plan(made, 1)
    served: Counter[str] = Counter()
    warm = "x"
    while sum(served.values()) < 1_000:
        scheduler.on_worker(worker(capacity=batch, models=(warm,)), 1)
        for task in tasks(scheduler.tick(2)):
            tenant = task.job.partition("/")[0]
            served[tenant] += 1 if task.spec.model == warm else 1 + LOAD_S
            warm = task.spec.model
            done = result(task)
            scheduler.on_inspected(replace(done, rendered=replace(done.rendered, device_s=1.0)), 2)
    shares = [served[tenant] / weights[tenant] for tenant in tenants]
    assert sum(shares) ** 2 / (len(shares) * sum(x * x for x in shares)) > 0.99


def test_a_batch_is_filled_from_the_same_lane_then_from_others_with_what_fits() -> None:
    scheduler = Scheduler(WEIGHTS)
    for name, more in {
        "first": {"lane": "express"},
        "bulk": {"lane": "bulk"},
        "mate": {"lane": "express", "tenant": "b"},
        "alien": {"lane": "express", "tenant": "c", "model": "y"},
    }.items():
        scheduler.on_plan(plan(name, chunks=1, max_batch=3, **more), 1)
    scheduler.on_worker(worker(capacity=3), 1)
    assert [t.job for t in tasks(scheduler.tick(2))] == ["b/mate", "default/first", "default/bulk"]


def test_a_batch_is_no_longer_than_the_deadline_of_its_first_chunk_allows() -> None:
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(plan("soon", chunks=1, max_batch=4, deadline_ms=2_500, lane="express"), 1)
    for number in range(4):
        scheduler.on_plan(plan(f"{number}", chunks=1, max_batch=4, lane="bulk"), 1)
    for number in range(2):
        scheduler.on_worker(replace(worker(f"w{number}", capacity=4), partitions=(number,)), 1)
    assert placed(scheduler.tick(2)) == {"soon": 0, "0": 0, "1": 1, "2": 1, "3": 1}


FIELDS = ("model", "model_revision", "width_px", "height_px", "steps", "guidance", "fps", "given_frames")


@given(st.sets(st.sampled_from((*FIELDS, "seed", "prompt", "frames", "tenant"))))
def test_the_scheduler_and_the_worker_agree_on_what_fits_into_a_batch(changed) -> None:
    spec = new_job(plan(chunks=1), 0).specs[0]
    values = {name: getattr(spec, name) for name in changed}
    other = replace(spec, **{name: f"{v}!" if isinstance(v, str) else v + 1 for name, v in values.items()})
    assert (batch_key(spec) == batch_key(other)) == compatible(spec, other) == (not changed & set(FIELDS))


@pytest.mark.parametrize("urgent", [{"priority": 10}, {"deadline_ms": 10**12}])
def test_nothing_starves_under_a_stream_of_urgent_jobs(urgent) -> None:
    queue = Queue(WEIGHTS, some, lambda _job: 0.0)
    queue.put(new_job(plan("old", requested_at_ms=0), 0))
    for number in range(5):
        queue.put(new_job(plan(f"urgent-{number}", requested_at_ms=AGED_MS * 2, **urgent), 0))
    for now_ms, share in ((AGED_MS, 0), (AGED_MS + 1, 10)):
        served = []
        for _ in range(TURNS * 10):
            turn = queue.pick(now_ms)
            assert turn is not None
            queue.charge(turn)
            served.append(turn.job.key)
        assert served.count("default/old") == share


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(-1, 1), st.sampled_from((None, 1, 2))), max_size=8))
def test_a_deadline_or_priority_moves_nobody_but_jobs_of_its_own_tenant(jobs) -> None:
    """Whose turn it is does not depend on them, and equals keep the order in which they came."""

    def served(urgent: bool) -> list[tuple[str, str]]:
        queue = Queue(WEIGHTS, lambda job, _kind: None if job.key in done else 0, lambda _job: 0.0)
        done: set[str] = set()
        for number, (tenant, priority, due) in enumerate(jobs):
            more = {"priority": priority, "deadline_ms": due} if urgent else {}
            queue.put(new_job(plan(f"{number}", tenant=tenant, requested_at_ms=number, **more), 0))
        order = []
        while (turn := queue.pick(0)) is not None:
            queue.charge(turn)
            done.add(turn.job.key)
            order.append((turn.job.plan.request.tenant, turn.job.plan.request.job_id))
        return order

    with_them, without = served(urgent=True), served(urgent=False)
    assert [tenant for tenant, _ in with_them] == [tenant for tenant, _ in without]
    for tenant in "ab":
        numbers = [int(number) for t, number in with_them if t == tenant]
        key = {n: (jobs[n][2] or 9, -jobs[n][1], n) for n in numbers}
        assert numbers == sorted(numbers, key=key.__getitem__)
        assert [n for t, n in without if t == tenant] == sorted((n for t, n in without if t == tenant), key=int)


def test_projects_share_their_tenants_turns_by_weight_and_the_key_stands_in_for_one() -> None:
    queue = Queue(WEIGHTS, some, lambda _job: 0.0)
    made = [
        plan("film", project="film", account_weight=2.0),
        plan("game", project="game"),
        replace(plan("keyed"), origin=replace(plan().origin, key_id="k1")),
        plan("other", tenant="b"),
    ]
    for one in made:
        queue.put(new_job(one, 0))
    served: Counter[str] = Counter()
    for _ in range(800):
        turn = queue.pick(0)
        assert turn is not None
        queue.charge(turn)
        served[turn.job.plan.request.job_id] += 1
    assert served == {"film": 200, "game": 100, "keyed": 100, "other": 400}
