"""Brings the cluster's topics in line with the table in schemas/topics.py: first a plan, then its changes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from ops import tenants as tenants_file
from ops.bus import clients
from ops.settings import Settings
from ops.topics_wanted import Wanted, shown, wanted, wanted_replies
from schemas.errors import Transient
from schemas.topics import LIVE_TOPICS, Topic

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it."""

    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    create, add-partitions, set-config: `apply` makes them
    refused: cannot be changed safely; detail says why and what to do
    unknown: a topic under our prefix that the table does not have; reported only
    """

    topic: str
    action: Literal["create", "add-partitions", "set-config", "refused", "unknown"]
    detail: str
    partitions: int = 0
    replication: int = 0
    config: Mapping[str, str] = field(default_factory=dict)


def wanted_of(settings: Settings, replication: int, topics: Sequence[Topic] = LIVE_TOPICS) -> list[Wanted]:
    """What the table and the tenants file of the settings want. Raises Fatal for a tenants file that is wrong."""
    tenants = tenants_file.load(settings.tenants)[0] if settings.tenants else None
    return [*wanted(settings.prefix, topics, replication), *wanted_replies(settings.prefix, tenants, replication)]


def compare(
    wanted: Sequence[Wanted], found: Mapping[str, Found], known: Iterable[str], replication: int
) -> list[Change]:
    """The changes that lead from what is found to what is wanted. Pure.

    found: topics of the cluster under our prefix
    known: names that are nothing to remark upon, also where `wanted` is a part of the table
    """
    changes: list[Change] = []
    for want in wanted:
        have = found.get(want.name)
        if have is None:
            detail = f"{want.partitions} partitions, replication {replication}, {shown(want.config)}"
            changes.append(Change(want.name, "create", detail, want.partitions, replication, want.config))
            continue
        changes.extend(_partition_change(want, have))
        drift = {key: value for key, value in want.config.items() if have.config.get(key) != value}
        if drift:
            old = ", ".join(f"{key}={have.config.get(key, '')}" for key in sorted(drift))
            changes.append(Change(want.name, "set-config", f"{shown(drift)} (is {old})", config=drift))
    extra = sorted(found.keys() - set(known))
    return changes + [Change(name, "unknown", "not in the table of topics; left alone") for name in extra]


def _partition_change(want: Wanted, have: Found) -> list[Change]:
    if want.fixed and have.partitions != want.partitions:
        detail = (
            f"has {have.partitions} partitions, the table says {want.partitions}: with another count keys move to "
            "other partitions and leave their state behind. Drain the pipeline, then delete and create the topic, "
            "or start under a new prefix"
        )
        return [Change(want.name, "refused", detail)]
    if have.partitions < want.partitions:
        detail = f"{have.partitions} -> {want.partitions} partitions"
        return [Change(want.name, "add-partitions", detail, want.partitions)]
    return []  # more than the table says is an operator's choice, and cannot be undone


def plan(settings: Settings, *, replication: int | None = None, topics: Sequence[Topic] = LIVE_TOPICS) -> list[Change]:
    """Compare the cluster with the table.

    replication: factor for topics to create; default the number of brokers, at most 3
    topics:      a part of the table
    Raises Transient when the cluster does not answer, Fatal for a tenants file that is wrong.
    """
    admin = clients.reached(settings)
    try:
        cluster = admin.list_topics(timeout=TIMEOUT_S)
        factor = replication or min(3, len(cluster.brokers))
        ours = (f"{settings.prefix}.", f"dlq.{settings.prefix}.")
        partitions = {name: len(t.partitions) for name, t in cluster.topics.items() if name.startswith(ours)}
        names = wanted_of(settings, factor, topics)
        configs = _configs(admin, [want.name for want in names if want.name in partitions])
    except KafkaException as exc:
        raise Transient(f"cannot read topics of {settings.bootstrap_servers}: {exc.args[0].str()}") from None
    found = {name: Found(count, configs.get(name, {})) for name, count in partitions.items()}
    # More reply topics than the first of each tenant are that tenant's own, and no business of the table.
    theirs = [name for name in partitions if name.startswith(f"{settings.prefix}.replies.")]
    known = [*theirs, *(want.name for want in wanted(settings.prefix))]
    return compare(names, found, known, factor)


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=TIMEOUT_S)
    return {
        resource.name: {key: str(entry.value) for key, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


def apply(settings: Settings, changes: Iterable[Change]) -> None:
    """Make the changes of a plan, all of one kind in one request; returns when every new topic can be used.

    Making them twice, or side by side with another process, does no harm. Raises Transient that names the topic.
    """
    admin = clients.reached(settings)
    todo = list(changes)
    create = [
        NewTopic(c.topic, c.partitions, c.replication, config=dict(c.config)) for c in todo if c.action == "create"
    ]
    grow = [NewPartitions(c.topic, c.partitions) for c in todo if c.action == "add-partitions"]
    alter = [_alteration(c) for c in todo if c.action == "set-config"]
    if create:
        _settle(admin.create_topics(create), KafkaError.TOPIC_ALREADY_EXISTS)
    if grow:
        _settle(admin.create_partitions(grow), KafkaError.INVALID_PARTITIONS)
    if alter:
        _settle({r.name: f for r, f in admin.incremental_alter_configs(alter).items()})
    _await_usable(admin, {topic.topic for topic in create})
    _await_configs(admin, {c.topic: c.config for c in todo if c.action == "set-config"})


def _alteration(change: Change) -> ConfigResource:
    resource = ConfigResource(ConfigResource.Type.TOPIC, change.topic)
    for key, value in change.config.items():
        resource.add_incremental_config(
            ConfigEntry(key, value, ConfigSource.DYNAMIC_TOPIC_CONFIG, incremental_operation=AlterConfigOpType.SET)
        )
    return resource


def _settle(answers: Mapping[str, "Future[None]"], *harmless: int) -> None:
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as exc:
            if exc.args[0].code() not in harmless:
                raise Transient(f"topic {name}: {exc.args[0].str()}") from None


def _await_usable(admin: AdminClient, names: set[str]) -> None:
    """A broker learns of a topic a moment after the controller has created it, and leads it a moment later: only when
    every partition tells its end offset can it be read and written.

    librdkafka's operation_timeout waits for the first of the two, but looks once a second (1.2 s instead of 0.2 s).
    """
    deadline = time.monotonic() + TIMEOUT_S
    left = set(names)
    while left:
        if time.monotonic() > deadline:
            raise Transient(f"topics are created but not usable after {TIMEOUT_S:.0f} s: {', '.join(sorted(left))}")
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(n, p): latest for n in left & known.keys() for p in known[n].partitions}
        answers = admin.list_offsets(asked, request_timeout=TIMEOUT_S) if asked else {}
        # librdkafka gives an offset below 0 and no error where the leader has not answered in time.
        led = {place for place, answer in answers.items() if answer.exception() is None and answer.result().offset >= 0}
        left = {n for n in left if n not in known or any(p.topic == n for p in asked.keys() - led)}
        if left:
            time.sleep(0.02)


def _await_configs(admin: AdminClient, wanted_configs: Mapping[str, Mapping[str, str]]) -> None:
    """The controller takes a change of configuration before the brokers show it."""
    deadline = time.monotonic() + TIMEOUT_S
    left = dict(wanted_configs)
    while left:
        shown = _configs(admin, list(left))
        left = {name: config for name, config in left.items() if not config.items() <= shown[name].items()}
        if left and time.monotonic() > deadline:
            raise Transient(f"settings not in force after {TIMEOUT_S:.0f} s: {', '.join(sorted(left))}")
        if left:
            time.sleep(0.02)
