"""Reading a compacted topic to its end: how state comes back after a restart."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import ListOffsetsResultInfo, OffsetSpec

from ops.bus import clients
from ops.bus.pulse import beat
from ops.settings import Settings
from schemas.errors import Transient
from schemas.topics import Topic

_SILENCE_S = 60
_ASK_S = 5
"""Within which a leader answers, or is asked for anew. A broker that is killed leads for 9 s more, as far as the others
know."""
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_LOOK_BACK = 64
"""Offsets that are read first when only the last record of a partition is wanted."""


def partition_count(consumer: Consumer, topic: str, timeout_s: float = 30.0) -> int:
    """Partitions of a topic on the cluster. Raises Transient when it does not exist (yet)."""
    known = consumer.list_topics(topic, timeout_s).topics[topic]
    if known.error is not None:
        raise Transient(f"topic {topic}: {known.error}; `reelbus topics apply` creates it")
    return len(known.partitions)


def load(settings: Settings, topic: Topic, partitions: Sequence[int] | None = None) -> dict[str, bytes]:
    """The last value of every key (tombstoned keys are left out), up to the end at the time of the call.

    Reads committed transactions only, and waits for those that are open: their rows may be the last. Raises Transient
    when the broker stops answering.
    """
    return {key: value for key, (value, _) in load_timed(settings, topic, partitions).items()}


def load_timed(
    settings: Settings, topic: Topic, partitions: Sequence[int] | None = None
) -> dict[str, tuple[bytes, int]]:
    """As `load`, each value with its record's timestamp, ms: when it was written."""
    table: dict[str, tuple[bytes, int]] = {}
    for key, value, written_ms in _records(settings, topic, partitions):
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value, written_ms
    return table


def scan(
    settings: Settings, topic: Topic, partitions: Sequence[int] | None = None
) -> Iterator[tuple[str, bytes | None]]:
    """Keys and values as they lie there, None for a tombstone; for who does not want to keep them all. As `load`."""
    return ((key, value) for key, value, _ in _records(settings, topic, partitions))


def records(settings: Settings, topic: Topic) -> Iterator[tuple[TopicPartition, bytes]]:
    """All committed records with a value, in the order of each partition, up to the end at the time of the call."""
    for message in _messages(settings, topic, None):
        partition, offset, value = message.partition(), message.offset(), message.value()
        if value is not None and partition is not None and offset is not None:
            yield TopicPartition(topic.name(settings.prefix), partition, offset), value


def last(settings: Settings, topic: Topic, partition: int, usable: Callable[[bytes], bool]) -> bytes | None:
    """The last committed value of a partition that is usable, None when there is none. Looks further and further back:
    what is found at the end may be marks of transactions, and records of transactions that came to nothing."""
    end, back = _ends(settings, topic.name(settings.prefix), [partition])[partition], _LOOK_BACK
    while True:
        found = None
        for message in _messages(settings, topic, [partition], back):
            if (value := message.value()) is not None and usable(value):
                found = value
        if found is not None or back >= end:
            return found
        back *= 16


def _records(
    settings: Settings, topic: Topic, partitions: Sequence[int] | None
) -> Iterator[tuple[str, bytes | None, int]]:
    for message in _messages(settings, topic, partitions):
        yield (message.key() or b"").decode(), message.value(), message.timestamp()[1]


def _messages(
    settings: Settings, topic: Topic, partitions: Sequence[int] | None, back: int | None = None
) -> Iterator[Message]:
    """back: so many offsets before the end; None: from the beginning."""
    name = topic.name(settings.prefix)
    reader = clients.consumer(settings, f"{clients.group_id(settings, 'table')}-reader", fetch_wait_max_ms=10)
    try:
        wanted = range(partition_count(reader, name)) if partitions is None else partitions
        end_of = _ends(settings, name, wanted)
        left = {p for p, end in end_of.items() if end > 0}
        begin = {p: OFFSET_BEGINNING if back is None else max(0, end_of[p] - back) for p in left}
        reader.assign([TopicPartition(name, p, begin[p]) for p in left])
        quiet_since_s = time.monotonic()
        while left:
            beat()
            for message in reader.consume(500, 0.1):
                if message.error() is not None:
                    continue
                quiet_since_s = time.monotonic()
                yield message
            # The position also passes transaction markers and compacted offsets, which carry no message.
            left = {p.partition for p in reader.position(list(reader.assignment())) if p.offset < end_of[p.partition]}
            if left and time.monotonic() - quiet_since_s > _SILENCE_S:
                raise Transient(f"could not read {name} to its end within {_SILENCE_S} s of silence")
    except KafkaException as exc:
        raise Transient(f"cannot read {name}: {exc.args[0].str()}") from None
    finally:
        reader.close()


def _ends(settings: Settings, name: str, partitions: Sequence[int]) -> dict[int, int]:
    """Where each partition ends, undecided transactions included. A reader of committed records would be told that it
    ends before the first of those, and a state read up to there lacks what is committed a moment later.

    A partition whose leader is gone is asked about again until there is another one. Raises Transient.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    everything = IsolationLevel.READ_UNCOMMITTED
    ends: dict[int, int] = {}
    deadline_s = time.monotonic() + _SILENCE_S
    while left := [p for p in partitions if p not in ends]:
        if time.monotonic() > deadline_s:
            raise Transient(f"{name}: nobody says within {_SILENCE_S} s where partition {left[0]} ends")
        beat()
        wanted = {TopicPartition(name, p): latest for p in left}
        admin = clients.admin(settings)  # a new one each time: it remembers for minutes who led
        asked = admin.list_offsets(wanted, isolation_level=everything, request_timeout=_ASK_S)
        for place, answer in asked.items():
            if (end := _told(answer)) is not None:
                ends[place.partition] = end
        if len(ends) < len(partitions):
            time.sleep(0.1)
    return ends


def _told(answer: "Future[ListOffsetsResultInfo]") -> int | None:
    """The offset; None while no leader tells it. Raises KafkaException when asking again is no use."""
    try:
        offset = int(answer.result().offset)
    except KafkaException as exc:
        if exc.args[0].code() in _REFUSED:
            raise
        return None
    # librdkafka 2.16.0 gives -1001 and no error for a partition whose leader has not answered in time.
    return offset if offset >= 0 else None
