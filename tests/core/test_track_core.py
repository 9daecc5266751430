"""Folding events: exactly one terminal state, whatever the order and the repetitions."""

from typing import get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from schemas.events import (
    Cost,
    EventType,
    JobFinished,
    JobReply,
    JobState,
    Progress,
    Provenance,
    PublishedFile,
    Reason,
    Timeline,
    UsageMetered,
    Video,
)
from schemas.lifecycle import NEXT, TERMINAL
from schemas.prompts import PromptVerdict
from schemas.reports import plan_event
from schemas.work import Command
from stream_processors.track.core import take
from tests.core.plans import plan

KINDS = get_args(EventType)


def event(kind, about="", **more):
    source = more.pop("source", "dispatch")
    more.setdefault("fingerprint", "")
    return plan_event(source, kind, plan(), at_ms=more.pop("at_ms", 5), about=about, **more)


def run(*events):
    state, told = None, []
    for one in events:
        after, out = take(state, one, 0)
        state = after or state
        told += out
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
    assert (finished.tenant, finished.job_id, finished.cost) == (
        "default",
        "a",
        Cost(device_s=1.5, chunks_rendered=1, chunks_reused=1),
    )
    assert (usage.device_s, usage.chunks_rendered, usage.chunks_reused) == (1.5, 1, 1)


def test_a_late_early_event_does_not_move_a_job_back():
    state, _ = run(event("job.started"), event("job.accepted"), event("job.planned"))
    assert state.state == "rendering"


def test_a_second_request_that_is_refused_does_not_harm_the_first():
    refused = event("job.rejected", source="moderate", reason=Reason(code="invalid_request", message="no"))
    state, _ = run(event("job.accepted"), refused)
    assert state.state == "accepted"


def test_a_bad_file_ends_the_request_that_named_it_and_no_other():
    accepted = event("job.accepted", source="moderate", fingerprint="one")
    other, own = (event("job.rejected", source="intake", about=f, fingerprint=f) for f in ("two", "one"))
    state, told = run(accepted, other)
    assert state.state == "accepted"
    assert not [o for o in told if isinstance(o.record, JobFinished)]
    state, told = run(accepted, other, own)
    assert state.state == "rejected"
    assert len([o for o in told if isinstance(o.record, JobFinished)]) == 1


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
    # Not at 0: that is what a timeline has of what never was.
    given_events = [event(kind, about=str(n), at_ms=1 + n) for kind, n in history]
    doubled = given_events + given_events
    random.shuffle(doubled)
    _, told = run(*doubled)
    states = [o.record for o in told if isinstance(o.record, JobState)]
    assert [s.sequence for s in states] == list(range(1, len(states) + 1))
    ended = [s.state for s in states if s.state in TERMINAL and s.state != "deleted"]
    assert sum(isinstance(o.record, JobFinished) for o in told) == len(ended) <= 1
    replies = [o.record for o in told if isinstance(o.record, JobReply)]
    assert sum(r.result is not None for r in replies) == len(ended)
    assert [r.sequence for r in replies] == sorted(r.sequence for r in replies)
    # What is ordered of an ended job is refused each time it comes, under the same id.
    once = [r for r in replies if r.type != "order-refused" or r.state not in TERMINAL]
    assert len({r.id for r in once}) == len(once)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=10))
def test_replaying_all_events_changes_nothing_once_a_job_is_finished(history):
    given_events = [event(kind, about=str(n)) for kind, n in history if kind != "job.deleted"]
    state, _ = run(*given_events, event("job.published", about="end"))
    for again in given_events:
        changed, out = take(state, replace(again), 0)
        assert changed is None
        # dispatch may hold what it speaks of as live, and is told to let go.
        orders = [o.record for o in out if isinstance(o.record, Command)]
        assert {(order.action, order.mux_attempt) for order in orders} <= {("release", 0)}
        assert {o.record.type for o in out if o.record not in orders} <= {"order-refused"}


FILE = PublishedFile(uri="s3://b/v.mp4", key="v.mp4", sha256="0" * 64, size_bytes=1, content_type="video/mp4")
PROVENANCE = Provenance(model="m", model_revision="r", seeds=(1,), label="AI", mark_payload="0" * 16)
VIDEO = Video(
    file=FILE, thumbnail=FILE, contact_sheet=FILE, frames=24, duration_s=1.0, width_px=64, height_px=64, fps=24,
    container="mp4", codec="h264", provenance=PROVENANCE,
)  # fmt: skip


def replies(told):
    return [o.record for o in told if isinstance(o.record, JobReply)]


def test_the_caller_is_told_what_matters_in_order_and_once():
    verdict = PromptVerdict(verdict="allow", policy="p1")
    accepted = event("job.accepted", source="moderate", at_ms=10, fingerprint="f", prompts=verdict)
    history = [
        accepted, accepted, event("job.planned", at_ms=11), event("job.queued", at_ms=12),
        event("job.started", at_ms=13), event("job.progress", about="1", progress=Progress(chunks=2)),
        event("job.assembling", at_ms=20), event("job.started", about="redo", at_ms=21),
        event("job.assembling", about="2", at_ms=22), event("job.published", at_ms=30, video=VIDEO),
    ]  # fmt: skip
    _, told = run(*history, *history[1:])
    assert [r.type for r in replies(told)] == ["accepted", "started", "finished", "finished"]
    assert replies(told)[-1].id == replies(told)[-2].id
    result = replies(told)[-1].result
    assert (result.state, result.video, result.prompts) == ("completed", VIDEO, verdict)
    assert result.timeline == Timeline(
        requested_at_ms=result.requested_at_ms, accepted_at_ms=10, planned_at_ms=11, queued_at_ms=12,
        started_at_ms=13, assembling_at_ms=20, finished_at_ms=30,
    )  # fmt: skip


def test_another_request_under_a_known_id_is_refused_to_its_sender_and_changes_nothing():
    first = event("job.accepted", source="moderate", fingerprint="f1")
    second = replace(event("job.accepted", about="2", source="moderate", fingerprint="f2"), reply_topic="their.topic")
    state, told = run(first, second, second, first)
    assert (state.state, state.fingerprint, state.reply_topic) == ("accepted", "f1", "")
    accepted, conflict, again = replies(told)
    assert again == conflict
    assert (accepted.type, accepted.reply_topic) == ("accepted", "")
    assert (conflict.type, conflict.state, conflict.reply_topic) == ("rejected", "accepted", "their.topic")
    assert (conflict.reason.code, conflict.reason.field, conflict.result) == ("idempotency_conflict", "job_id", None)


@pytest.mark.parametrize("end", ["job.published", "job.failed", "job.cancelled", "job.expired", "job.rejected"])
def test_who_sends_the_same_request_again_after_its_end_is_told_the_end_again(end):
    """Also when the request has been forgotten among the last events; with the same id, and with no new state."""
    first = event("job.accepted", source="moderate", fingerprint="f1")
    progress = [event("job.progress", about=str(n), progress=Progress(chunks=2, rendered=n)) for n in range(40)]
    state, told = run(first, *progress, event(end, reason=Reason(code="x", message="x")))
    changed, again = take(state, first, 0)
    assert changed is None
    assert [(r.id, r.type, r.result) for r in replies(again)] == [
        (r.id, r.type, r.result) for r in replies(told) if r.type in ("finished", "rejected")
    ]


def test_a_conflict_is_told_also_after_the_first_request_has_ended():
    first, end = event("job.accepted", source="moderate", fingerprint="f1"), event("job.published", video=VIDEO)
    state, told = run(first, end, event("job.accepted", about="2", source="moderate", fingerprint="f2"))
    assert state.state == "completed"
    assert [r.type for r in replies(told)] == ["accepted", "finished", "rejected"]
    assert sum(isinstance(o.record, JobFinished) for o in told) == 1


@pytest.mark.parametrize("fingerprint", ["f1", "f2"])
@pytest.mark.parametrize("end", ["job.published", "job.failed", "job.cancelled", "job.expired", "job.rejected"])
def test_what_is_let_through_under_the_id_of_an_ended_job_is_called_off(end, fingerprint):
    first = event("job.accepted", source="moderate", fingerprint="f1")
    state, told = run(first, event(end, reason=Reason(code="x", message="x")))
    _, out = take(state, event("job.accepted", about="2", source="moderate", fingerprint=fingerprint), 0)
    (command,) = [o.record for o in out if isinstance(o.record, Command)]
    assert (command.job, command.action) == (state.job, "cancel")
    assert not [o for o in told if isinstance(o.record, Command)]


def test_a_request_that_was_refused_at_the_door_and_comes_back_corrected_is_called_off():
    refused = event("job.rejected", source="moderate", reason=Reason(code="invalid_request", message="no"))
    _, told = run(refused, refused, event("job.accepted", about="2", source="moderate", fingerprint="f2"))
    assert [o.record.action for o in told if isinstance(o.record, Command)] == ["cancel"]


def test_a_second_request_calls_off_nothing_while_the_first_goes_on():
    first = event("job.accepted", source="moderate", fingerprint="f1")
    _, told = run(first, first, event("job.accepted", about="2", source="moderate", fingerprint="f2"))
    assert not [o for o in told if isinstance(o.record, Command)]


def test_a_deletion_is_said_aloud_once_and_takes_the_content_away():
    accepted = replace(event("job.accepted", source="moderate"), metadata={"who": "me"})
    gone = event("job.deleted", source="ops", reason=Reason(code="expired", message="kept for 7 days"))
    state, told = run(accepted, event("job.published", video=VIDEO), gone, gone, event("job.deleted", about="2"))
    assert (state.state, state.video, state.metadata) == ("deleted", None, {})
    assert [r.type for r in replies(told)] == ["accepted", "finished", "deleted"]
    assert replies(told)[-1].reason.code == "expired"
    assert sum(isinstance(o.record, JobFinished) for o in told) == 1


def test_what_is_not_finished_cannot_be_deleted():
    state, told = run(event("job.accepted", source="moderate"), event("job.deleted"))
    assert state.state == "accepted"
    assert [r.type for r in replies(told)] == ["accepted"]


@pytest.mark.parametrize("end", ["job.published", "job.failed", "job.rejected"])
@pytest.mark.parametrize("kind", ["job.rejected", "job.accepted"])
@pytest.mark.parametrize("ended", [False, True])
def test_a_second_request_that_comes_again_is_told_its_own_refusal_again(end, kind, ended):
    """And never the end of the first one: its video is not what they asked for, its fault not theirs."""
    first = event("job.accepted", source="moderate", fingerprint="f1")
    reason = Reason(code="model_unknown", message="no such model")
    second = event(kind, about="2", source="moderate", fingerprint="f2", reason=reason)
    state, told = run(first, *[event(end, reason=Reason(code="x", message="x"))] * ended, second)
    changed, again = take(state, second, 0)
    assert changed is None
    assert replies(again) == replies(told)[-1:]
    assert (replies(again)[0].type, replies(again)[0].result) == ("rejected", None)


@pytest.mark.parametrize("end", ["job.published", "job.failed", "job.cancelled", "job.expired", "job.rejected"])
def test_who_sends_an_accepted_request_again_after_its_deadline_is_told_how_the_job_stands(end):
    """moderate refuses it then; that is no news of the job."""
    first = event("job.accepted", source="moderate", fingerprint="f1")
    late = Reason(code="deadline_passed", message="late")
    again = event("job.rejected", about="2", source="moderate", fingerprint="f1", reason=late)
    other = replace(again, fingerprint="f2")
    state, _ = run(first, event("job.started"))
    changed, out = take(state, again, 0)
    assert changed is None
    assert [(r.type, r.state, r.reason) for r in replies(out)] == [("accepted", "rendering", None)]
    assert [r.type for r in replies(take(state, other, 0)[1])] == ["rejected"]
    state, told = run(first, event(end, video=VIDEO, reason=Reason(code="x", message="x")))
    assert [(r.id, r.result) for r in replies(take(state, again, 0)[1])] == [
        (r.id, r.result) for r in replies(told) if r.result
    ]


def commands(out):
    return [(o.record.action, o.record.mux_attempt) for o in out if isinstance(o.record, Command)]


def answers(out):
    return [(o.record.action, o.record.fingerprint) for o in out if isinstance(o.record, Command)]


def test_dispatch_is_told_whether_the_request_that_it_has_owns_the_id():
    first = event("job.accepted", source="moderate", fingerprint="f1")
    state, _ = run(first, event("job.accepted", about="2", source="moderate", fingerprint="f2"))
    own, other = (event("job.queued", about=f, fingerprint=f) for f in ("f1", "f2"))
    assert answers(take(state, own, 0)[1]) == [("admit", "f1")]
    changed, out = take(state, other, 0)
    assert (changed, answers(out)) == (None, [("withdraw", "f2")])
    state, _ = run(first, own, event("job.started", fingerprint="f1"))
    assert answers(take(state, own, 0)[1]) == []
    asked_again = event("job.queued", about="f1 5", fingerprint="f1")
    assert answers(take(state, asked_again, 0)[1]) == [("admit", "f1")]
    assert answers(take(state, replace(asked_again, source="split"), 0)[1]) == []


@pytest.mark.parametrize("fingerprint", ["f1", "f2"])
def test_of_a_job_that_has_ended_dispatch_is_told_that_it_has(fingerprint):
    first = event("job.accepted", source="moderate", fingerprint="f1")
    state, _ = run(first, event("job.failed", source="split", fingerprint="f1"))
    out = take(state, event("job.queued", about=fingerprint, fingerprint=fingerprint), 0)[1]
    assert commands(out) == [("release", 0)]


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("job.accepted", "job.deleted")])
@pytest.mark.parametrize("source", ["intake", "split", "prioritise", "dispatch", "mux"])
def test_what_comes_of_another_request_under_the_id_changes_nothing(kind, source):
    state, _ = run(event("job.accepted", source="moderate", fingerprint="f1"))
    changed, out = take(state, event(kind, source=source, fingerprint="f2", reason=Reason(code="x", message="x")), 0)
    assert changed is None
    assert all(isinstance(o.record, Command) for o in out)


@pytest.mark.parametrize("kind", ["job.queued", "job.started", "job.assembling"])
def test_dispatch_is_told_to_drop_what_it_takes_for_alive_and_has_ended(kind):
    state, told = run(event("job.accepted", source="moderate"), event("job.failed", source="split"))
    assert commands(told) == []
    assert commands(take(state, event(kind, about="late"), 0)[1]) == [("release", 0)]


@pytest.mark.parametrize(("source", "wanted"), [("dispatch", []), ("render", [("release", 0)])])
def test_dispatch_hears_of_an_end_that_another_stage_reports(source, wanted):
    _, told = run(event("job.accepted", source="moderate"), event("job.started"), event("job.failed", source=source))
    assert commands(told) == wanted


@pytest.mark.parametrize("end", ["job.failed", "job.cancelled", "job.expired"])
def test_the_end_of_a_job_that_nobody_has_accepted_is_no_end(end):
    """It must not spend the id."""
    assert run(event(end, source="split")) == (None, [])


def test_a_request_that_was_refused_at_the_door_is_told_so_again():
    refused = event("job.rejected", source="moderate", reason=Reason(code="invalid_request", message="no"))
    other = event("job.rejected", about="2", source="moderate", reason=Reason(code="prompt_refused", message="no"))
    state, told = run(refused, other)
    for one, answer in zip((refused, other), replies(told), strict=True):
        assert replies(take(state, one, 0)[1]) == [answer]


def in_doubt(verdict="review"):
    return PromptVerdict(verdict=verdict, policy="p1", category="violence")


def test_a_job_whose_mark_was_lost_on_the_way_to_dispatch_is_called_off():
    """Nobody would be asked: an older split, prioritise or dispatch has dropped what a person was to read."""
    state, _ = run(event("job.accepted", source="moderate", fingerprint="f1", prompts=in_doubt()))
    unread = event("job.queued", about="f1", fingerprint="f1")
    assert answers(take(state, unread, 0)[1]) == [("cancel", "f1")]
    for verdict in ("review", "allow"):  # allow: judged again, by other rules, after a crash
        assert answers(take(state, replace(unread, prompts=in_doubt(verdict)), 0)[1]) == [("admit", "f1")]
    other = event("job.queued", about="f2", fingerprint="f2")
    assert answers(take(state, other, 0)[1]) == [("withdraw", "f2")]


def test_a_job_that_a_person_has_read_or_that_nobody_was_to_read_is_admitted_as_ever():
    queued = event("job.queued", about="f1", fingerprint="f1")
    first = event("job.accepted", source="moderate", fingerprint="f1", prompts=in_doubt())
    read = event("job.review-approved", fingerprint="f1", prompts=PromptVerdict(verdict="allow", policy="p1"))
    state, _ = run(first, replace(queued, prompts=in_doubt()), read)
    assert state.prompts == read.prompts
    again = event("job.queued", about="f1 2", fingerprint="f1")
    assert answers(take(state, again, 0)[1]) == [("admit", "f1")]
    for prompts in (None, in_doubt("allow")):
        state, _ = run(replace(first, prompts=prompts))
        assert answers(take(state, queued, 0)[1]) == [("admit", "f1")]
