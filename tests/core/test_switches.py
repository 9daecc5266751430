"""What operators pause and drain: who gets nothing, who takes the room, and that it is a level."""

import hypothesis.strategies as st
import pytest
import typer
from hypothesis import given, settings

from ops.cli.switches import Kind, _check
from ops.view.describe import worker as doing
from ops.view.live import live
from ops.view.live_state import LiveState
from schemas.errors import InvalidMessage
from schemas.ids import switch_key
from schemas.request import LANES
from schemas.topics import HOUR_MS
from schemas.work import Switch
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, events, render_all, tasks
from tests.core.test_steering import told
from tests.core.test_view_live import render_worker, text_of


def turn(scheduler: Scheduler, kind: str, name: str, state: str, at_ms: int = 5) -> None:
    scheduler.on_switch(switch_key(kind, name), Switch(kind=kind, name=name, state=state, at_ms=at_ms))


def scheduler_with(*plans, capacity: int = 1, timeout_ms: int = 0) -> Scheduler:
    made = Scheduler(WEIGHTS, timeout_ms)
    made.on_worker(worker(capacity=capacity), 0)
    for each in plans:
        made.on_plan(each, 1)
    return made


@pytest.mark.parametrize(("kind", "name"), [("lane", "bulk"), ("tenant", "acme"), ("pool", "cpu")])
def test_what_is_paused_finishes_what_renders_and_gets_no_more_until_it_goes_on(kind, name) -> None:
    scheduler = scheduler_with(plan("a", chunks=3, lane="bulk", tenant="acme"))
    (first,) = tasks(scheduler.tick(10))
    turn(scheduler, kind, name, "off")
    scheduler.on_inspected(result(first), 11)
    out = scheduler.tick(2_000)
    assert tasks(out) == []
    assert [e.progress.stopped for e in told(out, "job.progress")] == [f"{kind} {name} is paused"]
    assert scheduler.jobs["acme/a"].chunk(0).state == "r"
    turn(scheduler, kind, name, "off")
    assert tasks(scheduler.tick(2_001)) == []
    turn(scheduler, kind, name, "on")
    assert [t.index for t in tasks(render_all(scheduler, 2_002))] == [1, 2]


def test_a_tombstone_turns_on_and_a_record_at_another_key_is_refused() -> None:
    scheduler = scheduler_with(plan("a"))
    turn(scheduler, "lane", "standard", "off")
    with pytest.raises(InvalidMessage, match='key: found "lane:bulk"; expected "lane:standard"'):
        scheduler.on_switch("lane:bulk", Switch(kind="lane", name="standard", state="on"))
    assert tasks(scheduler.tick(10)) == []
    scheduler.on_switch("lane:standard", None)
    assert len(tasks(scheduler.tick(11))) == 1


def test_a_paused_lanes_room_goes_to_the_others_in_their_proportion() -> None:
    scheduler = scheduler_with(*(plan(f"{lane}{n}", chunks=1, lane=lane) for lane in LANES for n in range(60)))
    turn(scheduler, "lane", "express", "off")
    served = [t.lane for t in tasks(render_all(scheduler, rounds=40))]
    assert (served.count("express"), served.count("standard"), served.count("bulk")) == (0, 30, 10)
    turn(scheduler, "lane", "express", "on")
    for task in tasks(scheduler.tick(20)):
        scheduler.on_inspected(result(task), 20)
    served = [t.lane for t in tasks(render_all(scheduler, 21, rounds=23))]
    assert served.count("express") >= 15, "and it has saved up no more than its share"
    assert served.count("standard") >= 4


def test_a_paused_tenant_fills_nobody_elses_window() -> None:
    scheduler = Scheduler(WEIGHTS, window_jobs=8)
    scheduler.on_worker(worker(capacity=1), 0)
    turn(scheduler, "tenant", "big", "off")
    for n in range(100):
        scheduler.on_plan(plan(f"b{n}", tenant="big", chunks=1), 1)
    for n in range(3):
        scheduler.on_plan(plan(f"s{n}", tenant="small", chunks=1), 1)
    assert [t.job for t in tasks(render_all(scheduler))] == ["small/s0", "small/s1", "small/s2"]


def test_a_pool_that_is_paused_leaves_the_others_alone() -> None:
    scheduler = scheduler_with(plan("a", chunks=1), plan("b", chunks=1, pool="cuda"))
    scheduler.on_worker(worker("g0", pool="cuda"), 0)
    turn(scheduler, "pool", "cuda", "off")
    assert [t.pool for t in tasks(render_all(scheduler))] == ["cpu"]


def test_a_drained_worker_gets_nothing_more_and_another_takes_over() -> None:
    scheduler = scheduler_with(plan("a", chunks=6, chained=False), capacity=2)
    first = tasks(scheduler.tick(10))
    scheduler.on_worker(worker("w0", capacity=2, pending=tuple(t.chunk_id for t in first)), 11)
    turn(scheduler, "worker", "w0", "off")
    for task in first:
        scheduler.on_inspected(result(task), 12)
    scheduler.on_worker(worker("w0", capacity=2), 13)
    assert tasks(scheduler.tick(14)) == []
    assert all(e.progress.eta_s is None for e in told(scheduler.tick(3_000), "job.progress")), "nobody is there"
    scheduler.on_worker(worker("w1", capacity=1), 3_001)
    assert len(tasks(scheduler.tick(3_002))) == 1
    turn(scheduler, "worker", "w0", "on")
    assert len(tasks(scheduler.tick(3_003))) == 2


def test_a_restarted_scheduler_that_read_the_switches_first_hands_out_nothing_of_them() -> None:
    job = plan("a")
    before = scheduler_with(job)
    successor = Scheduler(WEIGHTS)
    successor.restore([job], [before.jobs[job.job].row])
    turn(successor, "lane", "standard", "off")
    successor.on_worker(worker(), 0)
    assert tasks(successor.tick(10)) == []
    turn(successor, "lane", "standard", "on")
    assert len(tasks(successor.tick(11))) == 1


def test_a_pause_is_no_lack_of_progress_but_deadlines_count() -> None:
    scheduler = scheduler_with(plan("a"), plan("b", deadline_ms=5 * HOUR_MS), capacity=2, timeout_ms=HOUR_MS)
    for task in tasks(scheduler.tick(10)):
        scheduler.on_inspected(result(task, status="failed"), 11)
    (task, *_) = tasks(scheduler.tick(12))
    assert task.attempt == 2
    scheduler.on_inspected(result(task, status="failed"), 13)
    turn(scheduler, "lane", "standard", "off")
    out = scheduler.tick(6 * HOUR_MS)
    assert [e.job for e in told(out, "job.expired")] == ["default/b"]
    turn(scheduler, "lane", "standard", "on", at_ms=7 * HOUR_MS)
    assert "job.expired" not in events(scheduler.tick(7 * HOUR_MS + 1_500))


SWITCHES = st.tuples(
    st.one_of(
        st.tuples(st.just("lane"), st.sampled_from(LANES)),
        st.tuples(st.just("tenant"), st.sampled_from(("ada", "bob"))),
        st.tuples(st.just("worker"), st.sampled_from(("w0", "w1"))),
    ),
    st.sampled_from(("off", "on")),
)


@given(st.lists(st.one_of(SWITCHES, st.just("serve")), max_size=40))
@settings(max_examples=80, deadline=None)
def test_no_chunk_goes_where_it_may_not_and_none_waits_that_may_go(history) -> None:
    jobs = [plan(f"j{n}", tenant=t, lane=lane, chunks=4, seed=n) for n, (t, lane) in enumerate(
        # not express, which goes to full workers too
        (t, lane) for t in ("ada", "bob") for lane in LANES[1:])]  # fmt: skip
    scheduler = scheduler_with(*jobs)
    scheduler.on_worker(worker("w1", capacity=1), 0)
    off: set[tuple[str, str]] = set()
    left = {job.job: 4 for job in jobs}
    now_ms = 10
    for step in history:
        now_ms += 1
        if step != "serve":
            place, state = step
            turn(scheduler, *place, state)
            (off.add if state == "off" else off.discard)(place)
            continue
        free = [j for j in jobs if left[j.job] and not {("lane", j.request.lane), ("tenant", j.request.tenant)} & off]
        workers = 2 - sum(kind == "worker" for kind, _ in off)
        given_out = tasks(scheduler.tick(now_ms))
        assert len(given_out) == min(workers, len(free)), "chained: one chunk of a job at a time"
        for task in given_out:
            assert task.job in {j.job for j in free}
            left[task.job] -= 1
            scheduler.on_inspected(result(task), now_ms)


@pytest.mark.parametrize(
    ("kind", "name", "right"),
    [
        (Kind.LANE, "fast", "lanes are express, standard, bulk"),
        (Kind.POOL, "tpu", "pools are cpu, cuda"),
        (Kind.TENANT, "A B", "lower-case letters, digits and dashes"),
    ],
)
def test_a_name_that_nothing_has_is_refused(kind, name, right) -> None:
    with pytest.raises(typer.BadParameter, match=right):
        _check(kind, name)


def test_who_watches_sees_what_is_paused_and_drained_and_why() -> None:
    state = LiveState()
    busy = render_worker("w1", pending=("1f0c9a2b" * 8,), step=3, steps=8)
    for record in (busy, render_worker("w2")):
        state.apply(record.worker_id, record)
    for kind, name in (("lane", "bulk"), ("worker", "w1"), ("worker", "w2"), ("tenant", "acme")):
        switch = Switch(kind=kind, name=name, state="off", reason="maintenance", by="ada", at_ms=1_800_000_000_000)
        state.apply(switch_key(kind, name), switch)
    state.apply("tenant:acme", Switch(kind="tenant", name="acme", state="on"))
    text = text_of(live(state.snapshot(10_000), 5))
    (row,) = [line.split() for line in text.splitlines() if line.startswith("lane ") and "bulk" in line]
    assert row == ["lane", "bulk", "2027-01-15", "08:00:00", "UTC", "ada", "maintenance"]
    assert "draining: step 3/8 of chunk 1f0c9a2b" in text
    assert "acme" not in text
    assert doing(render_worker(), drained=True) == "drained"
    state.apply("lane:bulk", None)
    text = text_of(live(state.snapshot(10_000), 5))
    assert "maintenance" in text
    assert "bulk     2027" not in text
