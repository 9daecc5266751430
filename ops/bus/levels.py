"""Reads what operators set (switches, quotas, rules): to the end before the stage begins, then live.

What is no such record is logged and changes nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus import table
from ops.settings import Settings
from schemas.errors import InvalidMessage, Transient
from schemas.records import Incoming
from schemas.topics import Topic

log = logging.getLogger(__name__)
ANSWER_S = 30.0
Put = Callable[[str, bytes | None], None]
"""Takes the last record of a key, None for a tombstone. Raises InvalidMessage for what it cannot be."""


class Levels:
    """places: where the consumer has to go on. A few records before it may come again, in their order, which changes
    nothing in the end."""

    def __init__(self, settings: Settings, consumer: Consumer, puts: Mapping[Topic, Put]) -> None:
        self._puts = {topic.name(settings.prefix): put for topic, put in puts.items()}
        # Before they are read: what is written in between is seen twice, not never.
        self.places = [place for name in self._puts for place in _ends(consumer, name)]
        for topic in puts:
            for key, raw in table.load(settings, topic).items():
                self._put(topic.name(settings.prefix), key, raw)

    def take(self, records: Sequence[Incoming]) -> list[Incoming]:
        """Take in what is among these records; returns the others."""
        others = []
        for record in records:
            if record.topic in self._puts:
                self._put(record.topic, (record.key or b"").decode(errors="replace"), record.value)
            else:
                others.append(record)
        return others

    def _put(self, topic: str, key: str, raw: bytes | None) -> None:
        try:
            self._puts[topic](key, raw)
        except InvalidMessage as exc:
            log.warning("passed over key %r of %s: %s", key[:80], topic, exc)


def _ends(consumer: Consumer, topic: str) -> list[TopicPartition]:
    places = []
    for partition in range(table.partition_count(consumer, topic)):
        place = TopicPartition(topic, partition)
        try:
            _, place.offset = consumer.get_watermark_offsets(place, timeout=ANSWER_S)
        except KafkaException as exc:
            raise Transient(f"cannot read {topic}: {exc.args[0].str()}") from None
        places.append(place)
    return places
