"""Who may do what, as the commands see it: missing grants, grants by hand, and who may not even ask."""

import subprocess
import sys
import time

import certifi
import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource

from ops import access, access_admin, topics_drift
from ops.access import Grant
from ops.access_admin import AccessChange
from ops.bus import clients
from ops.local.kafka import LocalKafka
from ops.settings import PACKAGE_ROOT, Settings
from ops.stages import STAGES
from schemas.errors import Fatal
from tests.e2e.access.world import World, environment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

REFUSED_S = 30.0


def test_every_missing_grant_is_named_for_every_stage(world: World) -> None:
    needed = {name: access.stage_grants(stage, world.prefix, world.tenants) for name, stage in STAGES.items()}
    # DESCRIBE comes with READ and WRITE; about beginnings of names and transactional ids nobody can ask.
    askable = [g for own in needed.values() for g in own if g.pattern == "literal" and g.operation != "DESCRIBE"]
    for name, own in needed.items():
        assert access_admin.missing(world.stage_settings(name), own) == [], name
    for taken in (askable[::2], askable[1::2]):
        with world.without(*taken):
            lacking = {name: access_admin.missing(world.stage_settings(name), own) for name, own in needed.items()}
        for name, own in needed.items():
            assert {*taken} & {*own} <= {*lacking[name]}, name
            # A topic that may not even be described gives no answer about anything else.
            assert {g.name for g in lacking[name]} == {g.name for g in taken if g in own}, name


def test_the_command_line_names_user_operation_and_resource(world: World) -> None:
    topic = f"{world.prefix}.jobs.state.v1"
    grants = [g for g in access.stage_grants(STAGES["track"], world.prefix) if g.name == topic]
    command = [sys.executable, "-m", "ops", "topics", "acls", "check", "track"]
    variables = environment(world.stage_settings("track"))
    with world.without(*(grant for grant in grants if grant.operation == "WRITE")):
        lacking = subprocess.run(command, env=variables, cwd=PACKAGE_ROOT, capture_output=True, text=True)
    granted = subprocess.run(command, env=variables, cwd=PACKAGE_ROOT, capture_output=True, text=True)
    assert (lacking.returncode, granted.returncode) == (1, 0)
    assert f"stage track: reelbus-track may not WRITE topic {topic};" in lacking.stderr


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
        assert [(d.kind, d.what) for d in drift] == [("foreign-grant", outsider), ("extra-grant", acme)]
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


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"sasl.password": "guess"}, KafkaError._AUTHENTICATION),
        ({"sasl.username": "nobody"}, KafkaError._AUTHENTICATION),
        ({"sasl.mechanism": "PLAIN"}, KafkaError._AUTHENTICATION),
        ({"ssl.ca.location": certifi.where()}, KafkaError._SSL),
    ],
    ids=["password", "user", "mechanism", "authority"],
)
def test_a_wrong_password_or_authority_gets_nobody_in(world: World, wrong: dict[str, str], code: int) -> None:
    good = world.stage_settings("track")
    errors: list[int] = []
    config = {"bootstrap.servers": good.bootstrap_servers, **good.kafka, **wrong}
    client = Producer({**config, "error_cb": lambda error: errors.append(error.code())})
    deadline_s = time.monotonic() + REFUSED_S
    while code not in errors and time.monotonic() < deadline_s:
        client.poll(0.05)
    assert code in errors
