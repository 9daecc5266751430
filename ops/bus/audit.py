"""The audit trail as it lies in Kafka: the end of a chain, and whether the chains hold."""

from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, TopicPartition

from ops.bus import clients, table
from ops.settings import Settings
from schemas.audit import AuditEntry, Check, Head, digest
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.topics import AUDIT_TRAIL


def head(settings: Settings, partition: int) -> Head:
    """The last entry of a partition, for who writes the next. Records that are no entries are passed over: they break
    the chain for everybody to see, and are no reason to stop. Raises Transient."""
    raw = table.last(settings, AUDIT_TRAIL, partition, lambda raw: _decoded(raw) is not None)
    entry = _decoded(raw) if raw is not None else None
    return Head(entry.sequence, digest(raw)) if raw is not None and entry is not None else Head()


def entries(settings: Settings) -> Iterator[tuple[TopicPartition, bytes, AuditEntry | None]]:
    """Every record, each partition in its order, up to the end at the time of the call; None: it is no entry."""
    for place, raw in table.records(settings, AUDIT_TRAIL):
        yield place, raw, _decoded(raw)


def _decoded(raw: bytes) -> AuditEntry | None:
    try:
        return decode(AuditEntry, raw)
    except InvalidMessage:
        return None


def verify(settings: Settings, noted: Mapping[int, Head]) -> dict[int, Check]:
    """Follow every chain. noted: heads that were noted before."""
    checks = {p: Check(noted.get(p)) for p in _partitions(settings)}
    ends = dict.fromkeys(checks, 0)
    for place, raw, entry in entries(settings):
        checks[place.partition].take(place.offset, raw, entry)
        ends[place.partition] = place.offset + 1
    for partition, check in checks.items():
        check.finish(ends[partition])
    return checks


def _partitions(settings: Settings) -> range:
    reader: Consumer = clients.consumer(settings, f"{clients.group_id(settings, 'table')}-reader")
    try:
        return range(table.partition_count(reader, AUDIT_TRAIL.name(settings.prefix)))
    finally:
        reader.close()
