"""Asking for the end of what should have ended: in time, again and again, never of what only waits in line."""

from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given, settings

from schemas.reports import plan_event
from schemas.topics import HOUR_MS, PLANS_WAIT_MS
from stream_processors.track.core import take
from stream_processors.track.sweeping import ASK_FIRST_MS, ASK_LAST_MS, GRACE_MS, MOST, Sweeper
from tests.core.plans import plan

TIMEOUT_MS = 72 * HOUR_MS
LIFE = ("job.accepted", "job.planned", "job.queued", "job.started", "job.assembling")


def state_of(job_id="a", last="job.accepted", **of):
    """The state of a job after the events up to `last`."""
    made, state = plan(job_id, **of), None
    for kind in LIFE[: LIFE.index(last) + 1]:
        event = plan_event("test", kind, made, at_ms=made.requested_at_ms)
        state = take(state, event, 0)[0]
    return state


def codes(out):
    return [o.record.reason.partition(":")[0] for o in out]


def test_a_job_is_asked_for_soon_after_its_deadline_and_not_before():
    sweeper = Sweeper(0)
    sweeper.hear(state_of(deadline_ms=60_000), 1_000)
    assert sweeper.sweep(60_000) == []
    (asked,) = sweeper.sweep(60_000 + GRACE_MS)
    assert (asked.record.job, asked.record.action, codes([asked])) == ("default/a", "expire", ["deadline_passed"])


def test_it_is_asked_again_with_growing_pauses_until_it_has_ended():
    sweeper, state = Sweeper(0), state_of(deadline_ms=60_000)
    sweeper.hear(state, 0)
    asked_ms = [ms for ms in range(0, 12 * HOUR_MS, 5_000) if sweeper.sweep(ms)]
    pauses_ms = [b - a for a, b in pairwise(asked_ms)]
    assert pauses_ms[:3] == [ASK_FIRST_MS, 2 * ASK_FIRST_MS, 4 * ASK_FIRST_MS]
    assert pauses_ms == sorted(pauses_ms)
    assert max(pauses_ms) == ASK_LAST_MS
    ended, _ = take(state, plan_event("dispatch", "job.expired", plan(deadline_ms=60_000), at_ms=1), 0)
    sweeper.hear(ended, 12 * HOUR_MS)
    assert (len(sweeper), sweeper.sweep(1000 * HOUR_MS)) == (0, [])


def test_news_of_an_overdue_job_do_not_make_it_asked_for_more_often():
    sweeper, state = Sweeper(TIMEOUT_MS), state_of(last="job.assembling", deadline_ms=60_000)
    sweeper.hear(state, 0)
    assert sweeper.sweep(100_000)
    for ms in range(100_001, 100_000 + ASK_FIRST_MS, 1_000):
        sweeper.hear(state, ms)
        assert sweeper.sweep(ms) == []


def test_a_job_in_the_scheduler_is_asked_for_after_long_silence_and_an_answer_is_enough():
    sweeper, state = Sweeper(TIMEOUT_MS), state_of(last="job.queued")
    sweeper.hear(state, 0)
    assert codes(sweeper.sweep(TIMEOUT_MS)) == ["no_progress"]
    sweeper.hear(state, TIMEOUT_MS + 100)
    assert sweeper.sweep(2 * TIMEOUT_MS) == []
    assert codes(sweeper.sweep(2 * TIMEOUT_MS + 100)) == ["no_progress"]


def test_a_job_that_waits_in_line_is_left_alone_until_kafka_has_deleted_it():
    sweeper = Sweeper(TIMEOUT_MS)
    sweeper.hear(state_of("waits", lane="bulk", requested_at_ms=10), 0)
    sweeper.hear(state_of("other lane", "job.queued", lane="express", requested_at_ms=10 + TIMEOUT_MS), 0)
    sweeper.hear(state_of("before it", "job.queued", lane="bulk", requested_at_ms=5), 0)
    step_ms = 3 * HOUR_MS
    asked = {o.record.job for ms in range(0, TIMEOUT_MS + PLANS_WAIT_MS, step_ms) for o in sweeper.sweep(ms)}
    assert "default/waits" not in asked
    asked = {o.record.job for o in sweeper.sweep(TIMEOUT_MS + PLANS_WAIT_MS + step_ms)}
    assert "default/waits" in asked


def test_a_job_whose_line_has_moved_past_it_is_lost():
    sweeper = Sweeper(TIMEOUT_MS)
    sweeper.hear(state_of("lost", last="job.planned", lane="bulk", requested_at_ms=10), 0)
    sweeper.hear(state_of("later", "job.queued", lane="bulk", requested_at_ms=10 + TIMEOUT_MS), TIMEOUT_MS)
    assert [o.record.job for o in sweeper.sweep(TIMEOUT_MS)] == ["default/lost"]


def test_without_a_time_out_a_job_without_a_deadline_is_never_asked_for():
    sweeper = Sweeper(0)
    sweeper.hear(state_of(last="job.started"), 0)
    assert sweeper.sweep(10_000 * HOUR_MS) == []


def test_many_overdue_jobs_are_asked_for_in_portions():
    sweeper = Sweeper(0)
    sweeper.restore((state_of(f"j{n}", deadline_ms=1_000), 0) for n in range(MOST + 7))
    assert [len(sweeper.sweep(100_000)) for _ in range(3)] == [MOST, 7, 0]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([*LIFE, "end"]),
            st.integers(0, 3_600_000),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_every_live_overdue_job_is_asked_for_within_the_longest_pause_and_no_other_is(history, restart):
    """Whatever was heard when, clocks stepping by ten minutes, and over a restart."""
    sweeper, states, now_ms = Sweeper(TIMEOUT_MS), {}, 0
    for number, kind, pass_ms, step_back in history:
        now_ms += pass_ms - 600_000 * step_back
        made = plan(f"j{number}", deadline_ms=(None, 1_000_000, 5_000_000, 20_000_000)[number])
        event = plan_event("dispatch", "job.published" if kind == "end" else kind, made, at_ms=1, about=kind)
        after, _ = take(states.get(made.job), event, 0)
        if after is not None:
            states[made.job] = after
            sweeper.hear(after, now_ms)
        for asked in sweeper.sweep(now_ms):
            deadline_ms = states[asked.record.job].deadline_ms
            assert states[asked.record.job].timeline.finished_at_ms == 0
            assert deadline_ms is not None
            assert deadline_ms + GRACE_MS <= now_ms
    if restart:
        sweeper = Sweeper(TIMEOUT_MS)
        sweeper.restore((state, now_ms) for state in states.values())
    late_ms = max(now_ms, 30_000_000) + 600_000
    asked_for = set()
    for ms in range(late_ms, late_ms + 2 * ASK_LAST_MS, ASK_FIRST_MS):
        asked_for |= {o.record.job for o in sweeper.sweep(ms)}
    overdue = {j for j, s in states.items() if s.timeline.finished_at_ms == 0 and s.deadline_ms is not None}
    assert asked_for == overdue
    assert len(sweeper) == sum(s.timeline.finished_at_ms == 0 for s in states.values())
