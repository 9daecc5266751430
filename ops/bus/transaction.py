"""Short transactions: records and offsets together, or neither.

Crash-only: any error ends the process, and the next `init_transactions` fences what is left. librdkafka has no KIP-890
yet, so a transaction that timed out must never be followed by another from the same producer (reliability.md, 2).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus import clients
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import Outbox
from ops.crash_points import reached
from ops.settings import Settings
from schemas.errors import Transient
from schemas.records import Headers, Outgoing

LIMIT_S = 15.0
"""A transaction whose next step takes longer has failed, whatever the client says; it takes 10 ms as a rule."""


@dataclass(frozen=True, slots=True)
class Commit:
    """An offset to commit. note: its metadata (tries.py)."""

    topic: str
    partition: int
    offset: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter, ready to be written: the bytes as they came, with headers that say why."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class Transactions:
    """One producer's transactions.

    slot:   names this process among its stage: a second one with the same slot fences the first
    pace_s: between two of them while there is much to do: each costs the broker some twenty small requests and writes
    next_s: until this moment of time.monotonic records are better gathered than committed
    """

    def __init__(self, settings: Settings, stage: str, slot: str, pace_s: float = 0.0) -> None:
        self._stage, self._pace_s = stage, pace_s
        self.next_s = 0.0
        self._outbox = Outbox(clients.transactional_producer(settings, f"{stage}-{slot}"), settings.prefix, stage)

    def commit(
        self,
        records: Sequence[Outgoing],
        dead: Sequence[Dead],
        offsets: Sequence[Commit],
        consumer: Consumer,
    ) -> None:
        """Write `records` and dead letters and move the group of `consumer` to `offsets`, atomically. Raises Transient
        on any trouble: end the process then. What cannot be encoded raises ValueError."""
        producer = self._outbox.producer
        reached(self._stage, "read")
        try:
            producer.begin_transaction()
            reached(self._stage, "begun")
            self._outbox.send(records)
            for letter in dead:
                self._outbox.send_raw(letter.topic, letter.key, letter.value, list(letter.headers))
            reached(self._stage, "produced")
            # The first call may hang long past its time-out after the broker was away (librdkafka #5456).
            with PULSE.working("transaction", f"of {len(records)} records", LIMIT_S):
                if offsets:
                    places = [TopicPartition(c.topic, c.partition, c.offset, c.note) for c in offsets]
                    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 10)
                    beat()
                reached(self._stage, "offsets-sent")
                producer.commit_transaction(10)
        except KafkaException as exc:
            raise Transient(f"transaction failed: {exc.args[0].str()}") from None
        self.next_s = time.monotonic() + self._pace_s
        reached(self._stage, "committed")
        for done in offsets:
            PULSE.done(done.topic, done.partition, done.offset)
