"""Reading topics from outside, as a checker does: committed records, from the beginning to the end of the moment."""

from collections.abc import Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from ops.bus import clients, table
from ops.bus.sending import incoming
from ops.settings import Settings
from schemas.records import Incoming
from schemas.topics import CallersTopic, DeadLetters, Topic


def read_all(settings: Settings, topic: Topic | DeadLetters | CallersTopic) -> list[Incoming]:
    """Every committed record of a topic, partition by partition."""
    return list(read_topics(settings, [topic.name(settings.prefix)]))


def read_topics(settings: Settings, names: Sequence[str]) -> Iterator[Incoming]:
    """Every committed record of these topics, by their full names; in order within a partition."""
    reader = clients.consumer(settings, f"{settings.prefix}.checker", fetch_wait_max_ms=10)
    try:
        places = [(name, p) for name in names for p in range(table.partition_count(reader, name))]
        ends = {place: reader.get_watermark_offsets(TopicPartition(*place), timeout=30)[1] for place in places}
        left = {place for place, end in ends.items() if end > 0}
        reader.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in left])
        while left:
            yield from (incoming(m) for m in reader.consume(500, 0.1) if m.error() is None)
            positions = reader.position(list(reader.assignment()))
            left = {(p.topic, p.partition) for p in positions if p.offset < ends[p.topic, p.partition]}
    finally:
        reader.close()


def group_of(settings: Settings, stage: str) -> str:
    """The consumer group with which a stage reads what others write."""
    return clients.group_id(settings, f"render.{settings.pool}" if stage == "render" else stage)
