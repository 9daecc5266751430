"""Orders for jobs under way: what holds after any of them, in whatever order they come, and what the scheduler does."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from schemas.errors import JobRejected
from schemas.events import JobEvent
from schemas.records import Outgoing
from schemas.request import LANES, JobOrder
from schemas.steering import NOTHING, check, merged, of_command
from schemas.topics import DISPATCH_STATE
from schemas.work import Command, SchedulerRow
from stream_processors.dispatch import orders as dispatch_orders
from stream_processors.dispatch.awaited import KEEP_MS
from stream_processors.dispatch.backlog import line_of
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, render_all, tasks

KEY = "default/a"
HOUR_MS = 3_600_000


def command(action: str, at_ms: int, job: str = KEY, **parts: object) -> Command:
    return Command(job=job, action=action, requested_at_ms=at_ms, **parts)


COMMANDS = st.one_of(
    st.builds(lambda a: (a, {}), st.sampled_from(["hold", "resume"])),
    st.builds(lambda p: ("reprioritise", {"priority": p}), st.integers(-10, 10)),
    st.builds(lambda lane: ("move_lane", {"lane": lane}), st.sampled_from(LANES)),
    st.builds(lambda d: ("change_deadline", {"deadline_ms": d}), st.sampled_from([None, 10**12, 2 * 10**12])),
)


def scheduler_with(*plans, capacity: int = 1) -> Scheduler:
    made = Scheduler(WEIGHTS)
    made.on_worker(worker(capacity=capacity), 0)
    for each in plans:
        made.on_plan(each, 1)
        made.on_control(answer("admit", each), 1)
    return made


def told(out: list[Outgoing], kind: str) -> list[JobEvent]:
    return [o.record for o in out if isinstance(o.record, JobEvent) and o.record.type == kind]


def restarted(scheduler: Scheduler, out: list[Outgoing], plans=()) -> Scheduler:
    """The successor of a killed scheduler, from the rows among `out`."""
    kept = {o.key: o.record for o in out if o.topic is DISPATCH_STATE}
    rows = [record for record in kept.values() if isinstance(record, SchedulerRow)]
    made = Scheduler(WEIGHTS)
    made.restore(plans, rows)
    made.on_worker(worker(), 0)
    return made


# ---- orders as registers -------------------------------------------------------------------------------------------


@given(st.lists(COMMANDS, max_size=8), st.randoms(use_true_random=False))
def test_the_later_of_two_orders_holds_in_whatever_order_they_come_and_however_often(asked, random) -> None:
    made = [of_command(command(action, 1 + n, **parts)) for n, (action, parts) in enumerate(asked)]
    expected = NOTHING
    for each in made:
        expected = merged(expected, each)
    shuffled = made + made
    random.shuffle(shuffled)
    found = NOTHING
    for each in shuffled:
        found = merged(found, each)
    assert found == expected
    for field, actions in {"held": ("hold", "resume"), "priority": ("reprioritise",), "lane": ("move_lane",)}.items():
        last = [n for n, (action, _) in enumerate(asked) if action in actions]
        assert getattr(found, f"{field}_at_ms") == (last[-1] + 1 if last else 0)


@given(st.lists(COMMANDS, min_size=1, max_size=6))
def test_a_replay_of_orders_of_the_same_millisecond_ends_where_it_ended(asked) -> None:
    made = [of_command(command(action, 7, **parts)) for action, parts in asked]
    once = NOTHING
    for each in made:
        once = merged(once, each)
    twice = once
    for each in made:
        twice = merged(twice, each)
    assert twice == once


@pytest.mark.parametrize(
    ("parts", "field", "right"),
    [
        ({"action": "reprioritise"}, "priority", "from -10 to 10"),
        ({"action": "move_lane"}, "lane", "express, standard or bulk"),
        ({"action": "hold", "priority": 3}, "priority", "leave it out"),
        ({"action": "cancel", "lane": "bulk"}, "lane", "give the action move_lane"),
        ({"action": "resume", "deadline_ms": 9}, "deadline_ms", "leave it out"),
        ({"action": "change_deadline", "deadline_ms": 50}, "deadline_ms", "50 is not after .* 100 .* give a later one"),
        ({"action": "resume", "reason": "why"}, "reason", "leave it out of resume"),
    ],
)
def test_an_order_whose_parts_do_not_fit_is_refused_by_field(parts, field, right) -> None:
    with pytest.raises(JobRejected, match=right) as refusal:
        check(JobOrder(job_id="a", **parts), 100)
    assert (refusal.value.code, refusal.value.field) == ("invalid_order", field)
    assert refusal.value.message.startswith(f"{field}: ")


# ---- hold and resume -----------------------------------------------------------------------------------------------


def test_a_held_job_finishes_what_renders_gets_nothing_more_and_goes_on_where_it_was() -> None:
    job = plan("a", chunks=3)
    scheduler = scheduler_with(job)
    (first,) = tasks(scheduler.tick(10))
    out = scheduler.on_control(command("hold", 11, reason="legal looks at it"), 11)
    (said,) = told(out, "job.steered")
    assert said.progress.stopped == "held"
    assert (said.steering.held, said.steering.held_at_ms, said.steering.held_reason) == (True, 11, "legal looks at it")
    scheduler.on_inspected(result(first), 12)
    assert tasks(scheduler.tick(13)) == []
    assert scheduler.jobs[KEY].chunk(0).state == "r"
    scheduler.on_control(command("resume", 14), 14)
    out = render_all(scheduler, 15)
    assert [task.index for task in tasks(out)] == [1, 2]
    assert len(mux_tasks(out)) == 1


def test_the_last_chunk_of_a_held_job_completes_it() -> None:
    scheduler = scheduler_with(plan("a", chunks=1))
    (task,) = tasks(scheduler.tick(10))
    scheduler.on_control(command("hold", 11), 11)
    assert len(mux_tasks(scheduler.on_inspected(result(task), 12))) == 1


def test_a_held_job_expires_by_its_deadline_and_by_nothing_else() -> None:
    scheduler = Scheduler(WEIGHTS, timeout_ms=HOUR_MS)
    scheduler.on_worker(worker(), 0)
    for name, deadline_ms in (("a", 5 * HOUR_MS), ("b", None)):
        scheduler.on_plan(plan(name, chunks=2, deadline_ms=deadline_ms), 1)
        scheduler.on_control(command("hold", 3, f"default/{name}"), 3)
    assert events(scheduler.tick(4 * HOUR_MS)).count("job.expired") == 0
    assert [e.job for e in told(scheduler.tick(6 * HOUR_MS), "job.expired")] == [KEY]
    scheduler.on_control(command("resume", 7 * HOUR_MS, "default/b"), 7 * HOUR_MS)
    assert "job.expired" not in events(scheduler.tick(7 * HOUR_MS + 2_000))


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["hold", "resume", "serve"])), max_size=40))
@settings(max_examples=60, deadline=None)
def test_held_jobs_get_nothing_and_the_others_all_there_is(history) -> None:
    """Held or not at any moment, the worker is idle only when nobody who may go wants a chunk."""
    plans = [plan(f"j{n}", chunks=3, requested_at_ms=n, seed=n) for n in range(6)]
    scheduler = scheduler_with(*plans)
    held, done, now_ms = set(), dict.fromkeys(range(6), 0), 10
    for number, what in history:
        now_ms += 10
        if what != "serve":
            scheduler.on_control(command(what, now_ms, f"default/j{number}"), now_ms)
            (held.add if what == "hold" else held.discard)(number)
            continue
        free = [n for n in range(6) if n not in held and done[n] < 3]
        given_out = tasks(scheduler.tick(now_ms))
        assert len(given_out) == bool(free)
        for task in given_out:
            chosen = int(task.job.removeprefix("default/j"))
            begun = [n for n in free if done[n]]
            assert chosen == min(begun or free), "order of the tenant's jobs, as if the held ones were not there"
            done[chosen] += 1
            scheduler.on_inspected(result(task), now_ms)


def test_a_window_is_not_filled_by_held_jobs_until_there_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr("stream_processors.dispatch.windows.ASIDE_JOBS", 3)
    scheduler = scheduler_with(*(plan(f"j{n}") for n in range(5)))
    line = line_of(plan("j0"))
    room = scheduler.backlog.room(line)
    for n in range(5):
        scheduler.on_control(command("hold", 9, f"default/j{n}"), 9)
        assert scheduler.backlog.room(line) == room + min(n + 1, 3)
    for n in range(5):
        scheduler.on_control(command("resume", 10, f"default/j{n}"), 10)
    assert scheduler.backlog.room(line) == room


# ---- priority, lane, deadline --------------------------------------------------------------------------------------


def test_orders_act_at_the_next_chunk() -> None:
    scheduler = scheduler_with(*(plan(name, chunks=1, requested_at_ms=n) for n, name in enumerate("abcd")))
    (running,) = tasks(scheduler.tick(10))
    scheduler.on_control(command("reprioritise", 11, "default/d", priority=5), 11)
    scheduler.on_control(command("change_deadline", 11, "default/c", deadline_ms=HOUR_MS), 11)
    scheduler.on_inspected(result(running), 12)
    assert [t.job[-1] for t in tasks(render_all(scheduler, 13))] == ["c", "d", "b"]


def test_a_deadline_that_was_ordered_beats_priority_only_within_its_tenant() -> None:
    scheduler = scheduler_with(plan("x", tenant="loud", chunks=4), plan("y", tenant="quiet", chunks=4))
    scheduler.on_control(command("change_deadline", 5, "loud/x", deadline_ms=HOUR_MS), 5)
    scheduler.on_control(command("reprioritise", 5, "loud/x", priority=10), 5)
    order = [t.job.partition("/")[0] for t in tasks(render_all(scheduler))]
    assert order == ["loud", "quiet"] * 4


def test_a_moved_job_is_served_by_the_share_of_its_new_lane_and_counts_there() -> None:
    scheduler = scheduler_with(*(plan(f"b{n}", chunks=1, lane="bulk", requested_at_ms=n) for n in range(40)))
    for n in range(40):
        scheduler.on_plan(plan(f"s{n}", chunks=1, lane="standard", requested_at_ms=n), 1)
    scheduler.on_control(command("move_lane", 5, "default/b39", lane="express"), 5)
    lines = {lane: line_of(plan("x"), lane) for lane in LANES}
    assert {lane: scheduler.backlog.ahead(line) for lane, line in lines.items()} == {
        "express": 1, "standard": 40, "bulk": 39,
    }  # fmt: skip
    (first,) = tasks(scheduler.tick(10))
    assert (first.job, first.lane) == ("default/b39", "express")
    scheduler.on_inspected(result(first), 11)
    rest = [t.lane for t in tasks(render_all(scheduler, 12, rounds=100))]
    assert (rest.count("standard"), rest.count("bulk"), rest[:8].count("standard")) == (40, 39, 6)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(LANES)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_job_that_is_moved_back_and_forth_is_handed_out_once_and_in_the_lane_that_holds(history) -> None:
    scheduler = scheduler_with(*(plan(f"j{n}", chunks=1, requested_at_ms=n, seed=n) for n in range(4)))
    lanes, now_ms = dict.fromkeys(range(4), "standard"), 10
    served: list[str] = []
    for number, lane in history:
        now_ms += 1
        scheduler.on_control(command("move_lane", now_ms, f"default/j{number}", lane=lane), now_ms)
        lanes[number] = lane
        if now_ms % 3 == 0:
            for task in tasks(scheduler.tick(now_ms)):
                assert task.lane == lanes[int(task.job[-1])]
                served.append(task.job)
                scheduler.on_inspected(result(task), now_ms)
    served += [t.job for t in tasks(render_all(scheduler, now_ms + 1))]
    assert sorted(served) == [f"default/j{n}" for n in range(4)]


def test_a_lane_takes_moved_jobs_beyond_its_window_but_not_without_end(monkeypatch) -> None:
    monkeypatch.setattr(dispatch_orders, "MOST_MOVED", 2)
    scheduler = Scheduler(WEIGHTS, window_jobs=1)
    scheduler.on_plan(plan("b0", lane="bulk"), 1)
    refusals = []
    for n in range(3):
        scheduler.on_plan(plan(f"j{n}"), 2)
        refusals += told(
            scheduler.on_control(command("move_lane", 5, f"default/j{n}", lane="bulk"), 5), "job.order-refused"
        )
    assert [refusal.reason.code for refusal in refusals] == ["lane_full"]
    assert [job.lane for job in scheduler.jobs.values()] == ["bulk", "bulk", "bulk", "standard"]


def test_a_new_deadline_ends_the_job_in_time_and_one_put_off_outlives_what_track_asks() -> None:
    scheduler = scheduler_with(plan("a", deadline_ms=50), plan("b", deadline_ms=5_000))
    scheduler.on_control(command("change_deadline", 2, deadline_ms=60_000), 2)
    scheduler.on_control(command("change_deadline", 2, "default/b", deadline_ms=900), 2)
    asked = command("expire", 3, reason="deadline_passed: the deadline passed")
    assert told(scheduler.on_control(asked, 3_000), "job.expired") == []
    assert [e.job for e in told(scheduler.tick(3_000), "job.expired")] == ["default/b"]
    scheduler.on_control(command("change_deadline", 4, deadline_ms=None), 4_000)
    assert told(scheduler.tick(99_000_000), "job.expired") == []


# ---- durable, idempotent, early and late ---------------------------------------------------------------------------


def test_what_was_ordered_survives_a_kill_and_a_redelivered_order_changes_nothing() -> None:
    job, out = plan("a", chunks=2), []
    scheduler = scheduler_with()
    out += scheduler.on_plan(job, 1)
    held = command("hold", 5)
    for order in (held, command("reprioritise", 6, priority=7), command("move_lane", 7, lane="bulk")):
        out += scheduler.on_control(order, 8)
        assert scheduler.on_control(order, 9) == []
    successor = restarted(scheduler, out, [job])
    found = successor.jobs[KEY]
    assert (found.stopped, found.priority, found.lane) == ("held", 7, "bulk")
    assert successor.on_control(held, 10) == []
    assert tasks(successor.tick(11)) == []
    out = successor.on_control(command("resume", 12), 12)
    assert successor.on_control(held, 13) == []
    assert tasks(successor.tick(14)) != []


@pytest.mark.parametrize("killed", [False, True])
def test_an_order_that_comes_before_its_job_is_kept_and_holds_when_the_plan_comes(killed) -> None:
    job = plan("a", deadline_ms=50)
    scheduler = scheduler_with()
    out = scheduler.on_control(command("hold", 5), 5)
    out += scheduler.on_control(command("change_deadline", 6, deadline_ms=9_000), 6)
    assert [e.steering.held for e in told(out, "job.steered")] == [True, True]
    if killed:
        scheduler = restarted(scheduler, out)
    assert scheduler.on_control(command("expire", 60, reason="deadline_passed: ..."), 60) == []
    out = scheduler.on_plan(job, 70)
    assert [o.key for o in out if o.record is None] == [f"{KEY}#orders"]
    (said,) = told(out, "job.steered")
    assert said.fingerprint == job.fingerprint
    assert tasks(scheduler.tick(80)) == []
    scheduler.on_control(command("resume", 81), 81)
    assert [t.job for t in tasks(scheduler.tick(82))] == [KEY]
    assert "job.expired" in events(scheduler.tick(9_500))


def test_orders_for_jobs_that_never_come_are_forgotten_and_bounded(monkeypatch) -> None:
    monkeypatch.setattr("stream_processors.dispatch.awaited.MOST", 1)
    scheduler = scheduler_with()
    scheduler.on_control(command("hold", 5), 5)
    (refusal,) = told(scheduler.on_control(command("hold", 6, "default/b"), 6), "job.order-refused")
    assert refusal.reason.code == "too_many_orders"
    out = scheduler.tick(5 + KEEP_MS + 1)
    assert [o.key for o in out if o.topic is DISPATCH_STATE and o.record is None] == [f"{KEY}#orders"]


def test_what_was_ordered_of_an_id_holds_for_the_request_that_turns_out_to_own_it() -> None:
    first, second = plan("a", seed=1), plan("a", seed=2)
    scheduler = scheduler_with()
    scheduler.on_plan(first, 1)
    scheduler.on_plan(second, 2)
    scheduler.on_control(command("hold", 3), 3)
    out = scheduler.on_control(answer("withdraw", first), 4)
    assert [e.fingerprint for e in told(out, "job.steered")] == [second.fingerprint]
    assert scheduler.jobs[KEY].stopped == "held"


def test_an_order_that_comes_too_late_is_refused_once_for_every_order() -> None:
    scheduler = scheduler_with(plan("a", chunks=1))
    scheduler.on_control(command("reprioritise", 2, priority=3), 2)
    render_all(scheduler)
    (refusal,) = told(scheduler.on_control(command("hold", 20), 20), "job.order-refused")
    assert refusal.reason.code == "order_too_late"
    assert scheduler.on_control(command("reprioritise", 2, priority=3), 21) == [], "it was followed when it came"
    scheduler.on_control(Command(job=KEY, action="release", mux_attempt=1), 30)
    (again,) = told(scheduler.on_control(command("hold", 31), 31), "job.order-refused")
    assert (again.reason.code, again.id != refusal.id) == ("job_ended", True)
    assert scheduler.on_control(command("reprioritise", 2, priority=3), 32) == []


def test_a_cancel_ends_a_held_job_and_one_that_orders_wait_for() -> None:
    scheduler = scheduler_with(plan("a"))
    scheduler.on_control(command("hold", 2), 2)
    assert events(scheduler.on_control(command("cancel", 3), 3)) == ["job.cancelled"]
    scheduler.on_control(command("hold", 4, "default/b"), 4)
    out = scheduler.on_control(command("cancel", 5, "default/b"), 5)
    assert "default/b#orders" in [o.key for o in out if o.record is None]
    assert events(scheduler.on_plan(plan("b"), 6)) == ["job.cancelled"]
