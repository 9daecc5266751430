"""Folding events: exactly one terminal state, whatever the order and the repetitions."""

from typing import get_args

import hypothesis.strategies as st
from hypothesis import given
from msgspec.structs import replace

from schemas.events import EventType, JobFinished, JobState, Progress, Reason, UsageMetered
from schemas.lifecycle import NEXT, TERMINAL
from schemas.reports import plan_event
from stream_processors.track.core import fold, records
from tests.core.plans import plan

KINDS = get_args(EventType)


def event(kind, about="", **more):
    source = more.pop("source", "dispatch")
    return plan_event(source, kind, plan(), at_ms=more.pop("at_ms", 5), about=about, **more)


def run(*events):
    state, told = None, []
    for one in events:
        after = fold(state, one)
        if after is not None:
            state = after
            told += records(state, 0)
    return state, told


def test_a_job_walks_through_its_life():
    state, told = run(
        event("job.accepted"),
        event("job.planned"),
        event("job.queued"),
        event("job.started"),
        event("job.assembling"),
        event("job.published"),
    )
    assert state.state == "completed"
    assert [o.record.state for o in told if isinstance(o.record, JobState)] == [
        "accepted", "planned", "queued", "rendering", "assembling", "completed",
    ]  # fmt: skip
    assert [o.record.sequence for o in told if isinstance(o.record, JobState)] == [1, 2, 3, 4, 5, 6]


def test_the_terminal_record_stands_alone():
    progress = Progress(chunks=2, rendered=1, reused=1, device_s=1.5, queue_position=0)
    _, told = run(event("job.assembling", progress=progress), event("job.published"))
    (finished,) = [o.record for o in told if isinstance(o.record, JobFinished)]
    (usage,) = [o.record for o in told if isinstance(o.record, UsageMetered)]
    assert (finished.tenant, finished.job_id, finished.progress.queue_position) == ("default", "a", None)
    assert (usage.device_s, usage.chunks_rendered, usage.chunks_reused) == (1.5, 1, 1)


def test_a_late_early_event_does_not_move_a_job_back():
    state, _ = run(event("job.started"), event("job.accepted"), event("job.planned"))
    assert state.state == "rendering"


def test_a_second_request_that_is_refused_does_not_harm_the_first():
    refused = event("job.rejected", source="moderate", reason=Reason(code="invalid_request", message="no"))
    state, _ = run(event("job.accepted"), refused)
    assert state.state == "accepted"


def test_refused_frames_do_reject_an_accepted_job():
    state, _ = run(event("job.accepted"), event("job.rejected", reason=Reason(code="frames_refused", message="no")))
    assert state.state == "rejected"


def test_a_cancel_of_an_unknown_job_changes_nothing():
    assert run(event("job.cancelled")) == (None, [])


def test_a_refused_cancel_is_told_and_changes_no_state():
    state, _ = run(event("job.assembling"), event("job.cancel-refused", reason=Reason(code="late", message="too late")))
    assert (state.state, state.reason.code) == ("assembling", "late")


def test_nothing_leaves_a_terminal_state():
    assert not any(state in TERMINAL for state, _ in NEXT)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3))), st.randoms())
def test_at_most_one_terminal_record_and_growing_sequences(history, random):
    given_events = [event(kind, about=str(n), at_ms=n) for kind, n in history]
    doubled = given_events + given_events
    random.shuffle(doubled)
    _, told = run(*doubled)
    states = [o.record for o in told if isinstance(o.record, JobState)]
    assert [s.sequence for s in states] == list(range(1, len(states) + 1))
    assert sum(isinstance(o.record, JobFinished) for o in told) == sum(s.state in TERMINAL for s in states) <= 1


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=10))
def test_replaying_all_events_changes_nothing_once_a_job_is_finished(history):
    given_events = [event(kind, about=str(n)) for kind, n in history]
    state, _ = run(*given_events, event("job.published", about="end"))
    for again in given_events:
        assert fold(state, replace(again)) is None
