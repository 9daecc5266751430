"""The installation that the tests of access look at: topics, three tenants, every stage with a user of its own."""

import base64
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops import access, access_admin, tenants, topics_admin
from ops.access import Grant
from ops.local import children
from ops.local.supervisor import stage_command
from ops.settings import PREFIX, Settings
from ops.stages import STAGES
from producers.client.signing import Signer
from schemas.tenants import TenantsFile
from schemas.topics import reply_topic_of
from tests.e2e.access.broker import ADMIN, SecureBroker
from tests.e2e.fake_model import REGISTRY

SETTLE_S = 30.0
TENANTS = ("acme", "globex", "default")
KEY_ID = "k1"
"""Every tenant has a key of its own under this id."""


@dataclass
class World:
    """A broker with everything in place."""

    broker: SecureBroker
    bare: Settings
    tenants: TenantsFile

    @property
    def prefix(self) -> str:
        return self.bare.prefix

    def settings(self, user: str, **changes: object) -> Settings:
        """Settings by which a user reaches this installation."""
        return self.bare.replace(
            bootstrap_servers=self.broker.bootstrap_servers, kafka=self.broker.kafka(user), **changes
        )

    @property
    def admin(self) -> Settings:
        return self.settings(ADMIN)

    def stage_user(self, stage: str) -> str:
        return access.stage_principal(stage, self.prefix).removeprefix("User:")

    def stage_settings(self, stage: str) -> Settings:
        """Settings of a stage's process, with the credentials of its own user."""
        return self.settings(self.stage_user(stage), data_dir=str(self.broker.folder / "stages" / stage))

    def key_file(self, tenant: str) -> Path:
        return self.broker.folder / tenant / f"{KEY_ID}.key"

    def signer(self, tenant: str) -> Signer:
        """The tenant's key."""
        return Signer.from_file(self.key_file(tenant))

    def reply_topic(self, tenant: str) -> str:
        return reply_topic_of(tenant, self.prefix)

    @contextmanager
    def stage(self, name: str) -> Iterator["RunningStage"]:
        """A stage as a process of its own, ended afterwards."""
        settings = self.stage_settings(name)
        log = Path(settings.data_dir) / f"{name}-{secrets.token_hex(3)}.log"
        process = children.spawn(stage_command(name), log, environment(settings))
        running = RunningStage(name, process, log)
        try:
            yield running
        finally:
            children.end(process, 10.0)

    @contextmanager
    def without(self, *grants: Grant) -> Iterator[None]:
        """The world with some grants taken away, put back afterwards."""
        taken = [access_admin.AccessChange("revoke", grant) for grant in grants]
        access_admin.apply(self.admin, taken, revoke=True)
        try:
            self.await_access(missing=set(grants))
            yield
        finally:
            access_admin.apply(self.admin, [access_admin.AccessChange("grant", grant) for grant in grants])
            self.await_access(missing=set())

    def await_access(self, missing: set[Grant]) -> None:
        """Until the broker has exactly the table's grants, less `missing`."""
        deadline = time.monotonic() + SETTLE_S
        while (left := {change.grant for change in access_admin.plan(self.admin)}) != missing:
            assert time.monotonic() < deadline, f"access control lists did not settle: {left ^ missing}"


@dataclass
class RunningStage:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")


def environment(settings: Settings) -> Mapping[str, str]:
    """Environment of a stage's process; credentials in a file that only its owner can read."""
    file = Path(settings.data_dir) / "kafka.properties"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.writelines(f"{key}={value}\n" for key, value in settings.kafka.items())
    outside = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    return {**outside, **settings.environment(), PREFIX + "KAFKA": str(file)}


def build(broker: SecureBroker, prefix: str) -> World:
    """Users, grants, topics: what an operator does, in the operator's order. Several prefixes share the tenants."""
    file = broker.folder / "tenants.toml"
    entries = []
    for name in TENANTS:
        key = broker.folder / name / f"{KEY_ID}.key"
        key.parent.mkdir(exist_ok=True)
        key.write_text(f"hmac:{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
        entries.append(f'[[tenants.{name}.keys]]\nid = "{KEY_ID}"\nhmac_secret_file = "{name}/{KEY_ID}.key"\n')
    file.write_text("".join(entries))
    webhook = broker.folder / "webhook.secret"
    webhook.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    registry = broker.folder / "registry.toml"
    registry.write_text(REGISTRY)
    own = broker.bare.replace(
        prefix=prefix,
        tenants=str(file),
        registry=str(registry),
        webhook_secret_file=str(webhook),
        webhook_allow_private=True,
    )
    world = World(broker, own, tenants.load(str(file))[0])
    stage_users = [world.stage_user(name) for name in STAGES]
    operator = access.operator_principal(world.prefix).removeprefix("User:")
    broker.add_users([*stage_users, operator, *(access.tenant_principal(t).removeprefix("User:") for t in TENANTS)])
    access_admin.apply(world.admin, access_admin.plan(world.admin))
    world.await_access(missing=set())
    ops = world.settings(operator)
    topics_admin.apply(ops, topics_admin.plan(ops))
    return world
