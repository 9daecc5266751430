"""What callers are told of their orders: by moderate, by track, and on the screen."""

from datetime import UTC, datetime

import pytest
import typer
from msgspec.structs import replace

from ops.cli.steering import when
from ops.view.describe import note, stopped
from ops.view.lines import change
from schemas.codec import encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent, JobFinished, JobReply, JobState, Progress
from schemas.records import Incoming
from schemas.reports import plan_event
from schemas.request import JobOrder
from schemas.topics import HOUR_MS
from schemas.work import Command, Steering
from stream_processors.moderate.core import order
from stream_processors.moderate.identity import Tenants
from stream_processors.track.core import take
from stream_processors.track.sweeping import GRACE_MS, Sweeper
from tests.core.plans import plan

NOW_MS = 1_800_000_000_000
LIFE = ("job.accepted", "job.planned", "job.queued", "job.started")


def asked(value: bytes, key: bytes = b"a") -> Command | JobEvent:
    return order(Incoming("reelbus.orders.requested.v1", 0, 0, key, value, (), NOW_MS), Tenants("reelbus"))


def event(kind: str, *, source: str = "dispatch", about: str = "", **facts: object) -> JobEvent:
    return plan_event(source, kind, plan(), at_ms=5, about=about, **facts)


def state_after(*events: JobEvent) -> tuple[JobState, list[JobReply]]:
    state, replies = None, []
    for each in events:
        after, out = take(state, each, 0)
        state = after or state
        replies += [o.record for o in out if isinstance(o.record, JobReply)]
    assert state is not None
    return state, replies


ALIVE = tuple(event(kind) for kind in LIFE)


@pytest.mark.parametrize(
    "parts",
    [
        {"action": "hold", "reason": "why"},
        {"action": "resume"},
        {"action": "reprioritise", "priority": -10},
        {"action": "move_lane", "lane": "express"},
        {"action": "change_deadline", "deadline_ms": NOW_MS + 1},
        {"action": "change_deadline"},
    ],
)
def test_a_right_order_becomes_its_command_in_either_format(parts) -> None:
    sent = JobOrder(job_id="a", **parts)
    for value in (encode(sent), encode(sent, "json")):
        assert asked(value) == Command(job="default/a", requested_at_ms=NOW_MS, **parts)


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        (b'{"job_id":"a","action":"reprioritise","priority":99}', "priority", "found 99; expected a whole number from"),
        (
            b'{"job_id":"a","action":"move_lane","lane":"fast"}',
            "lane",
            'found "fast"; expected one of bulk, express',
        ),
        (b'{"job_id":"a","action":"stop"}', "action", 'found "stop"; expected one of cancel, change_deadline'),
        (b'{"job_id":"a","action":"hold","prio":1}', "prio", 'unknown field "prio"; did you mean priority'),
        (b'{"job_id":"a","action":"reprioritise"}', "priority", "missing; reprioritise needs"),
        (encode(JobOrder(job_id="a", action="change_deadline", deadline_ms=7)), "deadline_ms", "give a later one"),
        (
            encode(JobOrder(job_id="a", action="hold", priority=3)),
            "priority",
            "found 3, but the action hold takes none",
        ),
    ],
)
def test_a_wrong_order_is_answered_by_field_value_and_what_is_right(value, field, message) -> None:
    answer = asked(value)
    assert isinstance(answer, JobEvent)
    assert (answer.type, answer.job, answer.reason.field) == ("job.order-refused", "default/a", field)
    assert message in answer.reason.message
    assert asked(value) == answer
    _, replies = state_after(*ALIVE, answer)
    assert [r.type for r in replies] == ["accepted", "started", "order-refused"]
    assert replies[-1].reason == answer.reason


@pytest.mark.parametrize("value", [b"{}", b'{"job_id":"a/b","action":"hold"}', b'{"job_id":"a","action":', b"\x00junk"])
def test_an_order_that_names_no_job_is_buried(value) -> None:
    with pytest.raises(InvalidMessage):
        asked(value)
    with pytest.raises(InvalidMessage, match="the record key must be the job_id"):
        asked(b'{"job_id":"a","action":"stop"}', key=b"b")


def test_lane_and_deadline_that_were_ordered_hold_in_state_result_and_reply() -> None:
    steering = Steering(lane="express", lane_at_ms=6, deadline_ms=None, deadline_at_ms=6, held=True, held_at_ms=7)
    dated = plan(deadline_ms=9_000)
    life = [plan_event("dispatch", kind, dated, at_ms=5) for kind in LIFE]
    state, replies = state_after(*life, plan_event("dispatch", "job.steered", dated, at_ms=6, steering=steering))
    assert (state.lane, state.deadline_ms, state.steering, state.state) == ("express", None, steering, "rendering")
    assert (replies[-1].type, replies[-1].steering) == ("steered", steering)
    late = plan_event("dispatch", "job.assembling", dated, at_ms=8)
    after, _ = take(state, late, 0)
    assert (after.lane, after.deadline_ms) == ("express", None), "what a stage repeats of the request is older"
    _, out = take(after, plan_event("mux", "job.published", dated, at_ms=9), 0)
    assert [o.record.lane for o in out if isinstance(o.record, JobFinished)] == ["express"]


def test_an_order_for_a_job_that_waits_in_kafka_shows_at_once_and_moves_it_only_when_it_is_there() -> None:
    steering = Steering(lane="express", lane_at_ms=6, deadline_ms=77, deadline_at_ms=6)
    bare = JobEvent(id="x", source="dispatch", type="job.steered", job="default/a", at_ms=6, steering=steering)
    state, _ = state_after(*ALIVE[:2], bare)
    assert (state.lane, state.deadline_ms, state.steering) == ("standard", 77, steering)
    state, _ = state_after(*ALIVE[:2], bare, ALIVE[2], event("job.steered", about="y", steering=steering))
    assert (state.state, state.lane) == ("queued", "express")
    assert take(None, bare, 0) == (None, ())


def test_orders_for_a_job_that_has_ended_are_refused_and_change_nothing() -> None:
    known = Steering(priority=3, priority_at_ms=4)
    ended, _ = state_after(*ALIVE, event("job.steered", steering=known), event("job.failed"))
    news = Steering(held=True, held_at_ms=9)
    for late in (event("job.steered", about="z", steering=news), event("job.order-refused", about="z")):
        changed, (told,) = take(ended, late, 0)
        assert (changed, told.record.type, told.record.reason.code) == (None, "order-refused", "job_ended")
        assert "failed already" in told.record.reason.message
    assert take(ended, event("job.steered", about="again", steering=known), 0)[1] == []


def test_the_sweeper_follows_a_deadline_that_is_moved() -> None:
    sweeper, state = Sweeper(0), state_after(*ALIVE)[0]
    sweeper.hear(replace(state, deadline_ms=60_000), 0)
    assert sweeper.sweep(60_000 + GRACE_MS) != []
    sweeper.hear(replace(state, deadline_ms=70_000), 60_001 + GRACE_MS)
    assert sweeper.sweep(69_999 + GRACE_MS) == []
    assert [o.record.action for o in sweeper.sweep(70_000 + GRACE_MS)] == ["expire"]
    sweeper.hear(replace(state, deadline_ms=None), 70_001 + GRACE_MS)
    assert sweeper.sweep(9 * HOUR_MS) == []


def test_a_job_that_was_moved_proves_nothing_of_the_line_in_front_of_its_new_lane() -> None:
    timeout_ms, sweeper = 10 * HOUR_MS, Sweeper(10 * HOUR_MS)
    waiting = replace(state_after(*ALIVE[:1])[0], job="default/waits", lane="express", requested_at_ms=0)
    moved = replace(
        state_after(*ALIVE[:3])[0], lane="express", requested_at_ms=2 * timeout_ms,
        steering=Steering(lane="express", lane_at_ms=1),
    )  # fmt: skip
    sweeper.hear(waiting, 0)
    sweeper.hear(moved, 2 * timeout_ms)
    assert sweeper.sweep(2 * timeout_ms + 1) == []


def test_who_watches_sees_since_when_and_why_a_job_is_held() -> None:
    state, _ = state_after(*ALIVE)
    held = replace(state, steering=Steering(held=True, held_at_ms=NOW_MS, held_reason="legal looks at it"))
    assert note(held) == "held since 2027-01-15 08:00:00 UTC: legal looks at it"
    assert "held since 2027-01-15" in change(state, held, "default")
    assert change(held, held, "default") is None
    assert "held" not in change(held, state, "default")
    assert stopped(replace(state, progress=Progress(chunks=2, stopped="lane bulk is paused"))) == "lane bulk is paused"
    assert "held" not in note(replace(held, state="failed"))


def test_a_deadline_is_given_as_a_moment_a_distance_or_none() -> None:
    now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    base_ms = round(now.timestamp() * 1000)
    assert when("none", now) is None
    assert when("+90min", now) == base_ms + 90 * 60_000
    assert when("2026-12-01T13:00:00", now) == when("2026-12-01T14:00+01:00", now) == base_ms + HOUR_MS
    for wrong, right in (
        ("soon", "expected none"),
        ("2026-11-30T00:00Z", "give a later moment"),
        ("+5", "expected none"),
    ):
        with pytest.raises(typer.BadParameter, match=right):
            when(wrong, now)
