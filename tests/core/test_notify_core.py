"""notify: what is sent and what follows from an answer."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import retries
from schemas.errors import InvalidMessage
from schemas.events import JobFinished, Reason
from schemas.request import Webhook
from schemas.topics import JOBS_FINISHED_RETRY, NOTIFY_DELAYS
from stream_processors.notify import core
from stream_processors.notify.outages import FAILURES, MAX_RECEIVERS, PAUSE_MS, Outages

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def finished(**changes: object) -> JobFinished:
    fields: dict[str, object] = {
        "id": "e1", "job": "default/j1", "job_id": "j1", "tenant": "default", "state": "completed", "lane": "standard",
        "model": "shapes", "requested_at_ms": NOW_MS - 9000, "finished_at_ms": NOW_MS - 10, "sequence": 5,
        "webhook": Webhook(url="https://hooks.example.com/in?token=SECRETTOKEN"), "metadata": {"order": "7"},
    }  # fmt: skip
    return JobFinished(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("attempt", [1, core.MAX_ATTEMPTS])
def test_any_2xx_is_delivered(status: int, attempt: int) -> None:
    assert core.next_step(attempt, status, {}, NOW_MS) == core.Delivered()


@pytest.mark.parametrize("status", [0, 101, 199, 300, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503, 599])
def test_everything_else_follows_the_table_and_ends(status: int) -> None:
    seen = []
    for attempt in range(1, core.MAX_ATTEMPTS):
        step = core.next_step(attempt, status, {}, NOW_MS)
        assert isinstance(step, core.Retry)
        assert step.delay in JOBS_FINISHED_RETRY
        seen.append((step.delay, step.delay_ms))
    assert tuple(seen) == NOTIFY_DELAYS
    assert isinstance(core.next_step(core.MAX_ATTEMPTS, status, {}, NOW_MS), core.GiveUp)


def test_410_gives_up_at_once() -> None:
    step = core.next_step(1, 410, {"retry-after": "5"}, NOW_MS)
    assert step == core.GiveUp("the receiver answered 410 Gone")


@pytest.mark.parametrize(
    ("attempt", "retry_after", "delay"),
    [
        (1, "0", "5s"),
        (1, "5", "5s"),
        (1, "6", "1m"),
        (1, "3600", "1h"),
        (1, "99999999999999999999", "1d"),
        (4, "1", "1h"),
        (6, "999999", "1d"),
        (1, "-5", "5s"),
        (1, "soon", "5s"),
        (1, "", "5s"),
        (1, "Mon, 21 Sep 2026 14:14:20 GMT", "1m"),
        (1, "Mon, 21 Sep 1970 00:00:00 GMT", "5s"),
        (1, "Mon, 21 Sep 9999 00:00:00 GMT", "1d"),
        (1, "Mon, 99 Sep 2026 00:00:00 GMT", "5s"),
        (1, "٣٠", "5s"),
    ],
)
def test_retry_after_lengthens_the_wait_within_the_table(attempt: int, retry_after: str, delay: str) -> None:
    assert datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat() == "2026-09-21T14:13:20+00:00"
    step = core.next_step(attempt, 503, {"retry-after": retry_after}, NOW_MS)
    assert isinstance(step, core.Retry)
    assert step.delay == delay


@given(attempt=st.integers(1, core.MAX_ATTEMPTS), status=st.integers(0, 999), retry_after=st.text(max_size=40))
def test_any_answer_has_a_next_step_with_a_bounded_wait(attempt: int, status: int, retry_after: str) -> None:
    step = core.next_step(attempt, status, {"retry-after": retry_after}, NOW_MS)
    if isinstance(step, core.Retry):
        assert dict(NOTIFY_DELAYS)[step.delay] == step.delay_ms <= DAY_MS
        assert step.delay_ms >= NOTIFY_DELAYS[attempt - 1][1]


def test_headers_travel_round() -> None:
    headers = dict(retries.retry_headers(3, NOW_MS + 5000))
    assert core.check_headers(headers) == 3
    assert retries.due_at_ms(headers) == NOW_MS + 5000
    assert (core.check_headers({}), retries.due_at_ms({})) == (1, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {retries.ATTEMPT_HEADER: b"0"},
        {retries.ATTEMPT_HEADER: b"8"},
        {retries.ATTEMPT_HEADER: b"-1"},
        {retries.ATTEMPT_HEADER: b""},
        {retries.ATTEMPT_HEADER: b"1e3"},
        {retries.ATTEMPT_HEADER: b"9" * 5000},
        {retries.DUE_HEADER: b"soon"},
        {retries.DUE_HEADER: b"9" * 16},
        {retries.DUE_HEADER: b"\xff\xfe"},
    ],
)
def test_bad_headers_are_named_and_do_not_hold_up_the_partition(headers: dict[str, bytes]) -> None:
    with pytest.raises(InvalidMessage, match="header reelbus-"):
        core.check_headers(headers)
    assert retries.due_at_ms(headers) == 0


def test_body_is_an_event_with_the_record_but_without_the_webhook() -> None:
    body = core.message_body(finished())
    told = json.loads(body)
    assert set(told) == {"id", "object", "created_at", "type", "data"}
    assert (told["object"], told["type"], told["created_at"]) == ("event", "video.completed", (NOW_MS - 10) // 1000)
    assert told["id"] == core.message_id("default/j1")
    assert told["data"]["job_id"] == "j1"
    assert told["data"]["metadata"] == {"order": "7"}
    assert b"SECRETTOKEN" not in body
    assert "webhook" not in told["data"]


def test_type_names_the_state() -> None:
    assert json.loads(core.message_body(finished(state="expired")))["type"] == "video.expired"


def test_message_id_depends_on_the_job_alone() -> None:
    assert core.message_id("default/j1") == core.message_id("default/j1")
    assert core.message_id("default/j1") != core.message_id("default/j2")


@given(metadata=st.dictionaries(st.text(max_size=60), st.text(max_size=1500), max_size=32), reason=st.text())
def test_body_stays_within_the_standard(metadata: dict[str, str], reason: str) -> None:
    long_reason = Reason(code="render_failed", message=reason * 300)
    body = core.message_body(finished(state="failed", metadata=metadata, reason=long_reason))
    assert len(body) <= core.MAX_BODY_BYTES
    told = json.loads(body)
    if "truncated" in told:
        assert told["truncated"] == ["metadata", "reason.message"]
        assert "metadata" not in told["data"]
    else:
        assert told["data"].get("metadata", {}) == metadata


def test_control_characters_in_metadata_cannot_blow_up_the_body() -> None:
    body = core.message_body(finished(metadata={"k": "\x01" * 4000}))
    assert len(body) <= core.MAX_BODY_BYTES
    assert json.loads(body)["truncated"] == ["metadata", "reason.message"]


RECEIVER = ("default", "hooks.example.com", 443)


def test_a_receiver_rests_after_failures_in_a_row_and_an_answer_ends_it() -> None:
    outages = Outages()
    for n in range(FAILURES):
        assert not outages.resting(RECEIVER, NOW_MS + n)
        outages.note(RECEIVER, False, NOW_MS + n)
    last = NOW_MS + FAILURES - 1
    assert outages.resting(RECEIVER, last)
    assert outages.resting(RECEIVER, last + PAUSE_MS - 1)
    assert not outages.resting(("other-tenant", *RECEIVER[1:]), last)
    assert not outages.resting(RECEIVER, last + PAUSE_MS), "one try is let through"
    outages.note(RECEIVER, False, last + PAUSE_MS)
    assert outages.resting(RECEIVER, last + PAUSE_MS + 1), "and when it fails, the receiver rests again"
    outages.note(RECEIVER, True, last + 2 * PAUSE_MS)
    assert not outages.resting(RECEIVER, last + 2 * PAUSE_MS)


def test_memory_of_outages_is_bounded() -> None:
    outages = Outages()
    for n in range(MAX_RECEIVERS + 1):
        for _ in range(FAILURES):
            outages.note(("default", f"h{n}", 443), False, NOW_MS)
    assert not outages.resting(("default", "h0", 443), NOW_MS), "the oldest is forgotten"
    assert outages.resting(("default", "h1", 443), NOW_MS)
    assert outages.resting(("default", f"h{MAX_RECEIVERS}", 443), NOW_MS)
