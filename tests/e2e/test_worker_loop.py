"""The loop of inspect, mux and notify on the real broker: retry, dead letter, bug, due time, SIGTERM, SIGKILL."""

import signal
import time

import pytest

from ops.bus import clients
from ops.bus.sending import Outbox
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import WebhookDelivery
from schemas.records import Outgoing
from schemas.topics import JOBS_CONTROL, NOTIFY_LOG, DeadLetters
from schemas.work import Command
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running

pytestmark = pytest.mark.kafka
TOPICS = (JOBS_CONTROL, NOTIFY_LOG)
STAGE = "tests.e2e.odd_stage"


@pytest.fixture
def settings(make_settings) -> Settings:
    return make_settings(TOPICS)


def send(settings: Settings, *orders: Command, raw: tuple[bytes | None, ...] = ()) -> None:
    """All on partition 0, in this order, raw values first."""
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    for value in raw:
        outbox.send_raw(JOBS_CONTROL.name(settings.prefix), b"raw", value, [("trace", b"t1")], 0)
    outbox.send([Outgoing(JOBS_CONTROL, o.job, o, partition=0) for o in orders])
    while outbox.waiting():
        pass
    assert not outbox.failures


def order(job: str, reason: str = "", at_ms: int = 0) -> Command:
    return Command(job=job, action="cancel", reason=reason, requested_at_ms=at_ms)


def deliveries(settings: Settings) -> list[WebhookDelivery]:
    return [decode(WebhookDelivery, r.value) for r in read_all(settings, NOTIFY_LOG)]


def wait_deliveries(settings: Settings, count: int, timeout_s: float = 90.0) -> list[WebhookDelivery]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if len(found := deliveries(settings)) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count} deliveries after {timeout_s:.0f} s")


def test_a_transient_error_is_tried_again_and_a_bad_record_does_not_stop_the_next(settings):
    send(settings, order("a", "transient"), order("b", "invalid"), order("c"), raw=(b"\xff\x00", None))
    with running(settings, STAGE):
        found = wait_deliveries(settings, 2)
    assert {d.job: d.attempt for d in found} == {"a": 3, "c": 1}
    letters = read_all(settings, DeadLetters(JOBS_CONTROL))
    assert [letter.value for letter in letters][:2] == [b"\xff\x00", None]
    headers = dict(letters[2].headers)
    assert headers["__dlq.errors.message"] == b"reason: 'invalid' is not a reason"
    assert headers["__dlq.errors.topic"] == JOBS_CONTROL.name(settings.prefix).encode()
    assert dict(letters[0].headers)["trace"] == b"t1"


def test_a_bug_ends_the_process_and_the_record_comes_again(settings):
    send(settings, order("a"), order("b", "bug"), order("c"))
    with running(settings, STAGE) as process:
        assert process.wait(90) != 0
    assert {d.job for d in deliveries(settings)} == {"a"}
    with running(settings, STAGE, "fixed"):
        found = wait_deliveries(settings, 3)
    assert {d.job for d in found} == {"a", "b", "c"}


def test_a_record_waits_until_it_is_due_and_sigterm_ends_cleanly(settings):
    due_ms = time.time_ns() // 1_000_000 + 3_000
    send(settings, order("late", at_ms=due_ms))
    with running(settings, STAGE) as process:
        wait_deliveries(settings, 1)
        (record,) = read_all(settings, NOTIFY_LOG)
        assert record.timestamp_ms >= due_ms
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_kill_dash_nine_loses_nothing(settings):
    send(settings, *(order(f"j{n}") for n in range(200)))
    for round_ in range(3):
        with running(settings, STAGE) as process:
            wait_deliveries(settings, 40 * (round_ + 1))
            process.kill()
    with running(settings, STAGE):
        wait_deliveries(settings, 200)
        deadline = time.monotonic() + 60
        while len({d.job for d in deliveries(settings)}) < 200 and time.monotonic() < deadline:
            pass
    assert {d.job for d in deliveries(settings)} == {f"j{n}" for n in range(200)}
