"""On a broker with SASL_SSL, SCRAM and default-deny: stages work with their own grants only."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops.bus import clients
from ops.settings import Settings
from ops.stages import STAGES
from producers.client.signing import Signer
from schemas.topics import JOBS_REQUESTED
from tests.e2e import secure_world
from tests.e2e.access_probes import Actor, Probe, probes
from tests.e2e.secure_broker import SecureBroker, secure_broker
from tests.e2e.secure_world import World

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

FINISH_S = 240.0


@pytest.fixture(scope="module")
def secured(kafka_jars: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    folder = tmp_path_factory.mktemp("secure")
    bare = Settings(store=str(folder / "store"), data_dir=str(folder / "data"))
    with secure_broker(folder, bare, kafka_jars) as broker:
        yield broker


@pytest.fixture(scope="module")
def world(secured: SecureBroker) -> World:
    return secure_world.build(secured, "reelbus")


@pytest.fixture(scope="module")
def probed(secured: SecureBroker) -> World:
    """Another installation on the same cluster: probes that rightfully succeed leave their traces there."""
    return secure_world.build(secured, "probed")


def submit(world: World, tenant: str, job_id: str) -> None:
    """One signed job, as that tenant, in JSON."""
    settings = world.settings(f"tenant-{tenant}")
    topic = JOBS_REQUESTED["standard"].name(world.prefix)
    request = {
        "job_id": job_id, "tenant": tenant, "model": "fake", "reply_topic": world.reply_topic(tenant),
        "shots": [{"prompt": "a red ball", "duration_s": 0.5}],
        "output": {"width_px": 256, "height_px": 256, "fps": 24},
    }  # fmt: skip
    value = json.dumps(request).encode()
    signer = Signer.from_file(world.broker.folder / "key.hmac", "k1")
    faults: list[object] = []
    producer = clients.producer(settings)
    header = signer.sign(topic, tenant, job_id, value)
    producer.produce(
        topic, key=job_id, value=value, headers=[header], on_delivery=lambda error, _: faults.append(error)
    )
    producer.flush(30)
    assert faults == [None]


def replies(world: World, tenant: str, job_id: str, deadline_s: float) -> list[dict[str, object]]:
    """What a tenant hears of a job on its own topic, in a group of its own name, up to the end of the job."""
    settings = world.settings(f"tenant-{tenant}")
    consumer = clients.consumer(settings, f"{world.prefix}.replies.{tenant}.service")
    consumer.subscribe([world.reply_topic(tenant)])
    heard: list[dict[str, object]] = []
    try:
        while not heard or heard[-1]["type"] not in ("finished", "rejected"):
            assert time.monotonic() < deadline_s, f"heard of {job_id} only {heard}"
            message = consumer.poll(0.5)
            if message is not None and message.error() is None and message.key() == job_id.encode():
                heard.append(json.loads(message.value()))
                consumer.commit(message=message, asynchronous=False)
    finally:
        consumer.close()
    return heard


def test_a_job_goes_through_with_every_stage_on_its_own_grants_only(world: World) -> None:
    began = world.broker.log_position()
    with ExitStack() as stack:
        running = [stack.enter_context(world.stage(name)) for name in STAGES]
        submit(world, "acme", "job-1")
        try:
            heard = replies(world, "acme", "job-1", time.monotonic() + FINISH_S)
        except AssertionError as exc:
            logs = "\n".join(f"{stage.name}: {stage.text()[-1500:]}" for stage in running)
            raise AssertionError(f"{exc}\n{world.broker.denials(began)}\n{logs}") from None
        ended = [stage.name for stage in running if stage.process.poll() is not None]
    assert not ended
    assert [reply["type"] for reply in heard] == ["accepted", "started", "finished"]
    result = heard[-1]["result"]
    assert isinstance(result, dict)
    assert result["state"] == "completed"
    assert world.broker.denials(began) == []


REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}  # fmt: skip
"""What a broker says to somebody who may not. The last one hides a topic; that it is there, the control shows."""


class Cast:
    """Everybody who acts in the probes, each with one set of clients."""

    def __init__(self, world: World, other: str) -> None:
        self.world, self.theirs = world, world.reply_topic(other)
        self.actors: dict[str, Actor] = {}

    def __getitem__(self, user: str) -> Actor:
        if user not in self.actors:
            tenant = user.removeprefix("tenant-")
            group = f"{self.world.prefix}.replies.{tenant}.probe" if tenant != user else f"{self.world.prefix}.probe"
            open_topic = JOBS_REQUESTED["standard"].name(self.world.prefix)
            self.actors[user] = Actor(self.world.settings(user), group, open_topic, self.theirs)
        return self.actors[user]


def refusal(probe: Probe, actor: Actor) -> str:
    """Name of the broker's refusal, or "" when the call succeeded."""
    try:
        probe.call(actor, probe.target)
    except KafkaException as exc:
        return str(exc.args[0].name())
    return ""


def test_no_tenant_reaches_what_is_anothers_or_the_stages(probed: World) -> None:
    cast = Cast(probed, "globex")
    table = probes(probed.prefix, "globex")
    assert len({str(probe) for probe in table}) == len(table) >= 200
    allowed_names = {KafkaError(code).name() for code in REFUSALS}
    wrong = []
    for probe in table:
        said = refusal(probe, cast["tenant-acme"])
        control = refusal(probe, cast[probe.rightful])
        if said not in allowed_names or control:
            wrong.append(f"{probe}: acme {said or 'succeeded'}; {probe.rightful} {control or 'succeeded'}")
    assert not wrong, "\n".join(wrong)
