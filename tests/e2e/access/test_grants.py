"""Who may do what, as the commands see it: missing grants, grants by hand, and who may not even ask."""

import subprocess
import sys

import certifi
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource

from ops import access, access_admin, topics_drift
from ops.access import Grant
from ops.access_admin import AccessChange
from ops.bus import clients
from ops.local.kafka import LocalKafka
from ops.settings import PACKAGE_ROOT, Settings
from ops.stages import STAGES
from schemas.errors import Fatal, Transient
from tests.e2e.access.broker import ADMIN
from tests.e2e.access.world import World, environment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


def test_every_missing_grant_is_named_for_every_stage(world: World) -> None:
    needed = {name: access.stage_grants(stage, world.prefix, world.tenants) for name, stage in STAGES.items()}
    # DESCRIBE comes with READ and WRITE; about beginnings of names and transactional ids nobody can ask.
    askable = [g for own in needed.values() for g in own if g.pattern == "literal" and g.operation != "DESCRIBE"]
    for name, own in needed.items():
        assert access_admin.missing(world.stage_settings(name), own) == [], name
        # Who runs all stages with one user takes the operators'.
        assert access_admin.missing(world.settings(f"{world.prefix}-ops"), own) == [], name
    for taken in (askable[::2], askable[1::2]):
        with world.without(*taken):
            lacking = {name: access_admin.missing(world.stage_settings(name), own) for name, own in needed.items()}
        for name, own in needed.items():
            assert {*taken} & {*own} <= {*lacking[name]}, name
            # A topic that may not even be described gives no answer about anything else.
            assert {g.name for g in lacking[name]} == {g.name for g in taken if g in own}, name


class Shell:
    """Runs `reelbus` as one user."""

    def __init__(self, settings: Settings) -> None:
        self.variables = environment(settings)

    def __call__(self, *words: str, code: int = 0) -> tuple[list[str], str]:
        command = [sys.executable, "-m", "ops", *words]
        done = subprocess.run(command, env=self.variables, cwd=PACKAGE_ROOT, capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        return done.stdout.splitlines(), done.stderr


def test_the_commands_plan_apply_and_check_what_is_missing(world: World) -> None:
    admin, track = Shell(world.settings(ADMIN, data_dir=str(world.broker.folder))), Shell(world.stage_settings("track"))
    topic = f"{world.prefix}.jobs.state.v1"
    writing = [g for g in access.stage_grants(STAGES["track"], world.prefix) if g.name == topic]
    lost = next(grant for grant in writing if grant.operation == "WRITE")
    with world.without(lost):
        assert admin("topics", "acls", "plan", code=1)[0] == [f"grant: {lost.sentence()}"]
        assert f"missing-grant {lost.principal}: {lost.sentence()}" in admin("topics", "drift", code=1)[0]
        said = track("topics", "acls", "check", "track", code=1)[1]
        assert f"stage track: reelbus-track may not WRITE topic {topic};" in said
        assert "1 grants made, 0 taken away" in admin("topics", "acls", "apply", "--json")[1]
    assert "grants are as they should be" in admin("topics", "acls", "plan")[1]
    assert "track has what can be asked about" in track("topics", "acls", "check", "track")[1]


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
    operator = world.settings(f"{world.prefix}-ops", data_dir=str(world.broker.folder / "ops"))
    with pytest.raises(Fatal, match="reelbus-ops may not see or change access control lists"):
        access_admin.plan(operator)
    out, said = Shell(operator)("topics", "drift")
    assert out == []
    assert "grants were not compared: reelbus-ops may not see" in said
    assert "no drift of topics" in said


def test_a_tenant_is_told_that_what_all_tenants_share_may_be_hidden_from_it(world: World) -> None:
    acme = Shell(world.settings("tenant-acme", data_dir=str(world.broker.folder / "acme-home")))
    said = acme("get", "acme/some-job", code=4)[1]
    assert f"topic {world.prefix}.jobs.state.v1 does not exist, or tenant-acme may not see it" in said


def test_a_cluster_without_an_authorizer_is_told_apart(broker: LocalKafka, bare_settings: Settings) -> None:
    with pytest.raises(Fatal, match="keeps no access control lists"):
        access_admin.plan(bare_settings.replace(bootstrap_servers=broker.bootstrap_servers))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sasl.password": "guess"}, "reelbus-track does not get into .*: .*invalid credentials"),
        ({"sasl.username": "nobody"}, "nobody does not get into .*: .*invalid credentials"),
        ({"sasl.mechanism": "PLAIN"}, "mechanism handshake failed"),
        ({"ssl.ca.location": certifi.where()}, "certificate verify failed"),
    ],
    ids=["password", "user", "mechanism", "authority"],
)
def test_a_wrong_password_or_authority_gets_nobody_in(world: World, wrong: dict[str, str], why: str) -> None:
    good = world.stage_settings("track")
    with pytest.raises(Fatal, match=why):
        clients.reached(good.replace(kafka={**good.kafka, **wrong}))


def test_a_client_without_tls_is_told_what_it_may_lack(world: World) -> None:
    plain = world.stage_settings("track").replace(kafka={})
    with pytest.raises(Transient, match="may want TLS or a password"):
        clients.reached(plain, timeout_s=2.0)
