"""What the stages' loops pass around: records in, records out. Pure."""

from dataclasses import dataclass

import msgspec

from schemas.codec import Format, encode
from schemas.topics import CallersTopic, Topic

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

    topic: Topic | CallersTopic
    key: str
    record: msgspec.Struct | None
    """None writes a tombstone."""
    headers: Headers = ()
    partition: int | None = None
    format: Format = "avro"

    def value(self) -> bytes | None:
        """Bytes to write. Raises ValueError for a record that is too large."""
        return None if self.record is None else encode(self.record, self.format)
