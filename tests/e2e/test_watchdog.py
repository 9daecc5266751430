"""The watchdog and the health endpoints of real processes on the real broker: what is ended, what is spared."""

import http.client
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from ops.bus import clients, look
from ops.bus.transaction import Transactions
from ops.bus.watchdog import EXIT_HUNG
from ops.local.kafka import LocalKafka
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import WebhookDelivery
from schemas.records import Outgoing
from schemas.topics import JOBS_CONTROL, NOTIFY_LOG
from tests.conftest import MakeSettings
from tests.e2e.fake_model import REGISTRY
from tests.e2e.reading import read_all
from tests.e2e.stage_process import device_pids, running
from tests.e2e.test_worker_loop import order, send

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
STAGE = "tests.e2e.hanging_stage"
LIMIT_S = 4.0
PATIENCE_S = 120.0


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings((JOBS_CONTROL, NOTIFY_LOG), watchdog_s=LIMIT_S, health_address="127.0.0.1:0")


def delivered(settings: Settings) -> set[str]:
    return {decode(WebhookDelivery, record.value).job for record in read_all(settings, NOTIFY_LOG)}


def until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.1)


def log_of(settings: Settings, name: str) -> str:
    return Path(settings.data_dir, f"{name}.log").read_text()


def ask(settings: Settings, name: str, path: str) -> tuple[int, dict[str, object]]:
    """Status and body of a health endpoint; 0 while the process does not listen yet."""
    found = re.findall(r"health: http://127\.0\.0\.1:(\d+)/", log_of(settings, name))
    if not found:
        return 0, {}
    connection = http.client.HTTPConnection("127.0.0.1", int(found[-1]), timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except OSError:
        return 0, {}
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("argv", "reason", "said"),
    [
        (("worker",), "hang", "handler has not got on for"),
        (("worker",), "loop", "poll loop has not got on for"),
        (("faust",), "hang", "event loop has not got on for"),
        (("faust", "unacknowledged"), "", "agent has not got on for"),
        (("worker", "deaf"), "", "has a record at 0 that is not read"),
    ],
    ids=["handler", "loop", "event-loop", "agent", "starved"],
)
def test_a_hang_ends_the_process_with_a_status_of_its_own_and_the_record_comes_again(
    settings: Settings, argv: tuple[str, ...], reason: str, said: str
) -> None:
    send(settings, order("a", reason))
    with running(settings, STAGE, *argv) as process:
        assert process.wait(PATIENCE_S) == EXIT_HUNG
    log = log_of(settings, argv[-1])
    assert "odd hangs: " in log
    assert said in log
    assert f"{JOBS_CONTROL.name(settings.prefix)}[0]: read to" in log
    assert "most recent call first" in log
    assert ("hang_here" in log) == bool(reason)
    assert delivered(settings) == set()
    committed = clients.consumer(settings, clients.group_id(settings, "odd")).committed(
        [TopicPartition(JOBS_CONTROL.name(settings.prefix), 0)], timeout=30
    )
    assert committed[0].offset < 1


@pytest.mark.parametrize("stage", ["dispatch", "track", "render"])
def test_the_loops_of_the_other_stages_are_watched_too(make_settings: MakeSettings, tmp_path: Path, stage: str) -> None:
    (tmp_path / "registry.toml").write_text(REGISTRY)
    settings = make_settings(watchdog_s=LIMIT_S, registry=str(tmp_path / "registry.toml"))
    with running(settings, STAGE, stage) as process:
        children: set[int] = set()
        while (status := process.poll()) is None:
            children.update(device_pids(process))
            time.sleep(0.1)
        assert status == EXIT_HUNG
    log = log_of(settings, stage)
    assert "loop has not got on for" in log
    assert "in hang_here" in log
    assert bool(children) == (stage == "render"), "render has a device process"
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the end of the device process")


def test_long_work_that_gets_on_is_finished_and_shows_on_request_what_it_is_at(settings: Settings) -> None:
    send(settings, order("a", "long"), order("b"))
    with running(settings, STAGE, "worker") as process:
        until(lambda: "at the long one" in log_of(settings, "worker"), "the long one")
        process.send_signal(signal.SIGUSR1)
        until(lambda: "in handle" in log_of(settings, "worker"), "its stack")
        until(lambda: delivered(settings) == {"a", "b"}, "both records")
        assert process.poll() is None
    assert "hangs" not in log_of(settings, "worker")


def test_liveness_turns_while_the_loop_hangs_and_readiness_with_it(settings: Settings) -> None:
    with running(settings.replace(watchdog_s=30.0), STAGE, "worker") as process:
        until(lambda: ask(settings, "worker", "/readyz")[0] == 200, "readiness")
        status, body = ask(settings, "worker", "/readyz")
        assert body["partitions"], "it has the partitions of its group"
        assert ask(settings, "worker", "/livez") == (200, {"stage": "odd", "alive": True, "wrong": []})
        send(settings, order("a", "loop"))
        until(lambda: ask(settings, "worker", "/livez")[0] == 503, "liveness to turn")
        status, body = ask(settings, "worker", "/livez")
        assert status == 503
        assert "poll loop has not got on" in str(body["wrong"])
        assert ask(settings, "worker", "/readyz")[0] == 503
        assert process.poll() is None


def test_a_process_that_was_stopped_is_not_taken_for_a_hang(settings: Settings) -> None:
    """SIGSTOP for longer than the limit, in the middle of a record; then it goes on, and the record is done once."""
    send(settings, order("a", "long"))
    with running(settings, STAGE, "worker") as process:
        until(lambda: ask(settings, "worker", "/readyz")[0] == 200, "readiness")
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * LIMIT_S)  # what is tested is this silence
        process.send_signal(signal.SIGCONT)
        until(lambda: delivered(settings) == {"a"}, "the record")
        assert process.poll() is None
    assert "hangs" not in log_of(settings, "worker")


def test_what_waits_on_purpose_or_has_nothing_to_do_is_left_alone(make_settings: MakeSettings) -> None:
    settings = make_settings(watchdog_s=LIMIT_S, health_address="127.0.0.1:0")
    send(settings, order("late", at_ms=time.time_ns() // 1_000_000 + 3_600_000))
    (Path(settings.data_dir) / "logs").mkdir(parents=True)
    stages = ("dispatch", "track", "moderate", "reply")
    others = [running(settings, "ops", "run", stage) for stage in stages]
    with running(settings, "tests.e2e.odd_stage") as waiting:
        processes = [other.__enter__() for other in others]
        try:
            with running(settings, "ops", "run", "dispatch") as second:
                until(lambda: log_of(settings, "dispatch").count("standing by") == 2, "both schedulers")
                for stage in stages:
                    until(lambda stage=stage: ask(settings, stage, "/readyz")[0] == 200, f"readiness of {stage}")  # type: ignore[misc]
                until(lambda: "leading" in log_of(settings, "dispatch"), "a leader")
                time.sleep(5 * LIMIT_S)  # what is tested is this idleness
                assert [p.poll() for p in (*processes, second, waiting)] == [None] * (len(stages) + 2)
        finally:
            for other in others:
                other.__exit__(None, None, None)
    assert not any("hangs" in log_of(settings, stage) for stage in stages)


def test_nobody_is_ended_for_a_broker_that_is_down(kafka_jars: str, tmp_path: Path) -> None:
    from ops import topics_admin

    broker = LocalKafka(tmp_path / "kafka", "auto").start()
    try:
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers, prefix="down", data_dir=str(tmp_path), watchdog_s=LIMIT_S,
            health_address="127.0.0.1:0",
        )  # fmt: skip
        topics_admin.apply(settings, topics_admin.plan(settings, topics=(JOBS_CONTROL, NOTIFY_LOG)))
        with running(settings, STAGE, "worker") as process:
            send(settings, order("a"))
            until(lambda: delivered(settings) == {"a"}, "the first record")
            send(settings, order("b", "hang"))
            until(lambda: "handler" in str(ask(settings, "worker", "/livez")), "the hang to be seen")
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGKILL)
            until(lambda: "no broker answers" in log_of(settings, "worker"), "the outage to be seen")
            time.sleep(3 * LIMIT_S)  # what is tested is that nothing happens in this time
            assert process.poll() is None
            assert ask(settings, "worker", "/livez")[0] == 200
            broker.restart()
            assert process.wait(PATIENCE_S) == EXIT_HUNG, "the hang is still one when the broker is back"
        assert "a broker answers again" in log_of(settings, "worker")
    finally:
        broker.stop()


def test_a_look_sees_records_and_not_the_marks_of_transactions(settings: Settings) -> None:
    name, group = NOTIFY_LOG.name(settings.prefix), clients.group_id(settings, "looker")
    places = {(name, 0): -1, (name, 1): -1}
    assert look.unread(settings, group, places) == {}
    record = WebhookDelivery(id="a", job="a", attempt=1, outcome="delivered")
    reader = clients.consumer(settings, group)
    Transactions(settings, "t", "0").commit([Outgoing(NOTIFY_LOG, "a", record, partition=0)], [], {}, reader)
    assert look.unread(settings, group, places) == {(name, 0): 0}
    assert look.unread(settings, group, {(name, 0): 1}) == {}, "behind the record lies the mark of its transaction"
    reader.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
    assert look.unread(settings, group, places) == {}
    assert look.answers(settings)


def test_an_address_that_is_taken_ends_the_start_with_a_sentence(settings: Settings) -> None:
    taken = settings.bootstrap_servers
    with running(settings.replace(health_address=taken), "ops", "run", "reply") as process:
        assert process.wait(PATIENCE_S) == 1
    assert f"REELBUS_HEALTH_ADDRESS: cannot listen on {taken}" in log_of(settings, "reply")


def test_a_wrong_address_ends_the_start_with_what_would_be_right(settings: Settings) -> None:
    with running(settings.replace(health_address="everywhere"), "ops", "run", "reply") as process:
        assert process.wait(PATIENCE_S) == 2
    assert "expected host:port" in log_of(settings, "reply")
