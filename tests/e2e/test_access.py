"""On a broker with SASL_SSL, SCRAM and default-deny: stages work with their own grants only."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import certifi
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource

from ops import access, access_admin, topics_drift
from ops.access import Grant
from ops.access_admin import AccessChange
from ops.bus import clients
from ops.local.kafka import LocalKafka
from ops.settings import PACKAGE_ROOT, Settings
from ops.stages import STAGES
from producers.client.signing import Signer
from schemas.errors import Fatal
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


@pytest.mark.parametrize("stage", ["moderate", "dispatch", "track", "reply"])
def test_every_grant_that_is_missing_is_named_before_the_stage_starts(world: World, stage: str) -> None:
    needed = access.stage_grants(STAGES[stage], world.prefix, world.tenants)
    settings = world.stage_settings(stage)
    assert access_admin.missing(settings, needed) == []
    for grant in needed:
        # DESCRIBE comes with READ and WRITE; about beginnings of names and transactional ids nobody can ask.
        if grant.pattern == "literal" and grant.operation != "DESCRIBE":
            with world.without(grant):
                lacking = access_admin.missing(settings, needed)
            # A topic that may not even be described gives no answer about anything else.
            assert grant in lacking
            assert {one.name for one in lacking} == {grant.name}


def test_the_command_line_names_user_operation_and_resource(world: World) -> None:
    topic = f"{world.prefix}.jobs.state.v1"
    grants = [g for g in access.stage_grants(STAGES["track"], world.prefix) if g.name == topic]
    command = [sys.executable, "-m", "ops", "topics", "acls", "check", "track"]
    environment = secure_world.environment(world.stage_settings("track"))
    with world.without(*(grant for grant in grants if grant.operation == "WRITE")):
        lacking = subprocess.run(command, env=environment, cwd=PACKAGE_ROOT, capture_output=True, text=True)
    granted = subprocess.run(command, env=environment, cwd=PACKAGE_ROOT, capture_output=True, text=True)
    assert (lacking.returncode, granted.returncode) == (1, 0)
    assert f"stage track: reelbus-track may not WRITE topic {topic};" in lacking.stderr


@pytest.mark.parametrize(
    ("stage", "operation", "resource", "name"),
    [
        ("inspect", "READ", "topic", "chunks.rendered.v1"),
        ("inspect", "READ", "group", "inspect"),
        ("dispatch", "READ", "group", "dispatch-leader"),
        ("dispatch", "READ", "topic", "dispatch.state.v1"),
        ("track", "WRITE", "transactional-id", "track-"),
        ("render", "WRITE", "topic", "workers.state.v1"),
    ],
)
def test_a_running_stage_ends_with_a_sentence_when_a_grant_is_missing(
    world: World, stage: str, operation: str, resource: str, name: str
) -> None:
    full = f"{world.prefix}.{name}"
    needed = access.stage_grants(STAGES[stage], world.prefix)
    (grant,) = [g for g in needed if (g.operation, g.resource, g.name) == (operation, resource, full)]
    with world.without(grant), world.stage(stage) as running:
        status = running.process.wait(FINISH_S)
        last = running.text().strip().splitlines()[-1]
    assert status > 0
    assert full in last
    assert f"may not {operation}" in last or "TOPIC_AUTHORIZATION_FAILED" in last


def test_drift_shows_what_was_changed_by_hand_and_revoke_takes_grants_back(world: World) -> None:
    acme, outsider = access.tenant_principal("acme"), "User:outsider"
    theirs, events = world.reply_topic("globex"), f"{world.prefix}.jobs.events.v1"
    by_hand = [
        Grant(acme, "topic", theirs, "literal", "READ"),
        Grant(outsider, "topic", f"{world.prefix}.", "prefixed", "READ"),
        Grant(outsider, "topic", "elsewhere", "literal", "READ"),
    ]
    before = topics_drift.topics(world.admin)
    assert (before, topics_drift.access(world.admin)) == ([], ([], ""))
    access_admin.apply(world.admin, [AccessChange("grant", grant) for grant in by_hand])
    configure(world, events, "message.timestamp.type", "LogAppendTime", AlterConfigOpType.SET)
    try:
        world.await_access(missing=set(by_hand[:2]))
        drift, why_not = topics_drift.access(world.admin)
        assert why_not == ""
        assert [(d.kind, d.what) for d in drift] == [("extra-grant", acme), ("foreign-grant", outsider)]
        assert [(d.kind, d.what) for d in topics_drift.topics(world.admin)] == [("extra-setting", events)]
        access_admin.apply(world.admin, access_admin.plan(world.admin), revoke=True)
        world.await_access(missing=set(by_hand[1:2]))
    finally:
        configure(world, events, "message.timestamp.type", "", AlterConfigOpType.DELETE)
        access_admin.apply(world.admin, [AccessChange("revoke", grant) for grant in by_hand], revoke=True)
        world.await_access(missing=set())


def configure(world: World, topic: str, key: str, value: str, operation: AlterConfigOpType) -> None:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    source = ConfigSource.DYNAMIC_TOPIC_CONFIG
    resource.add_incremental_config(ConfigEntry(key, value, source, incremental_operation=operation))
    admin = clients.admin(world.admin)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result()


def test_who_may_not_see_the_lists_is_told_so(world: World) -> None:
    """librdkafka answers such a question with an empty list, which would read as: everything is missing."""
    operator = world.settings(f"{world.prefix}-ops")
    with pytest.raises(Fatal, match="reelbus-ops may not see or change access control lists"):
        access_admin.plan(operator)


def test_a_cluster_without_an_authorizer_is_told_apart(broker: LocalKafka, bare_settings: Settings) -> None:
    with pytest.raises(Fatal, match="keeps no access control lists"):
        access_admin.plan(bare_settings.replace(bootstrap_servers=broker.bootstrap_servers))


def test_a_wrong_password_or_authority_gets_nobody_in(world: World) -> None:
    good = world.stage_settings("track")
    for wrong in ({"sasl.password": "guess"}, {"ssl.ca.location": certifi.where()}, {"sasl.mechanism": "PLAIN"}):
        admin = clients.admin(good.replace(kafka={**good.kafka, **wrong}))
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=5)
    assert clients.admin(good).list_topics(timeout=30).brokers
