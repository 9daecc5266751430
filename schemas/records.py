"""What the stages' loops pass around: records in, records out. Pure."""

from dataclasses import dataclass

import msgspec

from schemas.topics import Topic

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it was read. `timestamp_ms` is its record timestamp."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write. Without `partition` the key picks it."""

    topic: Topic
    key: str
    record: msgspec.Struct | None
    """None writes a tombstone."""
    headers: Headers = ()
    partition: int | None = None
