"""Kafka clients with the settings that were measured to lose nothing (ARCHITECTURE.md, "Guarantees").

A property given by the user under librdkafka's own name wins over ours, except where a guarantee rests on it.
"""

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from ops.settings import Settings
from schemas.errors import Fatal, Transient

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS = 15_000
# murmur2 is what Java and aiokafka (Faust) use: all writers of a topic must send a key to the same partition.
_PRODUCER: dict[str, object] = {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random"}


def group_id(settings: Settings, stage: str) -> str:
    """Name of a stage's consumer group."""
    return f"{settings.prefix}.{stage}"


def _build(kind: type, settings: Settings, ours: Mapping[str, object], fixed: Mapping[str, object]) -> object:
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": settings.prefix,
        **ours,
        **settings.kafka,
        **fixed,
        "logger": log,
    }
    try:
        return kind(config)
    except KafkaException as exc:
        raise Fatal(f"Kafka client refused its configuration: {exc.args[0].str()}") from None


def consumer(settings: Settings, group: str, **extra: object) -> Consumer:
    """A consumer that commits nothing by itself and sees committed transactions only. `extra` uses _ for dots."""
    ours = {
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 3_000,
        "max.poll.interval.ms": 60_000,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
        "queued.max.messages.kbytes": 1024,
        **{key.replace("_", "."): value for key, value in extra.items()},
    }
    fixed = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_committed"}
    made = _build(Consumer, settings, ours, fixed)
    assert isinstance(made, Consumer)
    return made


def producer(settings: Settings, **extra: object) -> Producer:
    """An idempotent producer whose sends are acknowledged by all replicas. `extra` uses _ for dots."""
    ours = {"linger.ms": 0, "delivery.timeout.ms": 60_000, **{k.replace("_", "."): v for k, v in extra.items()}}
    made = _build(Producer, settings, ours, _PRODUCER)
    assert isinstance(made, Producer)
    return made


def transactional_producer(settings: Settings, transactional_id: str) -> Producer:
    """A producer of short transactions, initialised: an older one with the same id is fenced from now on.

    retry.backoff.ms=5 and linger.ms=0 bring a transaction from 107 ms to about 10 ms (measured).
    """
    ours = {
        "linger.ms": 0,
        "retry.backoff.ms": 5,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "delivery.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }
    fixed = {"transactional.id": f"{settings.prefix}.{transactional_id}", **_PRODUCER}
    made = _build(Producer, settings, ours, fixed)
    assert isinstance(made, Producer)
    try:
        made.init_transactions(60)
    except KafkaException as exc:
        raise Transient(f"cannot start transactions: {exc.args[0].str()}") from None
    return made


def admin(settings: Settings) -> AdminClient:
    """An admin client."""
    made = _build(AdminClient, settings, {}, {})
    assert isinstance(made, AdminClient)
    return made
