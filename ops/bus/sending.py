"""From confluent-kafka messages to our records, and back."""

import logging
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer

from ops.bus import dead_letter
from ops.bus.pulse import PULSE
from schemas import cloud_events
from schemas.errors import Fatal
from schemas.records import Headers, Incoming, Outgoing

log = logging.getLogger(__name__)

ANY_PARTITION = -1


def incoming(message: "Message[bytes, bytes]") -> Incoming:
    """The stages' view of a confluent-kafka message."""
    pairs: Any = message.headers() or ()
    headers = tuple((str(name), value or b"") for name, value in pairs)
    return Incoming(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=headers,
        timestamp_ms=message.timestamp()[1],
    )


def place_of(record: Incoming) -> str:
    """Where a record lies, for the log."""
    return f"{record.topic}[{record.partition}]@{record.offset}"


def read(consumer: Consumer, most: int, timeout_s: float, gather_until_s: float = 0.0) -> list[Incoming]:
    """Up to `most` records; empty after `timeout_s`. Once there is one it waits for more until the moment
    `gather_until_s` of time.monotonic. Raises Fatal when the consumer cannot go on; errors that pass are logged."""
    first = consumer.poll(timeout_s)
    records = []
    more_s = max(0.0, gather_until_s - time.monotonic())
    for message in [] if first is None else [first, *consumer.consume(most - 1, more_s)]:
        if (error := message.error()) is None:
            records.append(record := incoming(message))
            PULSE.read(record.topic, record.partition, record.offset)
        elif error.fatal():
            raise Fatal(f"consumer: {error}")
        else:
            log.warning("consumer: %s", error)
    return records


class Outbox:
    """A producer with its delivery failures. `send` hands over, `failures` grows while the producer is polled.

    source: who writes, for the CloudEvents headers
    """

    def __init__(self, producer: Producer, prefix: str, source: str) -> None:
        self.producer = producer
        self.prefix = prefix
        self.source = source
        self.failures: list[str] = []

    def _delivered(self, error: KafkaError | None, message: object) -> None:
        if error is not None:
            self.failures.append(str(error))

    def send(self, records: Iterable[Outgoing]) -> None:
        """Hand over records. Encoding errors raise before anything is handed over."""
        for out, value in [(out, out.value()) for out in records]:
            headers = list(out.headers)
            if out.record is not None and value is not None:
                headers += cloud_events.headers(self.source, out.topic.entity, out.key, out.record, value)
            self.send_raw(out.topic.name(self.prefix), out.key.encode(), value, headers, out.partition)

    def send_raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int | None = None,
    ) -> None:
        """Hand over bytes as they are (dead letters)."""
        self.producer.produce(
            topic,
            key=key,
            value=value,
            headers=[*headers],
            partition=ANY_PARTITION if partition is None else partition,
            on_delivery=self._delivered,
        )

    def bury(self, topic: str, record: Incoming, headers: Headers) -> None:
        """Hand over a dead letter; a very large one is cut."""
        letter, pairs = dead_letter.fitting(record, headers)
        self.send_raw(topic, letter.key, letter.value, list(pairs))

    def waiting(self) -> int:
        """Records not yet acknowledged, after serving delivery reports for a moment."""
        return self.producer.flush(0.1)
