"""Reads scheduler.switches: to its end before leading, then live. What is no switch is logged and changes nothing."""

import logging
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus import table
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.records import Incoming
from schemas.topics import SCHEDULER_SWITCHES
from schemas.work import Switch
from stream_processors.dispatch.core import Scheduler

log = logging.getLogger(__name__)
ANSWER_S = 30.0


class SwitchReader:
    """places: where the consumer has to go on. A few records before it may come again, in their order, which changes
    nothing in the end."""

    def __init__(self, settings: Settings, consumer: Consumer, scheduler: Scheduler) -> None:
        self._topic, self._scheduler = SCHEDULER_SWITCHES.name(settings.prefix), scheduler
        self.places = self._ends(consumer)  # before it is read: what is written in between is seen twice, not never
        for key, raw in table.load(settings, SCHEDULER_SWITCHES).items():
            self._put(key, raw)

    def _ends(self, consumer: Consumer) -> list[TopicPartition]:
        places = []
        for partition in range(table.partition_count(consumer, self._topic)):
            place = TopicPartition(self._topic, partition)
            try:
                _, place.offset = consumer.get_watermark_offsets(place, timeout=ANSWER_S)
            except KafkaException as exc:
                raise Transient(f"cannot read {self._topic}: {exc.args[0].str()}") from None
            places.append(place)
        return places

    def take(self, records: Sequence[Incoming]) -> list[Incoming]:
        """Put the switches among these records; returns the others."""
        others = []
        for record in records:
            if record.topic == self._topic:
                self._put((record.key or b"").decode(errors="replace"), record.value)
            else:
                others.append(record)
        return others

    def _put(self, key: str, raw: bytes | None) -> None:
        try:
            self._scheduler.on_switch(key, None if raw is None else decode(Switch, raw))
        except InvalidMessage as exc:
            log.warning("no switch at key %r of %s: %s", key[:80], self._topic, exc)
