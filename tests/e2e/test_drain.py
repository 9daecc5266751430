"""SIGTERM of every engine in the middle of its work, on the real broker: the record at work is finished and committed,
the group is left at once, and what a successor does is neither less nor more than the rest."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from ops.bus import clients
from ops.bus.process import EXIT_UNCOMMITTED
from ops.bus.sending import Outbox
from ops.settings import Settings
from schemas.codec import decode, encode
from schemas.events import JobEvent, JobFinished, JobState, WebhookDelivery
from schemas.records import Outgoing
from schemas.reports import plan_event
from schemas.topics import (
    CHUNKS,
    CHUNKS_RENDERED,
    JOBS_CLEARED,
    JOBS_CONTROL,
    JOBS_EVENTS,
    JOBS_FINISHED,
    JOBS_REQUESTED,
    JOBS_STATE,
    NOTIFY_LOG,
    WORKERS_STATE,
    Topic,
)
from schemas.work import ChunkRendered, Command, WorkerState
from tests.conftest import MakeSettings
from tests.core.plans import plan
from tests.e2e import test_dispatch_and_track as scheduling
from tests.e2e import test_faust_stages as faust_stages
from tests.e2e import test_render_stage as rendering
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
HANGING = "tests.e2e.hanging_stage"
PATIENCE_S = 120.0
ROUNDS = 3


def until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.1)


def until_records(settings: Settings, topic: Topic, count: int) -> None:
    until(lambda: len(read_all(settings, topic)) >= count, f"{count} records on {topic.entity}")


def members(settings: Settings, group: str) -> int:
    """Members that the broker counts now; one that was killed stays until its session is over."""
    admin = clients.admin(settings)
    return len(
        admin.describe_consumer_groups([f"{settings.prefix}.{group}"])[f"{settings.prefix}.{group}"].result().members
    )


def committed(settings: Settings, group: str, topic: Topic, partition: int = 0) -> int:
    reader = clients.consumer(settings, f"{settings.prefix}.{group}")
    place = TopicPartition(topic.name(settings.prefix), partition)
    return int(reader.committed([place], timeout=30)[0].offset)


def terminate(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def order(settings: Settings, job: str, reason: str) -> None:
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    outbox.send([Outgoing(JOBS_CONTROL, job, Command(job=job, action="cancel", reason=reason), partition=0)])
    while outbox.waiting():
        pass


def log_of(settings: Settings, name: str) -> str:
    return Path(settings.data_dir, f"{name}.log").read_text()


@pytest.mark.parametrize("argv", [("worker",), ("faust",), ("faust", "late")], ids=["worker", "faust", "faust-waits"])
def test_the_record_at_work_is_finished_and_committed(make_settings: MakeSettings, argv: tuple[str, ...]) -> None:
    settings = make_settings((JOBS_CONTROL, NOTIFY_LOG))
    for job in ("a", "b"):
        order(settings, job, "" if "late" in argv else "long")
    with running(settings, HANGING, *argv) as process:
        until(lambda: "at the long one" in log_of(settings, argv[-1]), "the record to be at work")
        assert terminate(process) == 0
    assert members(settings, "odd") == 0
    done = [decode(WebhookDelivery, record.value).job for record in read_all(settings, NOTIFY_LOG)]
    assert done == ["a"]
    assert committed(settings, "odd", JOBS_CONTROL) == 1


@pytest.mark.parametrize("argv", [("worker",), ("faust", "unacknowledged")], ids=["worker", "faust"])
def test_what_takes_too_long_is_given_up_uncommitted(make_settings: MakeSettings, argv: tuple[str, ...]) -> None:
    settings = make_settings((JOBS_CONTROL, NOTIFY_LOG), drain_s=2.0)
    order(settings, "a", "hang" if argv == ("worker",) else "")
    with running(settings, HANGING, *argv) as process:
        until(lambda: "at a record" in log_of(settings, argv[-1]), "the record to be at work")
        assert terminate(process) == EXIT_UNCOMMITTED
    assert "not finished within 2 s" in log_of(settings, argv[-1])
    assert members(settings, "odd") == 0
    assert read_all(settings, NOTIFY_LOG) == []
    assert committed(settings, "odd", JOBS_CONTROL) < 1


def test_faust_stages_stopped_again_and_again_do_every_record_once(make_settings: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(faust_stages.REGISTRY)
    settings = make_settings(topics=faust_stages.TOPICS, registry=str(tmp_path / "registry.toml"))
    names = [f"job-{number}" for number in range(1500)]
    producer = clients.producer(settings)
    for name in names:
        topic = JOBS_REQUESTED["bulk"].name(settings.prefix)
        producer.produce(topic, key=name, value=faust_stages.body(name, lane="bulk"))
    assert producer.flush(60) == 0
    seen = 0
    for _ in range(ROUNDS):
        with running(settings, "ops", "run", "moderate") as process:
            until_records(settings, JOBS_CLEARED["bulk"], seen + 50)
            assert terminate(process) == 0
        assert members(settings, "moderate") == 0
        seen = len(read_all(settings, JOBS_CLEARED["bulk"]))
    assert seen < len(names), "the stops came too late to show anything"
    with running(settings, "ops", "run", "moderate"):
        until_records(settings, JOBS_CLEARED["bulk"], len(names))
    cleared = Counter((record.key or b"").decode() for record in read_all(settings, JOBS_CLEARED["bulk"]))
    assert cleared == {f"default/{name}": 1 for name in names}
    events = Counter(decode(JobEvent, record.value).job for record in read_all(settings, JOBS_EVENTS))
    assert events == {f"default/{name}": 1 for name in names}


def test_the_leading_scheduler_hands_over_at_once(settings: Settings) -> None:
    rest = scheduling.Rest(settings)
    dispatch = ("ops", "run", "dispatch")
    with running(settings, "ops", "run", "track"), running(settings, *dispatch) as first:
        until(lambda: "leading" in log_of(settings, "dispatch"), "a leader")
        with running(settings, *dispatch):
            until(lambda: log_of(settings, "dispatch").count("standing by") == 2, "a stand-by")
            rest.send(*scheduling.plans(0, 10))
            rest.play_until_finished(3)
            assert terminate(first) == 0
            assert members(settings, "dispatch-leader") == 1
            finished = rest.play_until_finished(10)
    assert Counter(f.job for f in finished) == {f"default/j{n}": 1 for n in range(10)}
    assert set(rest.tasks.values()) == {1}, "a chunk was handed out twice"


def test_track_stopped_again_and_again_ends_every_job_once(make_settings: MakeSettings) -> None:
    settings = make_settings()
    jobs = [plan(f"j{number}") for number in range(600)]
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    kinds = ("job.planned", "job.started", "job.published")
    for number, kind in enumerate(kinds):
        source = ("split", "dispatch", "mux")[number]
        outbox.send([Outgoing(JOBS_EVENTS, p.job, plan_event(source, kind, p, at_ms=number)) for p in jobs])
    while outbox.waiting():
        pass
    for _ in range(ROUNDS):
        with running(settings, "ops", "run", "track") as process:
            until(lambda: "jobs known" in log_of(settings, "track"), "an assignment")
            assert terminate(process) == 0
        assert members(settings, "track") == 0
        Path(settings.data_dir, "track.log").unlink()
    with running(settings, "ops", "run", "track"):
        until_records(settings, JOBS_FINISHED, len(jobs))
    finished = Counter(decode(JobFinished, record.value).job for record in read_all(settings, JOBS_FINISHED))
    assert finished == {p.job: 1 for p in jobs}
    states = Counter(decode(JobState, r.value).sequence for r in read_all(settings, JOBS_STATE))
    assert sum(states.values()) == len(kinds) * len(jobs), "a state was written twice"


def test_a_render_worker_finishes_its_chunk_and_no_other(make_settings: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(rendering.REGISTRY)
    settings = make_settings(topics=rendering.TOPICS, registry=str(tmp_path / "registry.toml"), worker_id="w")
    producer = clients.producer(settings)

    def send(number: int) -> None:
        task = rendering.task_of(number, rendering.spec_of(number, model="steady"))
        producer.produce(CHUNKS["cpu"].name(settings.prefix), key=b"k", value=encode(task), partition=0)
        assert producer.flush(30) == 0

    send(0)
    reports = []
    for rounds in range(1, 3):
        with running(settings, "ops", "run", "render") as process:
            until(partial(at_work, settings, rounds), "a chunk on the device")
            # Not before: of chunks that come together any may be ready first, and then its offset must wait.
            send(rounds)
            until(partial(at_hand_or_done, settings, rounds), "another chunk at hand")
            assert terminate(process) == 0
        assert members(settings, "render.cpu") == 0
        reports = [decode(ChunkRendered, record.value) for record in read_all(settings, CHUNKS_RENDERED)]
        assert committed(settings, "render.cpu", CHUNKS["cpu"]) == len(reports)
    send(3)
    with running(settings, "ops", "run", "render"):
        until_records(settings, CHUNKS_RENDERED, 4)
    reports = [decode(ChunkRendered, record.value) for record in read_all(settings, CHUNKS_RENDERED)]
    assert Counter(report.status for report in reports) == {"rendered": 4}
    assert len({report.chunk_id for report in reports}) == 4


def at_hand_or_done(settings: Settings, number: int) -> bool:
    """Whether a worker has said that it has this chunk and an earlier one, or no earlier one is left."""
    name = rendering.task_of(number, rendering.spec_of(number, model="steady")).chunk_id
    states = [decode(WorkerState, record.value) for record in read_all(settings, WORKERS_STATE)]
    held = any(name in state.pending and len(state.pending) > 1 for state in states)
    return held or len(read_all(settings, CHUNKS_RENDERED)) >= number


def at_work(settings: Settings, workers: int) -> bool:
    """Whether so many workers, one after the other, have said that they do a step."""
    states = [decode(WorkerState, record.value) for record in read_all(settings, WORKERS_STATE)]
    begun, before = 0, 0
    for state in states:
        begun += state.step > 0 and before == 0
        before = 0 if state.leaving else state.step
    return begun >= workers


def test_a_stage_that_has_not_joined_yet_stops_as_well(make_settings: MakeSettings) -> None:
    """No broker at all: there is nothing to finish, and nothing to wait for."""
    settings = make_settings((JOBS_CONTROL,)).replace(bootstrap_servers="127.0.0.1:1")
    for how in ("worker", "faust"):
        environment = {**os.environ, **settings.environment()}
        process = subprocess.Popen([sys.executable, "-m", HANGING, how], env=environment, stderr=subprocess.PIPE)
        assert process.stderr is not None
        for line in process.stderr:
            if b"Connect" in line or b"127.0.0.1:1" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode in (0, 1), how
