"""One principal's clients for the probes, and how the broker's yes, no or silence is told.

A call returns when the broker did what was asked, and raises KafkaException with the broker's own code when it refused.
No answer is neither: it is an error.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import BrokerResponseError
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from ops.bus import clients, faust_security
from ops.settings import Settings

log = logging.getLogger(__name__)

ANSWER_S = 30.0


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
        return Producer({**self.config(), "acks": "1", "delivery.timeout.ms": 30_000})

    def member(self, group: str) -> Consumer:
        """A bare consumer: ours would put the broker's refusal into words of its own."""
        own = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        return Consumer({**self.config(), **own, "enable.partition.eof": True})

    def config(self) -> dict[str, Any]:
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


def only(answers: Mapping[Any, "Future[Any]"]) -> Any:
    (answer,) = answers.values()
    try:
        return answer.result(ANSWER_S)
    except TimeoutError:
        raise NoAnswer from None


def listen(consumer: Consumer) -> None:
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


def in_loop(actor: Actor, work: Callable[[], Awaitable[Any]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(work(), ANSWER_S)

    try:
        asyncio.run_coroutine_threadsafe(run(), actor.loop).result()
    except BrokerResponseError as exc:
        raise KafkaException(KafkaError(exc.errno)) from None
    except TimeoutError:
        raise NoAnswer from None


def ask_bare(actor: Actor, request: Any, code_of: Callable[[Any], int]) -> None:
    """librdkafka asks for metadata, finds the topic or the coordinator hidden, and says so in codes of its own, or
    nothing at all."""

    async def work() -> None:
        if code := code_of(await actor.ask(request)):
            raise KafkaException(KafkaError(code))

    in_loop(actor, work)


def commit(actor: Actor, group: str, topic: str) -> None:
    offsets = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])
    answer = only(actor.admin.alter_consumer_group_offsets([offsets], request_timeout=ANSWER_S))
    for place in answer.topic_partitions:
        if place.error is not None:
            raise KafkaException(place.error)
