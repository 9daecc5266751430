"""`reelbus dlq` on the real broker: letters of a real stage, replays that are interrupted, killed, run side by side."""

import json
import signal
import time
from collections import Counter
from typing import Any

import pytest

from ops.bus import clients
from ops.dead_letters.reading import LetterBox
from ops.dead_letters.replay import UNSETTLED_MS, Outcome, Replayer
from ops.dead_letters.writing import Writer
from ops.settings import Settings
from schemas.codec import encode
from schemas.records import Incoming
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS, NOTIFY_LOG, DeadLetters
from schemas.work import Command
from tests.conftest import MakeSettings
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running
from tests.e2e.test_cli import Shell
from tests.e2e.test_worker_loop import STAGE, order, send, wait_deliveries

pytestmark = pytest.mark.kafka
TOPICS = (JOBS_CONTROL, NOTIFY_LOG, JOBS_EVENTS)


class Killed(BaseException):
    """Stands for SIGKILL at one place: everything after it does not happen."""


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(TOPICS)


def bury(settings: Settings, count: int) -> list[Command]:
    """Letters of jobs.control, as a stage writes them, spread over its partitions."""
    from ops.bus import dead_letter
    from schemas.errors import InvalidMessage

    producer = clients.producer(settings)
    orders = [order(f"j{n}") for n in range(count)]
    for n, one in enumerate(orders):
        record = Incoming(JOBS_CONTROL.name(settings.prefix), n % 4, n, one.job.encode(), encode(one), (), 1)
        headers: Any = list(dead_letter.headers(record, "g", "odd", InvalidMessage("no"), 1))
        producer.produce(DeadLetters(JOBS_CONTROL).name(settings.prefix), record.value, record.key, headers=headers)
    assert producer.flush(30) == 0
    return orders


def replayed(settings: Settings, later_ms: int = 0, again: bool = False, run: str = "r") -> list[Outcome]:
    """One run over all letters, `later_ms` from now by its own clock."""
    with LetterBox(settings, [JOBS_CONTROL]) as box:
        replayer = Replayer(settings, box, run, 1000, lambda: time.time_ns() // 1_000_000 + later_ms)
        return list(replayer.replay(box.letters(), again))


def whats(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.what for outcome in outcomes)


def lines(said: tuple[str, str]) -> list[dict[str, Any]]:
    """JSON lines of standard output."""
    return [json.loads(line) for line in said[0].splitlines()]


def test_a_letter_is_seen_mended_and_sent_again_once(settings: Settings) -> None:
    shell = Shell(settings)
    secret = Command(job="b", action="cancel", reason="invalid", requested_at_ms=0)
    send(settings, order("a"), secret, raw=(b"\xff\x1b[2J",))
    with running(settings, STAGE):
        wait_deliveries(settings, 1)
        listed = [
            json.loads(line) for line in shell("dlq", "list", "--topic", "jobs.control", "--json")[0].splitlines()
        ]
        while len(listed) < 2:
            listed = [json.loads(line) for line in shell("dlq", "list", "--json")[0].splitlines()]
    newest = listed[0]
    assert (newest["stage"], newest["code"], newest["key"], newest["state"]) == ("odd", "invalid_message", "b", "open")
    out, _ = shell("dlq", "show", newest["place"])
    assert "reason: 'invalid' is not a reason" in out
    assert "trace" not in out
    assert '"job": "b"' in out
    out, _ = shell("dlq", "show", listed[1]["place"])
    assert "\x1b" not in out
    assert "trace: t1" in out
    assert "ff1b5b324a" in out

    shell("dlq", "replay", newest["place"], code=2)  # nobody is there to be asked
    out, _ = shell("dlq", "replay", newest["place"], "--dry-run", "--json")
    assert json.loads(out)["what"] == "sent"
    before = read_all(settings, JOBS_CONTROL)
    out, err = shell("dlq", "replay", newest["place"], "--yes", "--json")
    (new,) = [r for r in read_all(settings, JOBS_CONTROL) if r not in before]
    (old,) = [r for r in before if r.key == b"b"]
    assert (new.key, new.value, new.partition) == (old.key, old.value, old.partition)
    assert [h for h in new.headers if not h[0].startswith("reelbus.")] == list(old.headers)
    assert json.loads(out)["to"] == f"{new.topic}:{new.partition}:{new.offset}"
    assert "1 sent, 0 found, 0 skipped" in err

    out, _ = shell("dlq", "replay", newest["place"], "--yes", "--json")
    assert json.loads(out)["what"] == "skipped"
    assert "--again" in json.loads(out)["why"]
    listed = lines(shell("dlq", "list", "--json", "--code", "invalid_message"))
    assert [(one["state"], one["replays"]) for one in listed] == [("replayed", 1), ("open", 0)]
    (count,) = lines(shell("dlq", "list", "--json", "--limit", "0"))
    assert (count["letters"], count["replayed"]) == (2, 1)
    assert "2 dead letters, 1 of them not replayed" in shell("dlq", "list")[1]
    shell("dlq", "replay", newest["place"], "--yes", "--again")
    assert len(read_all(settings, JOBS_CONTROL)) == len(before) + 2


def test_wrong_usage_is_said(settings: Settings) -> None:
    shell = Shell(settings)
    for arguments in ((), ("--all", "--stage", "odd"), ("jobs.control:0:0", "--all")):
        assert "one of the three" in shell("dlq", "replay", *arguments, code=2)[1]
    assert "no topic" in shell("dlq", "list", "--topic", "no.such", code=1)[1]
    assert "there is no dead letter" in shell("dlq", "show", "jobs.control:0:5", code=1)[1]


@pytest.mark.parametrize("where", ["after the claim", "after the send"])
def test_a_run_that_is_killed_and_its_successor_send_each_letter_once(
    settings: Settings, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = bury(settings, 10)
    real_send, real_mark = Writer.send, Writer.mark
    calls = []

    def send_or_die(self: Writer, *arguments: Any) -> Any:
        if where == "after the claim":
            raise Killed
        return real_send(self, *arguments)

    def mark_or_die(self: Writer, marks: Any) -> Any:
        calls.append(marks)
        if len(calls) == 2:
            raise Killed
        return real_mark(self, marks)

    with monkeypatch.context() as killed:
        killed.setattr(Writer, "send", send_or_die)
        killed.setattr(Writer, "mark", mark_or_die)
        with pytest.raises(Killed):
            replayed(settings)
    sent_before = len(read_all(settings, JOBS_CONTROL))
    assert sent_before == (0 if where == "after the claim" else 10)
    soon = replayed(settings, run="soon")
    assert whats(soon) == ({"skipped": 10} if where == "after the claim" else {"found": 10})
    assert all("may still send" in o.why for o in soon if o.what == "skipped")
    later = replayed(settings, later_ms=UNSETTLED_MS + 1, run="later")
    assert whats(later) == ({"sent": 10} if where == "after the claim" else {"skipped": 10})
    assert Counter(r.key for r in read_all(settings, JOBS_CONTROL)) == {one.job.encode(): 1 for one in orders}


def test_kill_dash_nine_of_the_command_sends_nothing_twice(settings: Settings) -> None:
    orders = bury(settings, 40)
    shell = Shell(settings)
    for reached in (5, 15):
        process = shell.start("dlq", "replay", "--all", "--yes", "--rate-per-s", "8")
        deadline_s = time.monotonic() + 90
        while len(read_all(settings, JOBS_CONTROL)) < reached:
            assert process.poll() is None
            assert time.monotonic() < deadline_s
        process.send_signal(signal.SIGKILL)
        process.wait()
    replayed(settings, later_ms=UNSETTLED_MS + 1)
    assert Counter(r.key for r in read_all(settings, JOBS_CONTROL)) == {one.job.encode(): 1 for one in orders}
    with LetterBox(settings, [JOBS_CONTROL]) as box:
        assert [len(one.replays) for one in box.letters()] == [1] * 40


def test_of_two_runs_that_saw_the_same_letters_one_sends_them(settings: Settings) -> None:
    orders = bury(settings, 6)
    with LetterBox(settings, [JOBS_CONTROL]) as first, LetterBox(settings, [JOBS_CONTROL]) as second:
        one = list(Replayer(settings, first, "one", 1000).replay(first.letters()))
        two = list(Replayer(settings, second, "two", 1000).replay(second.letters()))
    assert whats(one) == {"sent": 6}
    assert whats(two) == {"skipped": 6}
    assert all("faster" in o.why for o in two)
    assert Counter(r.key for r in read_all(settings, JOBS_CONTROL)) == {o.job.encode(): 1 for o in orders}


def test_what_the_broker_refuses_is_given_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bury(settings, 3)

    def interrupted(self: Writer, claimed: Any, pause: Any) -> Any:
        def press(*_: Any) -> None:
            raise KeyboardInterrupt

        return real(self, claimed, press)

    real = Writer.send
    with monkeypatch.context() as patched:
        patched.setattr(Writer, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replayed(settings)
    assert len(read_all(settings, JOBS_CONTROL)) == 1
    assert whats(replayed(settings)) == {"sent": 2, "skipped": 1}


def test_only_the_time_asked_for_is_read(settings: Settings) -> None:
    bury(settings, 2)
    with LetterBox(settings, [JOBS_CONTROL]) as box:
        after_ms = max(letter.record.timestamp_ms for letter in box.letters()) + 1
    with LetterBox(settings, [JOBS_CONTROL, JOBS_EVENTS], since_ms=after_ms) as box:
        assert box.letters() == []
        bury(settings, 3)
        box.refresh()
        assert len(box.letters()) == 3
