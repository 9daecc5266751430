"""Calls by which one principal reaches for another's topics, groups, transactional ids and the cluster.

Every call is made twice: by somebody who may not, and by whoever rightfully may. It returns when the broker did what
was asked, and raises KafkaException with the broker's own code when it refused. No answer is neither: it is an error.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aiokafka
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import BrokerResponseError
from aiokafka.protocol.admin import DeleteRecordsRequest, DescribeAclsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from ops.bus import clients, faust_security
from ops.settings import Settings

log = logging.getLogger(__name__)

ANSWER_S = 30.0
RETENTION = "604800000"


class NoAnswer(AssertionError):
    """The broker said neither yes nor no."""


@dataclass
class Actor:
    """One principal's clients.

    group:         a consumer group that it may join, and every one whose name goes on after a dot
    open_topic:    everybody of the test may describe it
    committed_topic: whoever rightfully has a group of the test may read it
    loop:          runs in a thread of its own
    """

    settings: Settings
    group: str
    open_topic: str
    committed_topic: str
    loop: asyncio.AbstractEventLoop
    bare: AIOKafkaClient = None

    @cached_property
    def admin(self) -> Any:
        return clients.admin(self.settings)

    @cached_property
    def idempotent(self) -> Producer:
        return clients.producer(self.settings)

    @cached_property
    def plain(self) -> Producer:
        return Producer({**self._bare(), "acks": "1", "delivery.timeout.ms": 30_000})

    def member(self, group: str) -> Consumer:
        """A bare consumer: ours would put the broker's refusal into words of its own."""
        own = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        return Consumer({**self._bare(), **own, "enable.partition.eof": True})

    def _bare(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.settings.bootstrap_servers, "logger": log, **self.settings.kafka}

    def aio(self) -> dict[str, Any]:
        """Arguments of an aiokafka client: a second implementation of the protocol, the one of the Faust stages."""
        auth = credentials_to_aiokafka_auth(faust_security.credentials(self.settings.kafka))
        return {"bootstrap_servers": self.settings.bootstrap_servers, **auth}

    async def ask(self, request: Any) -> Any:
        """The answer to a bare request, as somebody would send it who asks for no metadata first."""
        (node,) = self.bare.cluster.brokers()
        return await self.bare.send(node.nodeId, request)

    async def open(self) -> None:
        """Log in the client for `ask`."""
        self.bare = AIOKafkaClient(**self.aio())
        await self.bare.bootstrap()


Call = Callable[[Actor, str], object]


def _only(answers: Mapping[Any, "Future[Any]"]) -> Any:
    (answer,) = answers.values()
    try:
        return answer.result(ANSWER_S)
    except TimeoutError:
        raise NoAnswer from None


def _listen(consumer: Consumer) -> None:
    """Until a record or the end of a partition comes (it may be read), or an error."""
    until_s = time.monotonic() + ANSWER_S
    while time.monotonic() < until_s:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if (error := message.error()) is None or error.code() == KafkaError._PARTITION_EOF:
            return
        raise KafkaException(error)
    raise NoAnswer


# ---- topics ----------------------------------------------------------------------------------------------------------


def _send(producer: Producer, topic: str) -> None:
    said: list[KafkaError | None] = []
    producer.produce(topic, key=b"probe", value=b"probe", on_delivery=lambda error, _: said.append(error))
    producer.flush(ANSWER_S)
    if not said:
        raise NoAnswer
    if said[0] is not None:
        raise KafkaException(said[0])


def send(actor: Actor, topic: str) -> None:
    _send(actor.plain, topic)


def send_idempotent(actor: Actor, topic: str) -> None:
    _send(actor.idempotent, topic)


def _aio(actor: Actor, work: Callable[[], Awaitable[Any]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(work(), ANSWER_S)

    try:
        asyncio.run_coroutine_threadsafe(run(), actor.loop).result()
    except BrokerResponseError as exc:
        raise KafkaException(KafkaError(exc.errno)) from None
    except TimeoutError:
        raise NoAnswer from None


def aio_send(actor: Actor, topic: str) -> None:
    async def work() -> None:
        producer = aiokafka.AIOKafkaProducer(**actor.aio())
        try:
            await producer.start()
            await producer.send_and_wait(topic, b"probe", key=b"probe")
        finally:
            await producer.stop()

    _aio(actor, work)


def aio_offsets(actor: Actor, topic: str) -> None:
    async def work() -> None:
        consumer = aiokafka.AIOKafkaConsumer(topic, **actor.aio())
        try:
            await consumer.start()
            await consumer.end_offsets([aiokafka.TopicPartition(topic, 0)])
        finally:
            await consumer.stop()

    _aio(actor, work)


def _raw(actor: Actor, request: Any, code_of: Callable[[Any], int]) -> None:
    """librdkafka asks for metadata, finds the topic or the coordinator hidden, and says so in codes of its own, or
    nothing at all."""

    async def work() -> None:
        if code := code_of(await actor.ask(request)):
            raise KafkaException(KafkaError(code))

    _aio(actor, work)


def _code_of_partition(answer: Any) -> int:
    ((_, ((_, code, *_),)),) = answer.topics
    return int(code)


def fetch(actor: Actor, topic: str) -> None:
    _raw(actor, FetchRequest(100, 0, 1024, 1, [(topic, [(0, 0, 1024)])]), _code_of_partition)


def _offset_at(actor: Actor, topic: str, timestamp_ms: int) -> None:
    _raw(actor, OffsetRequest(-1, 1, [(topic, [(0, timestamp_ms)])]), _code_of_partition)


def first_offset(actor: Actor, topic: str) -> None:
    _offset_at(actor, topic, -2)


def last_offset(actor: Actor, topic: str) -> None:
    _offset_at(actor, topic, -1)


def offset_by_time(actor: Actor, topic: str) -> None:
    _offset_at(actor, topic, 1)


def delete_records(actor: Actor, topic: str) -> None:
    def code_of(answer: Any) -> int:
        ((_, ((_, _, code, *_), *_), *_),) = answer.topics
        return int(code)

    _raw(actor, DeleteRecordsRequest([(topic, [(0, 0)])], 30_000), code_of)


def fetch_in_group(actor: Actor, topic: str) -> None:
    consumer = actor.member(f"{actor.group}.{topic}")
    try:
        consumer.subscribe([topic])
        _listen(consumer)
    finally:
        consumer.close()


def metadata(actor: Actor, topic: str) -> None:
    error = actor.admin.list_topics(topic, timeout=ANSWER_S).topics[topic].error
    if error is not None:
        raise KafkaException(error)


def metadata_of_all(actor: Actor, topic: str) -> None:
    """Topics that one may not describe are left out without a word."""
    if topic not in actor.admin.list_topics(timeout=ANSWER_S).topics:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))


def describe(actor: Actor, topic: str) -> None:
    _only(actor.admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S))


def _topic_resource(topic: str) -> ConfigResource:
    return ConfigResource(ConfigResource.Type.TOPIC, topic)


def describe_configs(actor: Actor, topic: str) -> None:
    _only(actor.admin.describe_configs([_topic_resource(topic)], request_timeout=ANSWER_S))


def alter_configs(actor: Actor, topic: str) -> None:
    resource = _topic_resource(topic)
    resource.add_incremental_config(
        ConfigEntry(
            "retention.ms",
            RETENTION,
            ConfigSource.DYNAMIC_TOPIC_CONFIG,
            incremental_operation=AlterConfigOpType.SET,
        )
    )
    _only(actor.admin.incremental_alter_configs([resource], request_timeout=ANSWER_S))


def add_partitions(actor: Actor, topic: str) -> None:
    _only(actor.admin.create_partitions([NewPartitions(topic, 5)], request_timeout=ANSWER_S))


def delete_topic(actor: Actor, topic: str) -> None:
    _only(actor.admin.delete_topics([topic], request_timeout=ANSWER_S))


def create_topic(actor: Actor, topic: str) -> None:
    _only(actor.admin.create_topics([NewTopic(topic, 1, 1)], request_timeout=ANSWER_S))


def commit_on_topic(actor: Actor, topic: str) -> None:
    """An offset of that topic in a group of one's own."""
    _commit(actor, actor.group, topic)


# ---- groups ----------------------------------------------------------------------------------------------------------


def _commit(actor: Actor, group: str, topic: str) -> None:
    offsets = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])
    answer = _only(actor.admin.alter_consumer_group_offsets([offsets], request_timeout=ANSWER_S))
    for place in answer.topic_partitions:
        if place.error is not None:
            raise KafkaException(place.error)


def join(actor: Actor, group: str) -> None:
    """Take part in a group, reading something that everybody of the test may describe."""
    consumer = actor.member(group)
    assigned: list[object] = []
    try:
        consumer.subscribe([actor.open_topic], on_assign=lambda _, places: assigned.append(places))
        until_s = time.monotonic() + ANSWER_S
        while not assigned:
            message = consumer.poll(0.2)
            if message is not None and message.error() is not None:
                raise KafkaException(message.error())
            if time.monotonic() > until_s:
                raise NoAnswer
    finally:
        consumer.close()


def describe_group(actor: Actor, group: str) -> None:
    _only(actor.admin.describe_consumer_groups([group], request_timeout=ANSWER_S))


def list_groups(actor: Actor, group: str) -> None:
    """Groups that one may not describe are left out without a word."""
    found = actor.admin.list_consumer_groups(request_timeout=ANSWER_S).result(ANSWER_S)
    if group not in {one.group_id for one in found.valid}:
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


def group_offsets(actor: Actor, group: str) -> None:
    _only(actor.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=ANSWER_S))


def committed(actor: Actor, group: str) -> None:
    def code_of(answer: Any) -> int:
        return int(answer.error_code)

    _raw(actor, OffsetFetchRequest(group, [(actor.open_topic, [0])]), code_of)


def commit_in_group(actor: Actor, group: str) -> None:
    _commit(actor, group, actor.committed_topic)


def delete_group(actor: Actor, group: str) -> None:
    _only(actor.admin.delete_consumer_groups([group], request_timeout=ANSWER_S))


# ---- transactional ids -----------------------------------------------------------------------------------------------


def init_transactions(actor: Actor, transactional_id: str) -> None:
    """Would fence whoever has that id."""
    _transactional(actor, transactional_id).init_transactions(ANSWER_S)


def _transactional(actor: Actor, transactional_id: str) -> Producer:
    return Producer({**actor._bare(), "transactional.id": transactional_id})


def aio_transaction(actor: Actor, transactional_id: str) -> None:
    async def work() -> None:
        producer = aiokafka.AIOKafkaProducer(**actor.aio(), transactional_id=transactional_id)
        try:
            await producer.start()
        finally:
            await producer.stop()

    _aio(actor, work)


# ---- the cluster -----------------------------------------------------------------------------------------------------


def create_acl(actor: Actor, principal: str) -> None:
    binding = AclBinding(
        ResourceType.TOPIC, "elsewhere", ResourcePatternType.LITERAL, principal, "*", AclOperation.READ,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    _only(actor.admin.create_acls([binding], request_timeout=ANSWER_S))


def delete_acl(actor: Actor, principal: str) -> None:
    pattern = AclBindingFilter(
        ResourceType.TOPIC, "elsewhere", ResourcePatternType.LITERAL, principal, "*", AclOperation.READ,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    _only(actor.admin.delete_acls([pattern], request_timeout=ANSWER_S))


def describe_acls(actor: Actor, principal: str) -> None:
    """librdkafka gives an empty list to somebody who may not see any."""
    every = 1  # any resource, pattern, operation, permission
    request = DescribeAclsRequest(every, None, every, principal, None, every, every)
    _raw(actor, request, lambda answer: int(answer.error_code))


def set_password(actor: Actor, principal: str) -> None:
    """Of a user whose name begins like the principal's."""
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    name = f"{principal.removeprefix('User:')}-spare"
    change = UserScramCredentialUpsertion(name, scram, b"probe")
    _only(actor.admin.alter_user_scram_credentials([change], request_timeout=ANSWER_S))


def broker_configs(actor: Actor, _: str) -> None:
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    _only(actor.admin.describe_configs([resource], request_timeout=ANSWER_S))


def alter_broker(actor: Actor, _: str) -> None:
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    resource.add_incremental_config(
        ConfigEntry(
            "log.cleaner.threads",
            "1",
            ConfigSource.DYNAMIC_BROKER_CONFIG,
            incremental_operation=AlterConfigOpType.SET,
        )
    )
    _only(actor.admin.incremental_alter_configs([resource], request_timeout=ANSWER_S))


# ---- the table -------------------------------------------------------------------------------------------------------

READING: tuple[Call, ...] = (
    fetch, fetch_in_group, aio_offsets, first_offset, last_offset, offset_by_time, metadata, metadata_of_all, describe,
    commit_on_topic,
)  # fmt: skip
WRITING: tuple[Call, ...] = (send, send_idempotent, aio_send)
CHANGING: tuple[Call, ...] = (describe_configs, alter_configs)
UNDESCRIBED: tuple[Call, ...] = (fetch, fetch_in_group, commit_on_topic, delete_records, *CHANGING)
"""What is not for a tenant on a topic that it may write, and therefore describe."""
GROUPS: tuple[Call, ...] = (
    join, describe_group, list_groups, group_offsets, committed, commit_in_group, delete_group,
)  # fmt: skip
CLUSTER: tuple[Call, ...] = (create_acl, delete_acl, describe_acls, set_password, broker_configs, alter_broker)


@dataclass(frozen=True, slots=True)
class Probe:
    """A call, what it is about, and who may make it."""

    call: Call
    target: str
    rightful: str

    def __str__(self) -> str:
        return f"{self.call.__name__} {self.target}"


def _all(calls: Sequence[Call], targets: Sequence[str], rightful: str) -> list[Probe]:
    return [Probe(call, target, rightful) for target in targets for call in calls]


def probes(prefix: str, other: str) -> list[Probe]:
    """Everything that a tenant may try on what belongs to tenant `other` or to the stages. rightful: a user's name."""
    theirs, base = f"{prefix}.replies.{other}.v1", f"{prefix}.replies.{other}."
    ops, tenant, replier = f"{prefix}-ops", f"tenant-{other}", f"{prefix}-reply"
    inside = [
        *(f"{prefix}.{entity}.v1" for entity in (
            "replies.default", "jobs.replies", "jobs.state", "jobs.finished", "jobs.events", "jobs.control",
            "jobs.cleared.standard", "dispatch.state", "usage.metered",
        )),
        f"dlq.{prefix}.jobs.requested.standard.v1",
    ]  # fmt: skip
    asked = [f"{prefix}.jobs.requested.standard.v1", f"{prefix}.orders.requested.v1"]
    spare = [f"{base}spare", f"{prefix}.jobs.spare.v1"]
    groups = [f"{prefix}.track", f"{prefix}.dispatch-leader"]
    return [
        *_all(READING, [theirs], tenant),
        *_all(WRITING, [theirs], replier),
        *_all(CHANGING, [theirs], ops),
        *_all((*READING, *WRITING, *CHANGING), inside, ops),
        *_all((delete_records,), [theirs, *(topic for topic in inside if ".state." not in topic)], ops),
        *_all(UNDESCRIBED, asked, ops),
        *_all((create_topic, add_partitions, delete_topic), spare, ops),
        *_all(GROUPS[:-1], [f"{base}service"], tenant),
        *_all(GROUPS[-1:], [f"{base}service"], ops),
        *_all(GROUPS, groups, ops),
        *_all(
            (init_transactions, aio_transaction), [f"{prefix}.track-0", f"{prefix}.dispatch-leader", f"{base}x"], ops
        ),
        *_all(CLUSTER, [f"User:{tenant}"], "admin"),
    ]
