"""Committed offsets and the notes in their metadata."""

import logging
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus.clients import TRANSACTION_TIMEOUT_MS
from ops.bus.tries import Notes
from schemas.errors import Transient

log = logging.getLogger(__name__)

Place = tuple[str, int]
TIMEOUT_S = 10.0
STABLE_S = 2 * TRANSACTION_TIMEOUT_MS / 1000
"""The broker ends a transaction that nobody ends after its time-out."""


def await_stable(consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
    """Wait until no transaction of an earlier owner holds offsets of these partitions. Raises Transient.

    An owner that froze after it had sent its offsets, and before its commit, is not fenced by a rebalance: it may still
    commit, and what it wrote with them. Who reads its state before that has an old one.
    """
    try:
        consumer.committed([TopicPartition(p.topic, p.partition) for p in partitions], timeout=STABLE_S)
    except KafkaException as exc:
        raise Transient(f"the offsets of an earlier owner stay undecided: {exc.args[0].str()}") from None


class Offsets:
    """The committed offsets of one consumer."""

    def __init__(self, consumer: Consumer, stage: str) -> None:
        self._consumer, self._stage = consumer, stage

    def notes(self, partitions: Sequence[TopicPartition]) -> dict[Place, Notes]:
        """The notes of every partition. When the broker does not tell, tries are counted from the start again."""
        wanted = [TopicPartition(p.topic, p.partition) for p in partitions]
        found: Sequence[TopicPartition] = wanted
        if wanted:
            try:
                found = self._consumer.committed(wanted, timeout=TIMEOUT_S)
            except KafkaException as exc:
                log.warning("%s: cannot read how often records were tried: %s", self._stage, exc.args[0].str())
        return {(p.topic, p.partition): Notes(p.metadata) for p in found}

    def commit(self, topic: str, partition: int, offset: int, notes: Notes, *, wait_for_it: bool) -> bool:
        """Commit an offset with its notes. False when it was refused: a rebalance is under way. If the partition went
        to somebody else the record comes again there and changes nothing; if not, the commit must be made again."""
        place = TopicPartition(topic, partition, offset, notes.text())
        try:
            if wait_for_it:
                self._consumer.commit(offsets=[place], asynchronous=False)
            else:
                self._consumer.commit(offsets=[place], asynchronous=True)
        except KafkaException as exc:
            log.warning("%s: commit of %s[%d] failed: %s", self._stage, topic, partition, exc.args[0].str())
            return False
        return True
