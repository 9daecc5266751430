"""Every stage, tenant and operator does its work with its own grants, and a stage that lacks one says which."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from ops.bus import clients
from ops.settings import PACKAGE_ROOT
from ops.stages import FOLLOWED, STAGES
from producers.client import Client, Job, NoVideo, Operator
from schemas.codec import decode
from schemas.errors import JobRejected
from schemas.events import JobFinished, JobReply, WebhookDelivery
from schemas.records import Headers, Incoming
from schemas.topics import (
    CHUNKS,
    CHUNKS_RENDERED,
    JOBS_FINISHED,
    JOBS_REQUESTED,
    NOTIFY_LOG,
    ORDERS_REQUESTED,
    CallersTopic,
    DeadLetters,
    Topic,
)
from tests.e2e.access.world import RunningStage, World, environment
from tests.e2e.reading import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

FINISH_S = 240.0
REQUESTED = JOBS_REQUESTED["standard"]
RUBBISH = b"rubbish"


@dataclass
class Pipeline:
    """All stages, each a process with a user of its own, and a tenant's client for each of two tenants."""

    world: World
    running: list[RunningStage]
    acme: Client
    globex: Client
    producers: dict[str, Producer] = field(default_factory=dict)

    def until(self, ready: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + FINISH_S
        while not ready():
            ended = [stage for stage in self.running if stage.process.poll() is not None]
            assert not ended, "\n".join(f"{stage.name} ended: {stage.text()[-1500:]}" for stage in ended)
            assert time.monotonic() < deadline_s, f"not in time: {what}"
            time.sleep(0.1)

    def read(self, topic: Topic | DeadLetters | CallersTopic) -> list[Incoming]:
        """All but what a test put there as rubbish."""
        return [record for record in read_all(self.world.admin, topic) if record.key != RUBBISH]

    def send(self, user: str, topic: Topic, key: str, value: bytes, headers: Headers = ()) -> None:
        """A record as it stands, with that user's login."""
        faults: list[object] = []
        if user not in self.producers:
            self.producers[user] = clients.producer(self.world.settings(user))
        producer, name = self.producers[user], topic.name(self.world.prefix)
        producer.produce(name, value, key, headers=list(headers), on_delivery=lambda error, _: faults.append(error))
        producer.flush(30)
        assert faults == [None]


@pytest.fixture(scope="module")
def pipeline(world: World) -> Iterator[Pipeline]:
    """Ends with the broker's word that it had to refuse nobody anything."""
    began = world.broker.log_position()
    with ExitStack() as stack:
        running = [stack.enter_context(world.stage(name)) for name in STAGES]
        tenants = [
            stack.enter_context(Client(world.settings(f"tenant-{name}"), tenant=name, signer=world.signer(name)))
            for name in ("acme", "globex")
        ]
        yield Pipeline(world, running, *tenants)
        assert [stage.name for stage in running if stage.process.poll() is not None] == []
        for stage in running:
            stage.process.terminate()
    # Clients of the probes still ask for what they were refused, in the other installation.
    assert [denial for denial in world.broker.denials(began) if "probed." not in denial["name"]] == []


def ball(colour: str, duration_s: float = 0.5, **more: object) -> dict[str, Any]:
    shots = [{"prompt": f"a {colour} ball", "duration_s": duration_s}]
    return {"model": "fake", "shots": shots, "output": {"width_px": 256, "height_px": 256, "fps": 24}, **more}


def told(job: Job) -> list[str]:
    return [reply.type for reply in job.events(FINISH_S)]


def test_a_job_goes_through_all_stages_to_its_tenant(pipeline: Pipeline, tmp_path: Path) -> None:
    job = pipeline.acme.submit(ball("red"))
    assert told(job) == ["accepted", "started", "finished"]
    assert job.download(tmp_path / "ball.mp4").stat().st_size > 0
    operator = Operator(pipeline.world.settings(f"{pipeline.world.prefix}-ops"))
    state = operator.state(f"acme/{job.job_id}")
    assert state is not None
    assert state.state == "completed"


def test_a_tenant_cancels_its_own_job(pipeline: Pipeline) -> None:
    job = pipeline.globex.submit(ball("long", duration_s=60))
    job.cancel("changed our mind")
    with pytest.raises(NoVideo, match="changed our mind"):
        job.wait(FINISH_S)


def test_a_tenant_sends_a_batch_and_follows_it_on_its_reply_topic(pipeline: Pipeline, tmp_path: Path) -> None:
    world, rows = pipeline.world, tmp_path / "rows.jsonl"
    own = {"tenant": "acme", "reply_topic": world.reply_topic("acme")}
    rows.write_text("".join(json.dumps(ball(f"no. {n}", job_id=f"row-{n}", **own)) + "\n" for n in range(3)))
    variables = environment(world.settings("tenant-acme", data_dir=str(tmp_path)))
    command = [sys.executable, "-m", "ops", "batch", "submit", str(rows), "--tenant", "acme"]
    command += ["--signing-key", str(world.key_file("acme"))]
    done = subprocess.run(command, env=variables, cwd=PACKAGE_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for n in range(3):
        assert told(pipeline.acme.job(f"row-{n}"))[-1] == "finished"


class Receiver(BaseHTTPRequestHandler):
    """Answers 500 to the first try of a message and 200 to the next."""

    tries: dict[str, int]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        name = self.headers["webhook-id"]
        self.tries[name] = self.tries.get(name, 0) + 1
        self.send_response(500 if self.tries[name] == 1 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not into the output of the tests."""


def test_a_webhook_is_tried_again_and_delivered(pipeline: Pipeline) -> None:
    handler = type("_Receiver", (Receiver,), {"tries": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        hook = {"url": f"http://127.0.0.1:{server.server_port}/in"}
        with pytest.raises(JobRejected, match="model"):
            pipeline.acme.submit(ball("blue", webhook=hook) | {"model": "nobody"}).wait(FINISH_S)
        pipeline.until(lambda: 2 in handler.tries.values(), "the second try")
        pipeline.until(lambda: len(pipeline.read(NOTIFY_LOG)) == 2, "the log of both tries")
        server.shutdown()
    logged = [decode(WebhookDelivery, record.value) for record in pipeline.read(NOTIFY_LOG)]
    assert [(one.attempt, one.outcome) for one in logged] == [(1, "retry"), (2, "delivered")]


def test_every_stage_can_bury_what_it_cannot_read(pipeline: Pipeline) -> None:
    """A record of rubbish on every topic that a stage of this installation consumes."""
    consumed = {t for stage in STAGES.values() for t in stage.reads if t.record is not None and not t.compacted}
    consumed -= {CHUNKS["cuda"], *FOLLOWED}  # nobody serves that pool here
    assert len(consumed) >= 20
    places = {TopicPartition(DeadLetters(topic).name(pipeline.world.prefix), 0) for topic in consumed}
    admin = clients.admin(pipeline.world.admin)
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]

    def letters() -> dict[str, int]:
        asked = admin.list_offsets(dict.fromkeys(places, latest))
        return {place.topic: answer.result().offset for place, answer in asked.items()}

    before = letters()
    for topic in consumed:
        pipeline.send("admin", topic, RUBBISH.decode(), RUBBISH)
    pipeline.until(lambda: all(count > before[name] for name, count in letters().items()), "a dead letter of each")


def test_one_tenant_cannot_act_as_another(pipeline: Pipeline) -> None:
    """What the broker cannot see: acme may write requests and orders, but not in the name of globex."""
    world = pipeline.world
    theirs = pipeline.globex.submit(ball("green"))
    replies = CallersTopic(world.reply_topic("globex"))
    attacks = [
        (REQUESTED, "forged", ball("black", job_id="forged", tenant="globex", reply_topic=world.reply_topic("acme"))),
        (ORDERS_REQUESTED, theirs.job_id, {"job_id": theirs.job_id, "tenant": "globex", "action": "cancel"}),
    ]
    for topic, key, plain in attacks:
        value = json.dumps(plain).encode()
        header = world.signer("acme").sign(topic.name(world.prefix), "globex", key, value)
        pipeline.send("tenant-acme", topic, key, value, [header])

        def buried(topic: Topic = topic, key: str = key) -> bool:
            letters = [letter for letter in pipeline.read(DeadLetters(topic)) if letter.key == key.encode()]
            return [dict(letter.headers)["reelbus.error.code"] for letter in letters] == [b"signature_wrong"]

        pipeline.until(buried, f"the dead letter of {key}")
    value = json.dumps(ball("white", job_id="astray", tenant="acme", reply_topic=replies.full_name)).encode()
    header = world.signer("acme").sign(REQUESTED.name(world.prefix), "acme", "astray", value)
    pipeline.send("tenant-acme", REQUESTED, "astray", value, [header])
    ended = lambda: {record.key for record in pipeline.read(JOBS_FINISHED)}  # noqa: E731
    pipeline.until(lambda: b"acme/astray" in ended(), "the end of the job that names a foreign reply topic")
    assert told(theirs) == ["accepted", "started", "finished"]
    assert {record.key for record in pipeline.read(replies)} & {b"forged", b"astray"} == set()


def test_a_request_sent_again_by_somebody_else_changes_nothing(pipeline: Pipeline) -> None:
    """The very bytes, signature and all, while the signature is fresh: globex may write to the topic as well."""
    world = pipeline.world
    job = pipeline.acme.submit(ball("yellow"))
    assert told(job) == ["accepted", "started", "finished"]
    key = job.job_id.encode()
    (sent,) = [record for record in pipeline.read(REQUESTED) if record.key == key]
    replies = CallersTopic(world.reply_topic("acme"))
    rendered = len(pipeline.read(CHUNKS_RENDERED))
    pipeline.send("tenant-globex", REQUESTED, job.job_id, sent.value or b"", sent.headers)
    # What acme asks for under the same id comes after it on every topic, for the key is the same.
    other = json.dumps(ball("orange", job_id=job.job_id, tenant="acme", reply_topic=replies.full_name)).encode()
    header = world.signer("acme").sign(REQUESTED.name(world.prefix), "acme", job.job_id, other)
    pipeline.send("tenant-acme", REQUESTED, job.job_id, other, [header])

    def heard() -> list[JobReply]:
        return [decode(JobReply, record.value) for record in pipeline.read(replies) if record.key == key]

    pipeline.until(lambda: heard()[-1].type == "rejected", "the refusal of the other request")
    accepted, started, finished, again, rejected = heard()
    assert [r.type for r in (accepted, started, finished, rejected)] == ["accepted", "started", "finished", "rejected"]
    assert again.id == finished.id
    ends = [decode(JobFinished, record.value) for record in pipeline.read(JOBS_FINISHED)]
    assert [end.state for end in ends if end.job == f"acme/{job.job_id}"] == ["completed"]
    assert len(pipeline.read(CHUNKS_RENDERED)) == rendered
