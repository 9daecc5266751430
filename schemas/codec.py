"""Bytes to records and back: one codec for every topic.

JSON on every topic for now; the request topics keep it for good, the internal ones move to Avro with the contract
issue, behind these two functions.
"""

from functools import cache
from typing import Any, TypeVar

import msgspec

from schemas.errors import InvalidMessage

R = TypeVar("R", bound=msgspec.Struct)
MAX_RECORD_BYTES = 64 * 1024
_encoder = msgspec.json.Encoder()


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def encode(record: msgspec.Struct) -> bytes:
    """At most MAX_RECORD_BYTES bytes; a larger record is a bug upstream, and raises ValueError."""
    raw = _encoder.encode(record)
    if len(raw) > MAX_RECORD_BYTES:
        raise ValueError(f"{type(record).__name__} of {len(raw)} bytes exceeds {MAX_RECORD_BYTES}")
    return raw


def decode(kind: type[R], raw: bytes | None) -> R:
    """Strict: unknown fields, wrong types and values out of range raise InvalidMessage that names the field."""
    if raw is None:
        raise InvalidMessage(f"tombstone where a {kind.__name__} was expected")
    if len(raw) > MAX_RECORD_BYTES:
        raise InvalidMessage(f"record of {len(raw)} bytes; the limit is {MAX_RECORD_BYTES}")
    try:
        record: R = _decoder(kind).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidMessage(f"not a valid {kind.__name__}: {exc}") from None
    return record
