"""The cluster's topics as the table in schemas/topics.py and the tenants file want them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.tenants import TenantsFile
from schemas.topics import (
    DAY_MS,
    JOBS_EVENTS,
    LIVE_TOPICS,
    REPLIES_DEFAULT,
    DeadLetters,
    Topic,
    reply_topic_of,
)

DEAD_LETTER_RETENTION_MS = 30 * DAY_MS
SEGMENT_MS = DAY_MS // 24


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as the table wants it. fixed: its partition count may not change once there are records."""

    name: str
    partitions: int
    config: Mapping[str, str]
    fixed: bool = False


def wanted(prefix: str, topics: Iterable[Topic] = LIVE_TOPICS, replication: int = 1) -> list[Wanted]:
    """Live topics and the dead letters of those that carry a typed record."""
    both: list[Wanted] = []
    for topic in topics:
        # track folds the events of a partition into the state of the same partition.
        fixed = topic.compacted or topic == JOBS_EVENTS
        both.append(Wanted(topic.name(prefix), topic.partitions, _config(topic, replication), fixed))
        if topic.record is not None:
            dead = {**_deleted_after(DEAD_LETTER_RETENTION_MS), **_durable(replication)}
            both.append(Wanted(DeadLetters(topic).name(prefix), 1, dead))
    return both


def _config(topic: Topic, replication: int) -> dict[str, str]:
    if topic.retention_ms is None:
        # State is small and rewritten all the time: compact early, or a restart reads every old row.
        config = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": str(SEGMENT_MS)}
    else:
        config = _deleted_after(topic.retention_ms)
    if topic.broker_time:
        config["message.timestamp.type"] = "LogAppendTime"
    return {**config, **_durable(replication)}


def _deleted_after(retention_ms: int) -> dict[str, str]:
    # Only closed segments are deleted, so a segment is closed well before its records expire.
    segment_ms = min(DAY_MS, max(retention_ms // 4, 600_000))
    return {"cleanup.policy": "delete", "retention.ms": str(retention_ms), "segment.ms": str(segment_ms)}


def _durable(replication: int) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if replication >= 3 else {}


def wanted_replies(prefix: str, tenants: TenantsFile | None, replication: int = 1) -> list[Wanted]:
    """A reply topic for each tenant of the file that names none of its own: <prefix>.replies.<tenant>.v1.

    That of tenant default is in the table. Nobody buries what is in a reply topic, so none has dead letters.
    """
    members = {} if tenants is None else tenants.tenants
    config = _config(REPLIES_DEFAULT, replication)
    names = [reply_topic_of(tenant, prefix) for tenant, entry in members.items() if entry.reply_topics is None]
    in_table = REPLIES_DEFAULT.name(prefix)
    return [Wanted(name, REPLIES_DEFAULT.partitions, config) for name in sorted(names) if name != in_table]


def shown(config: Mapping[str, str]) -> str:
    """For a person: a=1, b=2"""
    return ", ".join(f"{key}={value}" for key, value in sorted(config.items()))
