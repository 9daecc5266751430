"""Reads whole topics: from their beginning (or the last seconds), then live. The one place where that is done.

It joins no consumer group and commits nothing, so any number of readers see everything and disturb nobody.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from ops import schema_registry
from ops.bus import clients
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.topics import CallersTopic, Topic

log = logging.getLogger(__name__)

AnyTopic = Topic | CallersTopic
REACH_TIMEOUT_S = 8.0
WHY_S = 2.0
NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it was read; `record` is None for a tombstone."""

    topic: AnyTopic
    key: str
    record: msgspec.Struct | None
    timestamp_ms: int


def partitions_of(client: Any, settings: Settings, topics: Sequence[AnyTopic]) -> dict[AnyTopic, list[int]]:
    """Partitions of each topic. Raises Transient when no broker answers or a topic does not exist.

    client: anything of confluent-kafka that has list_topics.
    """
    try:
        known = client.list_topics(timeout=REACH_TIMEOUT_S - WHY_S).topics
    except KafkaException:
        clients.reached(settings, WHY_S)  # raises with the reason, which the call above does not tell
        raise Transient(f"{settings.bootstrap_servers} answers too slowly to list its topics") from None
    missing = [topic for topic in topics if topic.name(settings.prefix) not in known]
    if missing:
        names = ", ".join(topic.name(settings.prefix) for topic in missing)
        user = settings.kafka.get("sasl.username")
        hidden = f", or {user} may not see it" if user else ""
        ours = all(isinstance(topic, Topic) for topic in missing)
        remedy = "create it with `reelbus topics apply`" if ours else "the operator creates reply topics"
        raise Transient(f"topic {names} does not exist{hidden}; {remedy}")
    return {topic: sorted(known[topic.name(settings.prefix)].partitions) for topic in topics}


class TopicReader:
    """Committed records of several topics, decoded. Use as a context manager.

    recent_s: entity -> how many seconds back to start; a topic that is not named is read from its beginning.
    groups:   what the name of a group begins with that the reader's user may use. None is joined, but the client looks
              up its coordinator, and a broker that refuses logs a denial; <prefix>. unless given
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[AnyTopic],
        recent_s: Mapping[str, float] | None = None,
        groups: str = "",
    ) -> None:
        schema_registry.install(settings)
        self._topics = {topic.name(settings.prefix): topic for topic in topics}
        group = f"{groups or clients.group_id(settings, '')}reader-{uuid.uuid4().hex[:12]}"
        self._consumer: Consumer = clients.consumer(settings, group, enable_partition_eof=True)
        try:
            partitions = partitions_of(self._consumer, settings, topics)
            places = [self._start(topic, p, settings, recent_s or {}) for topic in topics for p in partitions[topic]]
            self._consumer.assign(places)
        except BaseException:
            self._consumer.close()
            raise
        self._behind = {(place.topic, place.partition) for place in places}
        self.trouble = ""
        """Why nothing comes at the moment, "" when all is well. The client keeps trying by itself."""

    def __enter__(self) -> "TopicReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def _start(
        self, topic: AnyTopic, partition: int, settings: Settings, recent_s: Mapping[str, float]
    ) -> TopicPartition:
        name = topic.name(settings.prefix)
        if topic.entity not in recent_s:
            return TopicPartition(name, partition, OFFSET_BEGINNING)
        since_ms = int((time.time() - recent_s[topic.entity]) * 1000)
        asked = [TopicPartition(name, partition, since_ms)]
        give_up_s = time.monotonic() + REACH_TIMEOUT_S
        while True:
            try:
                # First the end, then the search: what is written in between lies behind this end and is not missed, as
                # it would be at OFFSET_END, which the client looks up when it fetches for the first time.
                end = self._consumer.get_watermark_offsets(asked[0], timeout=REACH_TIMEOUT_S)[1]
                found = self._consumer.offsets_for_times(asked, timeout=REACH_TIMEOUT_S)[0]
            except KafkaException as exc:
                # A topic created a moment ago has no leader yet: that passes.
                if exc.args[0].code() not in NO_LEADER_YET or time.monotonic() > give_up_s:
                    raise Transient(f"cannot read {name}: {exc.args[0].str()}") from None
                time.sleep(0.1)
            else:
                return TopicPartition(name, partition, found.offset if found.offset >= 0 else end)

    @property
    def caught_up(self) -> bool:
        """Whether every partition was once read to its end, so that all that was there before is known."""
        return not self._behind

    def poll(self, timeout_s: float) -> list[Entry]:
        """Records that came, waiting at most `timeout_s` for the first; a record that cannot be decoded is skipped."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        entries = []
        for message in [first, *self._consumer.consume(500, 0)]:
            if (error := message.error()) is not None:
                self._note(error, message)
                continue
            self.trouble = ""
            if (entry := self._entry(message)) is not None:
                entries.append(entry)
        return entries

    def _note(self, error: KafkaError, message: "Message[bytes, bytes]") -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._behind.discard((message.topic() or "", message.partition() or 0))
            self.trouble = ""
        elif error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise Transient(f"cannot read any more: {error.str()}")
        else:
            self.trouble = error.str()
            log.warning("reader: %s", error)

    def _entry(self, message: "Message[bytes, bytes]") -> Entry | None:
        topic = self._topics[message.topic() or ""]
        key, value = (message.key() or b"").decode(errors="replace"), message.value()
        if topic.record is None:
            return None
        try:
            record = None if value is None else decode(topic.record, value)
        except InvalidMessage as exc:
            log.warning("reader: %s[%s]@%s skipped: %s", message.topic(), message.partition(), message.offset(), exc)
            return None
        return Entry(topic, key, record, message.timestamp()[1])
