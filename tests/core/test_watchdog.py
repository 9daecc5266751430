"""The watchdog's thread with a short limit: what it ends, what it spares, what it writes."""

import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from ops.bus import look, watchdog
from ops.bus.pulse import Pulse
from ops.bus.watchdog import EXIT_HUNG, TICKS, Watchdog, standing
from ops.settings import Settings
from tests.core.test_pulse import P

LIMIT_S = 0.6
PATIENCE_S = 60.0


class Ended(threading.Event):
    """Stands for os._exit."""

    status = -1

    def end(self, status: int) -> None:
        self.status = status
        self.set()


@pytest.fixture
def ended() -> Ended:
    return Ended()


@pytest.fixture
def broker_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    state = {"answers": True}
    monkeypatch.setattr(look, "answers", lambda _settings: state["answers"])
    return state


def watching(pulse: Pulse, ended: Ended, watchdog_s: float = LIMIT_S) -> Watchdog:
    return Watchdog(Settings(watchdog_s=watchdog_s), "odd", pulse, ended.end)


def after_ticks(dog: Watchdog, count: int) -> None:
    """Returns when the watchdog has ticked that often more."""
    done = threading.Semaphore(0)
    tick = dog._tick

    def counted() -> None:
        tick()
        done.release()

    dog._tick = counted  # type: ignore[method-assign]
    for _ in range(count):
        assert done.acquire(timeout=PATIENCE_S)


def test_a_hang_ends_the_process_and_says_who_and_where(
    ended: Ended, broker_answers: dict[str, bool], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    pulse = Pulse()
    pulse.assigned([P("jobs", 3)])
    pulse.read("jobs", 3, 41)
    pulse.loop("poll loop")
    with caplog.at_level(logging.CRITICAL), watching(pulse, ended):
        assert ended.wait(PATIENCE_S)
    assert ended.status == EXIT_HUNG
    assert "odd hangs: poll loop has not got on for" in caplog.text
    assert "jobs[3]: read to 42, done to ?" in caplog.text
    err = capfd.readouterr().err
    assert "test_a_hang_ends_the_process_and_says_who_and_where" in err, "the stack of the main thread"


def test_steps_keep_it_alive(ended: Ended, broker_answers: dict[str, bool]) -> None:
    pulse = Pulse()
    pulse.loop("poll loop")
    with watching(pulse, ended) as dog:
        beating = threading.Event()
        mine = pulse.activities[0]

        def work() -> None:
            while not beating.wait(LIMIT_S / TICKS / 4):
                mine.beat()

        worker = threading.Thread(target=work)
        worker.start()
        after_ticks(dog, 3 * TICKS)
        assert not ended.is_set()
        beating.set()
        worker.join()
        assert ended.wait(PATIENCE_S)


def test_it_spares_the_process_while_no_broker_answers_and_gives_it_time_after_that(
    ended: Ended, broker_answers: dict[str, bool]
) -> None:
    pulse = Pulse()
    pulse.loop("poll loop")
    broker_answers["answers"] = False
    with watching(pulse, ended) as dog:
        after_ticks(dog, 3 * TICKS)
        assert dog.outage
        assert not ended.is_set()
        assert not dog.verdict.slow, "an outage is no reason to start the process again"
        broker_answers["answers"] = True
        assert ended.wait(PATIENCE_S)


def test_switched_off_it_ends_nothing(ended: Ended, broker_answers: dict[str, bool], monkeypatch) -> None:
    monkeypatch.setattr(watchdog, "DEFAULT_LIMIT_S", LIMIT_S)
    pulse = Pulse()
    pulse.loop("poll loop")
    with watching(pulse, ended, watchdog_s=0) as dog:
        after_ticks(dog, 2 * TICKS)
        assert dog.verdict.hanging, "liveness still knows"
    assert not ended.is_set()


def test_a_record_that_nobody_reads_is_a_hang(
    ended: Ended, broker_answers: dict[str, bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[dict[tuple[str, int], int]] = []

    def unread(_settings: Settings, group: str, places: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        assert group == "g"
        asked.append(places)
        return {("jobs", 0): 5}

    monkeypatch.setattr(look, "unread", unread)
    pulse = Pulse()
    pulse.joining("g")
    pulse.assigned([P("jobs", 0), P("jobs", 1)])
    pulse.hold([P("jobs", 1)], True)
    with caplog.at_level(logging.CRITICAL), watching(pulse, ended):
        assert ended.wait(PATIENCE_S)
    assert asked[:2] == [{("jobs", 0): -1}] * 2
    assert "jobs[0] has a record at 5 that is not read" in caplog.text


def test_a_stuck_log_does_not_keep_it_alive(
    ended: Ended, broker_answers: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LAST_WORDS_S", 0.1)
    stuck = threading.Event()
    monkeypatch.setattr(watchdog.log, "critical", lambda *_: stuck.wait(PATIENCE_S))
    pulse = Pulse()
    pulse.loop("poll loop")
    with watching(pulse, ended):
        assert ended.wait(PATIENCE_S / 2)
        assert not stuck.is_set()
        stuck.set()
    assert ended.status == EXIT_HUNG


def test_no_broker_at_all_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = Settings(bootstrap_servers=f"127.0.0.1:{taken.getsockname()[1]}")
        assert not look.answers(nobody, timeout_s=0.5)


def test_where_it_stands() -> None:
    pulse = Pulse()
    pulse.assigned([P("b", 1), P("a", 0)])
    pulse.read("a", 0, 9)
    pulse.done("a", 0, 10)
    pulse.hold([P("b", 1)], True)
    with pulse.working("handler", "a[0]@10"):
        assert standing(pulse) == [
            "a[0]: read to 10, done to 10",
            "b[1]: read to ?, done to ?, held",
            "at work: handler (a[0]@10)",
        ]
