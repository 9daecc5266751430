"""Costs are learnt from finished chunks, told when they have changed, and priced before a job is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops import limits as limits_file
from ops.quote import quote
from ops.settings import Settings
from schemas.chunks import chunk_specs
from schemas.costs import CostTable, cost_key, kind_of
from schemas.errors import JobRejected
from schemas.topics import COSTS_LEARNT
from schemas.work import LearntCost
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.costs import TELL_EVERY_MS, Learning
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, tasks
from tests.simulation.world import MODEL

SPEC = chunk_specs(plan(chunks=1))[0]
DEVICE_S = st.floats(0.01, 1_000)


@given(st.lists(DEVICE_S, min_size=1, max_size=60))
def test_the_expectation_lies_between_the_least_and_the_most_that_was_seen(seen: list[float]) -> None:
    table = CostTable()
    for device_s in seen:
        table.learn("cpu", SPEC, device_s, 1)
    assert min(seen) * 0.999 <= table.expected_s("cpu", SPEC, 77.0, 17) <= max(seen) * 1.001


def test_few_chunks_count_alike_and_a_change_is_followed() -> None:
    table = CostTable()
    for device_s in (1.0, 2.0, 6.0):
        table.learn("cpu", SPEC, device_s, 1)
    assert table.expected_s("cpu", SPEC, 77.0, 17) == pytest.approx(3.0)
    for _ in range(100):
        table.learn("cpu", SPEC, 10.0, 2)
    assert table.expected_s("cpu", SPEC, 77.0, 17) == pytest.approx(10.0, rel=0.05)


def test_what_was_never_seen_costs_in_proportion_to_the_nearest_that_was() -> None:
    table = CostTable()
    large = replace(SPEC, width_px=128)
    assert table.expected_s("cpu", SPEC, 8.0, 34) == 4.0
    table.learn("cpu", SPEC, 3.0, 1)
    table.learn("cpu", replace(SPEC, width_px=64 * 64), 1_000.0, 1)
    assert table.expected_s("cpu", large, 77.0, 17) == pytest.approx(6.0)
    assert table.expected_s("cpu", replace(large, steps=4), 77.0, 17) == pytest.approx(3.0)
    for other in (replace(SPEC, model="other"), replace(SPEC, model_revision="r2")):
        assert table.expected_s("cpu", other, 77.0, 17) == 77.0
    assert table.expected_s("cuda", SPEC, 77.0, 17) == 77.0


def test_what_has_hardly_changed_is_not_told_again() -> None:
    learning = Learning()
    learning.learn("cpu", SPEC, 2.0, 1)
    (first,) = learning.tell(1)
    assert (first.topic, first.key, first.record.chunk_s) == (COSTS_LEARNT, cost_key(kind_of("cpu", SPEC)), 2.0)
    learning.learn("cpu", SPEC, 9.0, 2)
    assert learning.tell(3) == []
    (second,) = learning.tell(1 + TELL_EVERY_MS)
    assert (second.record.chunk_s, second.record.chunks) == (5.5, 2)
    learning.learn("cpu", SPEC, 5.5, 20_000)
    assert learning.tell(60_000) == []


def test_a_reused_chunk_teaches_nothing() -> None:
    scheduler, job = Scheduler(WEIGHTS), plan(chunks=2, chained=False)
    scheduler.on_plan(job, 0)
    scheduler.on_control(answer("admit", job), 0)
    scheduler.on_worker(worker(capacity=4), 0)
    first, second = tasks(scheduler.tick(0))
    scheduler.on_inspected(result(first, status="reused"), 1)
    assert [o for o in scheduler.tick(2_000) if o.topic == COSTS_LEARNT] == []
    scheduler.on_inspected(result(second), 3)
    (told,) = [o.record for o in scheduler.tick(4_000) if o.topic == COSTS_LEARNT]
    assert (told.chunk_s, told.chunks) == (0.5, 1)


def test_a_successor_prices_jobs_as_its_predecessor_did() -> None:
    kind = replace(kind_of("cpu", SPEC), chunk_s=7.0, chunks=9)
    successor = Scheduler(WEIGHTS)
    successor.restore_costs([kind])
    successor.on_plan(plan(chunks=3, cost_s=1.0), 0)
    (job,) = successor.jobs.values()
    assert job.chunk_cost_s == 7.0
    assert job.remaining_s == 21.0


def test_a_quote_is_what_the_scheduler_would_expect() -> None:
    limits = limits_file.load(Settings().limits)
    request = replace(plan(chunks=3).request, output=replace(plan().request.output, width_px=64, height_px=64))
    models = {MODEL.name: MODEL}
    prior = quote(request, models, limits, CostTable(), "cpu")
    assert (prior.chunks, prior.chunks_seen) == (3, 0)
    assert prior.device_s == pytest.approx(3 * MODEL.chunk_cost_s)
    seen = LearntCost(
        pool="cpu", model=MODEL.name, model_revision=MODEL.revision, width_px=64, height_px=64, steps=MODEL.steps,
        frames=17, chunk_s=2.0, chunks=40, at_ms=0,
    )  # fmt: skip
    learnt = quote(request, models, limits, CostTable([seen]), "cpu")
    assert (learnt.device_s, learnt.chunks_seen) == (pytest.approx(6.0), 40)


def test_a_quote_for_an_unknown_model_names_the_known_ones() -> None:
    limits, unknown = limits_file.load(Settings().limits), replace(plan().request, model="nope")
    with pytest.raises(JobRejected, match="known are shapes"):
        quote(unknown, {MODEL.name: MODEL}, limits, CostTable(), "cpu")
