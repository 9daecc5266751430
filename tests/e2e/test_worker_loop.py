"""The loop of inspect, mux and notify on the real broker: retry, dead letter, bug, due time, SIGTERM, SIGKILL."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from ops.bus import clients
from ops.bus.sending import Outbox
from ops.bus.tries import MAX_TRIES, Notes
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import WebhookDelivery
from schemas.records import Outgoing
from schemas.topics import JOBS_CONTROL, NOTIFY_LOG, DeadLetters
from schemas.work import Command
from tests.e2e.odd_stage import RETRY
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running

pytestmark = pytest.mark.kafka
TOPICS = (JOBS_CONTROL, NOTIFY_LOG, *RETRY.values())
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
        found = wait_deliveries(settings, 3)
    assert {d.job: (d.attempt, d.outcome) for d in found} == {
        "a": (3, "delivered"), "b": (1, "given-up"), "c": (1, "delivered"),
    }  # fmt: skip
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


def outcomes(settings: Settings) -> dict[str, str]:
    return {d.job: d.outcome for d in deliveries(settings)}


def letters(settings: Settings) -> dict[str, dict[str, str]]:
    """Headers of the dead letters, by job."""
    found = {}
    for letter in read_all(settings, DeadLetters(JOBS_CONTROL)):
        job = decode(Command, letter.value).job
        found[job] = {name: value.decode() for name, value in letter.headers}
    return found


def until(ready: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.1)


def test_a_record_that_kills_its_process_three_times_is_buried_and_the_next_one_handled(settings):
    send(settings, order("a"), order("b", "kill"), order("deadly", "kill"), order("c"))
    deaths = 0
    while "c" not in outcomes(settings):
        with running(settings, STAGE) as process:
            until(lambda: process.poll() is not None or "c" in outcomes(settings), "an end")
            deaths += process.poll() == -signal.SIGKILL
        assert deaths <= 9, "the stage goes on dying"
    # Three for each, and one for saying that `deadly` is given up. Neither is the first record of the process that it
    # kills first, so for each of the two the first note may come too late.
    assert deaths >= 7
    assert outcomes(settings) == {"a": "delivered", "b": "given-up", "c": "delivered"}
    assert {job: made["reelbus.error.code"] for job, made in letters(settings).items()} == {
        "b": "poison", "deadly": "poison",
    }  # fmt: skip


def tries(settings: Settings) -> int:
    """Tries of the record at offset 0 that did not end well, as the next owner of its partition would read them."""
    reader = clients.consumer(settings, clients.group_id(settings, "odd"))
    (place,) = reader.committed([TopicPartition(JOBS_CONTROL.name(settings.prefix), 0)], timeout=30)
    reader.close()
    return Notes(place.metadata).tries(0)


def test_a_stop_that_turns_into_a_kill_is_no_try_of_the_record_at_work(settings):
    send(settings, order("a", "slow"))
    for _ in range(MAX_TRIES + 1):
        with running(settings, STAGE) as process:
            begun = Path(settings.data_dir, f"begun-{process.pid}")
            until(begun.exists, "the work")
            until(lambda: tries(settings) == 1, "the note of the try")
            process.send_signal(signal.SIGTERM)
            until(lambda: tries(settings) == 0, "the try to be taken back")
            process.kill()
            process.wait()
    Path(settings.data_dir, "go").touch()
    with running(settings, STAGE):
        wait_deliveries(settings, 1)
    assert outcomes(settings) == {"a": "delivered"}


def test_a_bug_is_buried_at_its_third_try_and_the_next_one_handled(settings):
    send(settings, order("a", "bug"), order("b"))
    for _ in range(2):
        with running(settings, STAGE) as process:
            assert process.wait(90) != 0
        assert outcomes(settings) == {}
    with running(settings, STAGE):
        wait_deliveries(settings, 2)
    assert outcomes(settings) == {"a": "given-up", "b": "delivered"}
    made = letters(settings)["a"]
    assert (made["reelbus.error.class"], made["reelbus.error.code"]) == ("Bug", "bug")
    assert "KeyError: 'a bug'" in made["__dlq.errors.message"]


def test_a_record_that_fails_alone_moves_aside_and_is_buried_in_the_end(settings):
    """All on one partition: that the next one gets through is found out by trying it."""
    send(settings, order("a", "stuck"), order("b"))
    with running(settings, STAGE, "retry"):
        until(lambda: "b" in outcomes(settings), "the neighbour")
        count = 0

        def fed() -> bool:
            nonlocal count
            count += 1
            send(settings, order(f"c{count}"))
            return "a" in outcomes(settings)

        until(fed, "the end of a")
    assert outcomes(settings)["a"] == "given-up"
    source = JOBS_CONTROL.name(settings.prefix)
    attempts = []
    for topic in RETRY.values():
        (record,) = read_all(settings, topic)
        made = {name: value.decode() for name, value in record.headers}
        attempts.append(made["reelbus-attempt"])
        assert int(made["reelbus-due-ms"]) > record.timestamp_ms
        assert (made["__dlq.errors.topic"], made["__dlq.errors.offset"]) == (source, "0")
    assert attempts == ["2", "3", "4"]
    made = letters(settings)["a"]
    assert (made["reelbus.error.code"], made["__dlq.errors.topic"], made["__dlq.errors.offset"]) == (
        "exhausted", source, "0",
    )  # fmt: skip
    assert "reelbus-due-ms" not in made


def test_an_outage_moves_nothing_aside(settings):
    outage = Path(settings.data_dir, "outage")
    outage.parent.mkdir(parents=True, exist_ok=True)
    outage.touch()
    send(settings, *(order(name) for name in "abc"))
    with running(settings, STAGE, "retry"):
        log = outage.parent / "retry.log"
        until(lambda: log.exists() and log.read_text().count("trying again") >= 15, "tries")
        outage.unlink()
        until(lambda: len(outcomes(settings)) == 3, "all")
    assert set(outcomes(settings).values()) == {"delivered"}
    assert [read_all(settings, topic) for topic in RETRY.values()] == [[], [], []]
    assert letters(settings) == {}


def test_twenty_dead_letters_in_a_row_stop_the_stage(settings):
    send(settings, order("a"), *(order(f"b{n}", "invalid") for n in range(25)), order("c"))
    with running(settings, STAGE) as process:
        assert process.wait(90) != 0
    assert len(letters(settings)) == 19
    assert outcomes(settings)["a"] == "delivered"
    assert "20 dead letters in a row" in Path(settings.data_dir, f"{STAGE}.log").read_text()
    with running(settings, STAGE):  # the count starts anew: whoever starts it again decides to go on
        until(lambda: outcomes(settings).get("c") == "delivered", "the record behind")
    assert len(letters(settings)) == 25


def test_a_partition_that_waits_keeps_no_other_from_being_read(settings):
    far_ms = time.time_ns() // 1_000_000 + 3_600_000
    send(settings, *(order(f"late{n}", at_ms=far_ms) for n in range(300)))
    with running(settings, STAGE):
        outbox = Outbox(clients.producer(settings), settings.prefix, "test")
        outbox.send([Outgoing(JOBS_CONTROL, f"j{n}", order(f"j{n}"), partition=1) for n in range(300)])
        assert outbox.producer.flush(30) == 0
        wait_deliveries(settings, 300)
    assert not any(job.startswith("late") for job in outcomes(settings))
