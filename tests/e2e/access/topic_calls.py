"""What may be asked of a topic, one call each (see `actor`)."""

from typing import Any

import aiokafka
from aiokafka.protocol.admin import DeleteRecordsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from confluent_kafka import (
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
)

from tests.e2e.access.actor import ANSWER_S, Actor, NoAnswer, ask_bare, commit, in_loop, listen, only

RETENTION = "604800000"


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


def aio_send(actor: Actor, topic: str) -> None:
    async def work() -> None:
        producer = aiokafka.AIOKafkaProducer(**actor.aio())
        try:
            await producer.start()
            await producer.send_and_wait(topic, b"probe", key=b"probe")
        finally:
            await producer.stop()

    in_loop(actor, work)


def aio_offsets(actor: Actor, topic: str) -> None:
    async def work() -> None:
        consumer = aiokafka.AIOKafkaConsumer(topic, **actor.aio())
        try:
            await consumer.start()
            await consumer.end_offsets([aiokafka.TopicPartition(topic, 0)])
        finally:
            await consumer.stop()

    in_loop(actor, work)


def _code_of_partition(answer: Any) -> int:
    ((_, ((_, code, *_),)),) = answer.topics
    return int(code)


def fetch(actor: Actor, topic: str) -> None:
    ask_bare(actor, FetchRequest(100, 0, 1024, 1, [(topic, [(0, 0, 1024)])]), _code_of_partition)


def _offset_at(actor: Actor, topic: str, timestamp_ms: int) -> None:
    ask_bare(actor, OffsetRequest(-1, 1, [(topic, [(0, timestamp_ms)])]), _code_of_partition)


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

    ask_bare(actor, DeleteRecordsRequest([(topic, [(0, 0)])], 30_000), code_of)


def fetch_in_group(actor: Actor, topic: str) -> None:
    consumer = actor.member(f"{actor.group}.{topic}")
    try:
        consumer.subscribe([topic])
        listen(consumer)
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
    only(actor.admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S))


def _topic_resource(topic: str) -> ConfigResource:
    return ConfigResource(ConfigResource.Type.TOPIC, topic)


def describe_configs(actor: Actor, topic: str) -> None:
    only(actor.admin.describe_configs([_topic_resource(topic)], request_timeout=ANSWER_S))


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
    only(actor.admin.incremental_alter_configs([resource], request_timeout=ANSWER_S))


def add_partitions(actor: Actor, topic: str) -> None:
    only(actor.admin.create_partitions([NewPartitions(topic, 5)], request_timeout=ANSWER_S))


def delete_topic(actor: Actor, topic: str) -> None:
    only(actor.admin.delete_topics([topic], request_timeout=ANSWER_S))


def create_topic(actor: Actor, topic: str) -> None:
    only(actor.admin.create_topics([NewTopic(topic, 1, 1)], request_timeout=ANSWER_S))


def commit_on_topic(actor: Actor, topic: str) -> None:
    """An offset of that topic in a group of one's own."""
    commit(actor, actor.group, topic)
