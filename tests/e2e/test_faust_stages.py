"""moderate, split and prioritise as processes on the real broker: bad input, kills, clean stops."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from ops.bus import clients
from ops.bus.faust_app import EXIT_UNCOMMITTED
from ops.settings import Settings
from schemas import catalog
from schemas.codec import decode
from schemas.events import JobEvent
from schemas.plan import Plan
from schemas.records import Incoming
from schemas.request import LANES
from schemas.topics import (
    JOBS_CLEARED,
    JOBS_CONTROL,
    JOBS_EVENTS,
    JOBS_REQUESTED,
    NOTIFY_LOG,
    ORDERS_REQUESTED,
    PLANS_DRAFTED,
    PLANS_READY,
    TENANTS_PROMPTS,
    DeadLetters,
    Topic,
)
from schemas.work import Command
from stream_processors.moderate.reading import RIGHT
from tests.conftest import MakeSettings
from tests.e2e.reading import read_all

pytestmark = pytest.mark.kafka

IDS = json.loads((Path(catalog.__file__).parent / "ids.json").read_text())

REGISTRY = """
[[model]]
name = "shapes"
family = "ltx"
source = "none"
revision = "r1"
pools = ["cuda", "cpu"]
clip_frames = 17
given_frames = 5
sizes = [[64, 64]]
fps_min = 1
fps_max = 60
steps = 8
guidance = 2.0
chunk_cost_s = 0.4
"""
TOPICS = (
    *JOBS_REQUESTED.values(), *JOBS_CLEARED.values(), *PLANS_DRAFTED.values(), *PLANS_READY.values(), JOBS_EVENTS,
    JOBS_CONTROL, ORDERS_REQUESTED, NOTIFY_LOG, TENANTS_PROMPTS,
)  # fmt: skip
STAGES = ("moderate", "split", "prioritise")
DEADLINE_S = 120.0
Header = tuple[str, bytes]


@pytest.fixture
def settings(make_settings: MakeSettings, tmp_path: Any) -> Settings:
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY)
    return make_settings(topics=TOPICS, registry=str(registry))


def start(settings: Settings, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *command], env={**os.environ, **settings.environment()})


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(how)
    return process.wait(60)


@contextmanager
def running(settings: Settings, *stages: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    processes = {stage: start(settings, "-m", "ops", "run", stage) for stage in stages}
    try:
        yield processes
    finally:
        for process in processes.values():
            if process.poll() is None:
                stop(process, signal.SIGKILL)


def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.2)


Sent = tuple[bytes | None, bytes | None, list[Header]]


def publish(settings: Settings, topic: Topic, records: list[Sent], codec: str = "none") -> None:
    """All on partition 0, so that each record stands behind the one before it."""
    producer = clients.producer(settings, message_max_bytes=2_000_000, compression_type=codec)
    for key, value, headers in records:
        producer.produce(topic.name(settings.prefix), key=key, value=value, headers=[*headers], partition=0)
    assert producer.flush(30) == 0


def body(job_id: str, **changes: Any) -> bytes:
    shot = {"prompt": "a red ball moving right on a black background", "duration_s": 2}
    return json.dumps({"job_id": job_id, "shots": [shot], **changes}).encode()


def plans(settings: Settings) -> list[Incoming]:
    return [record for lane in LANES for record in read_all(settings, PLANS_READY[lane])]


def jobs(records: list[Incoming]) -> set[str]:
    return {(record.key or b"").decode() for record in records}


CODECS = ("gzip", "snappy", "lz4", "zstd")
SHOTS = [{"prompt": "x", "duration_s": 1}]
REFUSED: dict[str, tuple[bytes, str, str]] = {
    # name -> value, field of the reason, and what its sentence says
    "wrong-type": (body("wrong-type", shots=[{"prompt": 1, "duration_s": 1}]), "shots[0].prompt", "found 1"),
    "unknown-field": (body("unknown-field", shotz=1), "shotz", "did you mean shots"),
    "nan": (body("nan", shots=[{"prompt": "x", "duration_s": float("nan")}]), "shots[0].duration_s", "NaN"),
    "empty-prompt": (body("empty-prompt", shots=[{"prompt": "", "duration_s": 1}]), "shots[0].prompt", "1 to 2000"),
    "big-prompt": (body("big-prompt", shots=[{"prompt": "x" * 900_000, "duration_s": 1}]), "shots[0].prompt", "900000"),
    "no-frames": (body("no-frames", shots=[{"prompt": "x", "duration_s": 0}]), "shots[0].duration_s", "above 0"),
    "many-frames": (body("many-frames", shots=SHOTS * 2 + [{"prompt": "x", "duration_s": 600}]),
                    "shots[2].duration_s", "limit is 7200"),
    "huge": (body("huge", output={"width_px": 16384, "height_px": 16384}), "output.width_px", "from 64 to 4096"),
    "model": (body("model", model="sora"), "model", "known are shapes"),
    "lane": (body("lane", lane="vip"), "lane", "one of bulk, express, standard"),
    "other-lane": (body("other-lane", lane="bulk"), "lane", "jobs.requested.bulk"),
    "refused": (body("refused", shots=[{"prompt": "n u d e", "duration_s": 1}]), "shots[0].prompt", "category sexual"),
    "webhook": (body("webhook", webhook={"url": "https://example.org/"}), "webhook", "webhook_secret_file"),
    "late": (body("late", deadline_ms=1_000), "deadline_ms", "not after"),
}  # fmt: skip
DEAD: list[tuple[bytes | None, bytes | None, str]] = [
    (b"broken", b'{"job_id": "broken", "shots"', "value: not valid JSON: Input data was truncated"),
    (b"tombstone", None, f"value: missing (a tombstone); {RIGHT}"),
    (None, bytes(range(256)), f"schema id 16909060 is not known; known are 1 to {max(map(int, IDS))}"),
    (b"\xff\xfe", b"\xfe\x80random", f"value: not valid JSON: invalid character (byte 0); {RIGHT}"),
    (b"no-id", b"{}",
     "job_id: missing; expected a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)"),
    (b"bad-id", body("../etc"),
     'job_id: found "../etc"; expected a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)'),
    (b"deep", b'{"job_id": "deep", "metadata": ' + b'{"a":' * 10_000,
     "value: not valid JSON: it is nested too deeply"),
]  # fmt: skip


def test_every_bad_record_is_answered_and_the_next_one_is_processed(settings: Settings) -> None:
    ours: list[Header] = [("ce_id", b"id-1"), ("traceparent", b"00-aa-bb-01"), ("cookie", b"secret")]
    hostile: list[Header] = [
        ("Faust-Ag-ReplyTo", NOTIFY_LOG.name(settings.prefix).encode()), ("Faust-Ag-CorrelationId", b"1"),
        ("note", b"\xff\n"), ("note", b"twice"),
    ]  # fmt: skip
    # As large as the broker takes: with the headers of a dead letter it is too large, and is cut.
    largest = b"\xfe" * 1_048_400
    bad: list[Sent] = [
        *((name.encode(), value, hostile) for name, (value, _, _) in REFUSED.items()),
        (None, body("keyless"), hostile),
        (b"other", body("other-key"), hostile),
        *((key, value, hostile) for key, value, _ in DEAD),
        (b"largest", largest, hostile),
    ]
    mixed = [r for i, wrong in enumerate(bad) for r in (wrong, (f"good-{i}".encode(), body(f"good-{i}"), ours))]
    source = JOBS_REQUESTED["standard"]
    with running(settings, *STAGES) as processes:
        publish(settings, source, mixed)
        for codec in CODECS:  # a client may compress as it likes; one that shrinks nothing sends as it is
            publish(settings, source, [(codec.encode(), body(codec, metadata={"note": "x" * 1000}), ours)], codec)
        good = {f"default/{name}" for name in (*(f"good-{i}" for i in range(len(bad))), *CODECS)}
        until(lambda: jobs(plans(settings)) == good, "all good jobs")
        assert [stop(process) for process in processes.values()] == [0, 0, 0]

    for record in plans(settings):
        plan = decode(Plan, record.value)
        assert plan.placement is not None
        assert (plan.placement.pool, plan.placement.weight, plan.placement.chunk_cost_s) == ("cpu", 1.0, 0.4)
        assert [span.frames for span in plan.chunks] == [17, 12, 12, 7]
        headers = dict(record.headers)
        assert (headers["traceparent"], headers["ce_type"]) == (b"00-aa-bb-01", b"reelbus.plans.ready.standard.v1")
        assert (plan.origin.ce_id, "cookie" in headers) == ("id-1", False)

    events = [decode(JobEvent, record.value) for record in read_all(settings, JOBS_EVENTS)]
    reasons = {e.job.removeprefix("default/"): e.reason for e in events if e.type == "job.rejected" and e.reason}
    assert reasons.keys() == {*REFUSED, "keyless", "other-key"}
    for name, (_, field, words) in REFUSED.items():
        assert reasons[name].field == field
        assert words in reasons[name].message
    assert "must be the job_id" in reasons["keyless"].message
    assert "must be the job_id" in reasons["other-key"].message
    for job in good:
        assert [e.type for e in events if e.job == job] == ["job.accepted", "job.planned"]

    *letters, cut = read_all(settings, DeadLetters(source))
    assert [(letter.key, letter.value) for letter in letters] == [(key, value) for key, value, _ in DEAD]
    first_dead = 2 * (len(REFUSED) + 2)
    for at, (letter, (_, _, sentence)) in enumerate(zip(letters, DEAD, strict=True)):
        headers = dict(letter.headers)
        assert headers["__dlq.errors.topic"] == source.name(settings.prefix).encode()
        assert headers["__dlq.errors.partition"] == b"0"
        assert headers["__dlq.errors.offset"] == str(first_dead + 2 * at).encode()
        assert headers["__dlq.errors.group"] == f"{settings.prefix}.moderate".encode()
        assert headers["__dlq.errors.message"].decode() == sentence
        assert headers["reelbus.error.class"] == b"InvalidMessage"
        assert headers["reelbus.error.stage"] == b"moderate"
        assert headers["reelbus.error.code"] == b"invalid_message"
        assert int(headers["reelbus.error.first-failed-at"]) >= letter.timestamp_ms - 60_000
        assert letter.headers[: len(hostile)] == tuple(hostile)
    assert cut.value == largest[:32768]
    assert dict(cut.headers)["reelbus.error.cut"].startswith(b"of 1048400 bytes with sha256 ")
    assert read_all(settings, NOTIFY_LOG) == []


def test_records_that_break_the_contract_between_stages_are_dead_letters(settings: Settings) -> None:
    broken = [(b"default/x", b"{}", []), (b"default/x", None, []), (None, b"\xff", []), (None, None, [])]
    publish(settings, JOBS_CLEARED["bulk"], broken)
    publish(settings, PLANS_DRAFTED["express"], broken)
    topics = (JOBS_CLEARED["bulk"], PLANS_DRAFTED["express"])
    with running(settings, "split", "prioritise"):
        until(lambda: all(len(read_all(settings, DeadLetters(t))) == 4 for t in topics), "eight dead letters")
    for topic, stage, kind in zip(topics, ("split", "prioritise"), ("ClearedJob", "Plan"), strict=True):
        letters = read_all(settings, DeadLetters(topic))
        kept = [(key, value) for key, value, _ in broken[:-1]]
        assert [(letter.key, letter.value) for letter in letters] == [*kept, (b"", None)]
        assert {dict(letter.headers)["reelbus.error.stage"] for letter in letters} == {stage.encode()}
        assert all(kind in dict(letter.headers)["__dlq.errors.message"].decode() for letter in letters)


def test_nothing_is_lost_when_every_stage_is_killed(settings: Settings) -> None:
    names = [f"{lane}-{i}" for i in range(400) for lane in LANES]
    producer = clients.producer(settings)
    for name in names:
        lane = name.split("-")[0]
        producer.produce(JOBS_REQUESTED[lane].name(settings.prefix), key=name, value=body(name, lane=lane))  # type: ignore[index]
    assert producer.flush(30) == 0
    with running(settings, *STAGES) as processes:
        until(lambda: len(plans(settings)) >= 30, "the first plans")
        for process in processes.values():
            stop(process, signal.SIGKILL)
    assert len(jobs(plans(settings))) < len(names), "the kill came too late to show anything"
    wanted = {f"default/{name}" for name in names}
    with running(settings, *STAGES):
        until(lambda: jobs(plans(settings)) == wanted, "all plans")
    said: dict[bytes | None, bytes | None] = {}
    for record in plans(settings):
        assert said.setdefault(record.key, record.value) == record.value, "a repeated plan differs"
    ids: dict[tuple[str, str], str] = {}
    for event in (decode(JobEvent, record.value) for record in read_all(settings, JOBS_EVENTS)):
        assert ids.setdefault((event.job, event.type), event.id) == event.id, "a repeated event has another id"
    assert len(ids) == 2 * len(names)


def test_an_express_job_does_not_wait_for_what_was_fetched_of_a_backlog(settings: Settings) -> None:
    """The client hands over a partition's records before those of the next; 8,000 fit into what it fetches at once."""
    publish(settings, JOBS_REQUESTED["bulk"], [(b"b%d" % i, body(f"b{i}", lane="bulk"), []) for i in range(8_000)])
    with running(settings, "moderate"):
        until(lambda: bool(read_all(settings, JOBS_CLEARED["bulk"])), "the backlog's first")
        publish(settings, JOBS_REQUESTED["express"], [(b"e", body("e", lane="express"), [])])
        until(lambda: bool(read_all(settings, JOBS_CLEARED["express"])), "the express job")
    (sent,), (cleared,) = read_all(settings, JOBS_REQUESTED["express"]), read_all(settings, JOBS_CLEARED["express"])
    bulk = [record.timestamp_ms for record in read_all(settings, JOBS_CLEARED["bulk"])]
    meanwhile = sum(sent.timestamp_ms < at_ms < cleared.timestamp_ms for at_ms in bulk)
    assert meanwhile < 1_000


def test_a_clean_stop_leaves_nothing_to_do_again(settings: Settings) -> None:
    publish(settings, JOBS_REQUESTED["express"], [(b"a", body("a", lane="express"), [])])
    with running(settings, "moderate") as processes:
        until(lambda: len(read_all(settings, JOBS_CLEARED["express"])) == 1, "the first job")
        assert stop(processes["moderate"]) == 0
    publish(settings, JOBS_REQUESTED["express"], [(b"b", body("b", lane="express"), [])])
    with running(settings, "moderate") as processes:
        until(lambda: "default/b" in jobs(read_all(settings, JOBS_CLEARED["express"])), "the second job")
        assert stop(processes["moderate"], signal.SIGINT) == 0
    assert len(read_all(settings, JOBS_CLEARED["express"])) == 2


FAULTY_STAGE = """
from ops import settings
from ops.bus import faust_app
from schemas.work import Command
from schemas.records import Outgoing
from schemas.topics import JOBS_CLEARED, JOBS_CONTROL

def decide(record):
    if record.key == b"bug":
        raise ValueError("a bug")
    if record.key == b"large":
        return [Outgoing(JOBS_CONTROL, "a", Command(job="a", action="cancel", reason="x" * 5000))]
    return []

def give_up(record, error):
    return [Outgoing(JOBS_CONTROL, "a", Command(job="a", action="cancel", reason=type(error).__name__))]

made = settings.load()
app = faust_app.build_app(made, "faulty")
faust_app.attach(app, made, "faulty", JOBS_CLEARED["bulk"], decide, give_up)
faust_app.run(app)
"""


def committed_offset(settings: Settings) -> int:
    reader = clients.consumer(settings, f"{settings.prefix}.faulty")
    place = TopicPartition(JOBS_CLEARED["bulk"].name(settings.prefix), 0)
    (committed,) = reader.committed([place], timeout=30)
    reader.close()
    return committed.offset


def test_a_send_that_fails_ends_the_process_and_commits_nothing_past_the_record(settings: Settings) -> None:
    """Faust itself would take a record for done whose agent raised. A send fails here because the broker refuses it."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, JOBS_CONTROL.name(settings.prefix))
    limit = ConfigEntry("max.message.bytes", "1000", incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(limit)
    admin = clients.admin(settings)
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result()
    publish(settings, JOBS_CLEARED["bulk"], [(b"fine", b"1", []), (b"large", b"2", []), (b"fine", b"3", [])])
    process = start(settings, "-c", FAULTY_STAGE)
    assert process.wait(60) == EXIT_UNCOMMITTED
    assert committed_offset(settings) <= 1


def test_a_bug_makes_a_dead_letter_ends_its_job_and_lets_the_next_record_pass(settings: Settings) -> None:
    publish(settings, JOBS_CLEARED["bulk"], [(b"fine", b"1", []), (b"bug", b"2", []), (b"fine", b"3", [])])
    process = start(settings, "-c", FAULTY_STAGE)
    until(lambda: committed_offset(settings) == 3, "the record behind it")
    assert stop(process) == 0
    (letter,) = read_all(settings, DeadLetters(JOBS_CLEARED["bulk"]))
    headers = dict(letter.headers)
    assert (letter.value, headers["reelbus.error.code"]) == (b"2", b"bug")
    assert headers["__dlq.errors.message"] == b"faulty raised ValueError: a bug"
    (said,) = read_all(settings, JOBS_CONTROL)
    assert decode(Command, said.value).reason == "Bug"


def test_bugs_in_a_row_stop_the_stage_before_the_topic_is_a_heap_of_dead_letters(settings: Settings) -> None:
    publish(settings, JOBS_CLEARED["bulk"], [(b"bug", b"", [])] * 25)
    process = start(settings, "-c", FAULTY_STAGE)
    assert process.wait(60) == EXIT_UNCOMMITTED
    assert len(read_all(settings, DeadLetters(JOBS_CLEARED["bulk"]))) == 19
    assert committed_offset(settings) <= 19


def test_both_clients_send_a_key_to_the_same_partition(settings: Settings) -> None:
    """Events of one job come from Faust and from librdkafka; track needs all of them in one partition."""
    names = [f"job-{i}" for i in range(20)]
    producer = clients.producer(settings)
    for name in names:
        producer.produce(JOBS_REQUESTED["bulk"].name(settings.prefix), key=name, value=body(name, lane="bulk"))
        producer.produce(JOBS_CONTROL.name(settings.prefix), key=f"default/{name}", value=b"{}")
    assert producer.flush(30) == 0
    with running(settings, "moderate"):
        until(lambda: len(jobs(read_all(settings, JOBS_EVENTS))) == len(names), "all events")
    by_faust = {record.key: record.partition for record in read_all(settings, JOBS_EVENTS)}
    by_librdkafka = {record.key: record.partition for record in read_all(settings, JOBS_CONTROL)}
    assert by_faust == by_librdkafka
    assert len(set(by_faust.values())) > 1
