"""Reading topics from outside, as a checker does: committed records, from the beginning to the end of the moment."""

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from ops.bus import clients, table
from ops.bus.sending import incoming
from ops.settings import Settings
from schemas.records import Incoming
from schemas.topics import CallersTopic, DeadLetters, Topic


def read_all(settings: Settings, topic: Topic | DeadLetters | CallersTopic) -> list[Incoming]:
    """Every committed record of a topic, partition by partition."""
    name = topic.name(settings.prefix)
    reader = clients.consumer(settings, f"{settings.prefix}.checker", fetch_wait_max_ms=10)
    try:
        partitions = range(table.partition_count(reader, name))
        ends = {p: reader.get_watermark_offsets(TopicPartition(name, p), timeout=30)[1] for p in partitions}
        left = {p for p, end in ends.items() if end > 0}
        reader.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in left])
        found: list[Incoming] = []
        while left:
            found += [incoming(m) for m in reader.consume(500, 0.1) if m.error() is None]
            left = {p.partition for p in reader.position(list(reader.assignment())) if p.offset < ends[p.partition]}
        return found
    finally:
        reader.close()
