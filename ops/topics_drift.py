"""How a cluster differs from the tables, beyond what `topics plan` would change: what somebody changed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ConfigSource

from ops import access_admin, topics_admin
from ops.bus import clients
from ops.settings import Settings
from ops.topics_admin import TIMEOUT_S, wanted_of
from ops.topics_wanted import Wanted
from schemas.errors import Fatal, Transient

Kind = Literal[
    "missing-topic", "unknown-topic", "partitions", "replication", "setting", "extra-setting", "missing-grant",
    "extra-grant", "foreign-grant",
]  # fmt: skip
TIMESTAMP_TYPE = "message.timestamp.type"
_OF_ACTION: dict[str, Kind] = {
    "create": "missing-topic", "unknown": "unknown-topic", "add-partitions": "partitions", "refused": "partitions",
    "set-config": "setting", "grant": "missing-grant", "revoke": "extra-grant", "foreign": "foreign-grant",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. what: a topic or a principal; detail: one sentence."""

    kind: Kind
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as the cluster has it. overrides: set on the topic itself; effective: what counts, wherever it is set."""

    partitions: int
    replicas: int
    overrides: Mapping[str, str]
    effective: Mapping[str, str]


def of_topics(wanted: Sequence[Wanted], found: Mapping[str, FoundTopic], replication: int) -> list[Drift]:
    """What `topics_admin.compare` does not look at, because `apply` would not change it. Pure."""
    drift: list[Drift] = []
    for want in wanted:
        have = found.get(want.name)
        if have is None:
            continue
        if have.partitions > want.partitions and not want.fixed:
            detail = f"{have.partitions} partitions, the table says {want.partitions}: more are allowed"
            drift.append(Drift("partitions", want.name, detail))
        if have.replicas != replication:
            drift.append(Drift("replication", want.name, f"{have.replicas} replicas, expected {replication}"))
        extra = {key: value for key, value in have.overrides.items() if key not in want.config}
        drift += [
            Drift("extra-setting", want.name, f"{key}={value} is set on the topic, the table does not")
            for key, value in sorted(extra.items())
        ]
        clock = want.config.get(TIMESTAMP_TYPE, "CreateTime")
        if TIMESTAMP_TYPE not in (*extra, *want.config) and have.effective.get(TIMESTAMP_TYPE, clock) != clock:
            detail = f"{TIMESTAMP_TYPE}={have.effective[TIMESTAMP_TYPE]} by the brokers' default; expected {clock}"
            drift.append(Drift("setting", want.name, detail))
    return drift


def topics(settings: Settings, replication: int | None = None) -> list[Drift]:
    """Every difference of topics. replication: expected factor; default the number of brokers, at most 3.

    Raises Transient when the cluster does not answer.
    """
    changes = topics_admin.plan(settings, replication=replication)
    drift = [Drift(_OF_ACTION[change.action], change.topic, change.detail) for change in changes]
    admin = clients.reached(settings)
    try:
        cluster = admin.list_topics(timeout=TIMEOUT_S)
        factor = replication or min(3, len(cluster.brokers))
        wanted = wanted_of(settings, factor)
        names = [want.name for want in wanted if want.name in cluster.topics]
        configs = _configs(admin, names)
    except KafkaException as exc:
        raise Transient(f"cannot read topics of {settings.bootstrap_servers}: {exc.args[0].str()}") from None
    found = {}
    for name in names:
        partitions = cluster.topics[name].partitions
        replicas = min((len(partition.replicas) for partition in partitions.values()), default=0)
        found[name] = FoundTopic(len(partitions), replicas, *configs[name])
    drift += of_topics(wanted, found, factor)
    return sorted(drift, key=lambda d: (d.what, d.kind))


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Overrides and effective settings by topic."""
    if not names:
        return {}
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found = {}
    for resource, answer in admin.describe_configs(asked, request_timeout=TIMEOUT_S).items():
        entries: Mapping[str, ConfigEntry] = answer.result()
        effective = {name: str(entry.value) for name, entry in entries.items()}
        own = {n for n, entry in entries.items() if ConfigSource(entry.source) is ConfigSource.DYNAMIC_TOPIC_CONFIG}
        found[resource.name] = ({name: effective[name] for name in own}, effective)
    return found


def access(settings: Settings) -> tuple[list[Drift], str]:
    """Every difference of access, and why there is nothing to compare ("" when there is)."""
    wanted = access_admin.wanted(settings)
    try:
        changes = access_admin.compare(wanted, access_admin.found(settings), settings.prefix)
    except Fatal as exc:
        return [], str(exc)
    return [Drift(_OF_ACTION[c.action], c.grant.principal, c.grant.sentence()) for c in changes], ""
