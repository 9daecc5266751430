"""Kafka clients with the settings that were measured to lose nothing (ARCHITECTURE.md, "Guarantees").

A property given by the user under librdkafka's own name wins over ours, except where a guarantee rests on it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.bus.damped_log import Damped
from ops.bus.pulse import beat
from ops.settings import Settings
from schemas.errors import Fatal, Transient

log = logging.getLogger(__name__)
log.addFilter(Damped())

TRANSACTION_TIMEOUT_MS = 15_000
REACH_S = 10.0
OnCommit = Callable[[KafkaError | None, list[TopicPartition]], None]
_NOT_LET_IN = (KafkaError._AUTHENTICATION, KafkaError._SSL)
GRANT = "grant it with `reelbus topics acls apply` (docs/how-to/secure-kafka.md)"
# murmur2 is what Java and aiokafka (Faust) use: all writers of a topic must send a key to the same partition.
_PRODUCER: dict[str, object] = {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random"}


def group_id(settings: Settings, stage: str) -> str:
    """Name of a stage's consumer group."""
    return f"{settings.prefix}.{stage}"


class _Refusable(Consumer):
    """A consumer that says at once what it may not do. librdkafka reports a refusal once, as an error among records,
    and then waits for ever for somebody to grant it.

    Who only assigns partitions needs no right to the group, so a refused group counts for those that subscribe.
    """

    _subscribed = False
    who = group = ""

    def subscribe(self, *args: Any, **more: Any) -> None:
        self._subscribed = True
        super().subscribe(*args, **more)

    def poll(self, *args: Any, **more: Any) -> "Message[bytes, bytes] | None":
        message = super().poll(*args, **more)
        if message is not None and message.error() is not None:
            self._check(message)
        return message

    def consume(self, *args: Any, **more: Any) -> "list[Message[bytes, bytes]]":
        messages: list[Message[bytes, bytes]] = super().consume(*args, **more)
        for message in messages:
            if message.error() is not None:
                self._check(message)
        return messages

    def _check(self, message: "Message[bytes, bytes]") -> None:
        error = message.error()
        code = None if error is None else error.code()
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise Fatal(f"{self.who} may not READ topic {message.topic()}; {GRANT}")
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED and self._subscribed:
            raise Fatal(f"{self.who} may not READ group {self.group}; {GRANT}")


def _who(settings: Settings) -> str:
    return settings.kafka.get("sasl.username", "this user")


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


def consumer(settings: Settings, group: str, on_commit: OnCommit | None = None, **extra: object) -> Consumer:
    """A consumer that commits nothing by itself and sees committed transactions only. `extra` uses _ for dots.

    on_commit: called in `poll` with what became of each commit that was not waited for
    Its `poll` and `consume` raise Fatal that names topic or group when the broker refuses to let it read.
    """
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
    fixed: dict[str, object] = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_committed"}
    if on_commit is not None:
        fixed["on_commit"] = on_commit
    made = _build(_Refusable, settings, ours, fixed)
    assert isinstance(made, _Refusable)
    made.who, made.group = _who(settings), group
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
        _initialise(made)
    except KafkaException as exc:
        if exc.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            raise Fatal(
                f"{_who(settings)} may not WRITE transactional id {fixed['transactional.id']}; {GRANT}"
            ) from None
        raise Transient(f"cannot start transactions: {exc.args[0].str()}") from None
    return made


def _initialise(made: Producer) -> None:
    """Up to 60 s in all: an older transaction of the same id must have ended first."""
    for last in (False, False, True):
        beat()
        try:
            made.init_transactions(20)
        except KafkaException as exc:
            if last or not exc.args[0].retriable():
                raise
        else:
            return


def admin(settings: Settings) -> AdminClient:
    """An admin client."""
    return _admin(settings)


def reached(settings: Settings, timeout_s: float = REACH_S) -> AdminClient:
    """An admin client that a broker has let in. For commands: somebody waits, and wants to know why not.

    Raises Fatal when a broker refuses the login or is not the one it should be, Transient when none answers.
    """
    errors: list[KafkaError] = []
    made = _admin(settings, error_cb=errors.append)
    until_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(KafkaException):
            made.list_topics(timeout=0.5)
            return made
        made.poll(0)  # brings what the background thread met: the call above only says that it failed
        if refused := next((e for e in errors if e.code() in _NOT_LET_IN), None):
            raise Fatal(f"{_who(settings)} does not get into {settings.bootstrap_servers}: {refused.str()}")
        if time.monotonic() > until_s:
            met = [error.str() for error in errors if error.code() == KafkaError._TRANSPORT]
            why = met[-1] if met else "it may want TLS or a password: docs/how-to/secure-kafka.md"
            raise Transient(
                f"no Kafka broker answers at {settings.bootstrap_servers} ({why}); start one with "
                "`reelbus up`, or name yours with --bootstrap-servers"
            )


def _admin(settings: Settings, **more: object) -> AdminClient:
    made = _build(AdminClient, settings, {}, more)
    assert isinstance(made, AdminClient)
    return made
