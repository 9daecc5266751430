"""Bytes to records and back: one codec for every topic.

What we write is Avro in Confluent's wire format: byte 0x00, four bytes of schema id (big endian), payload. What we read
is that, or JSON (first byte `{`), which callers may send and people type. Both are checked against the same struct.
"""

import io
from functools import cache
from typing import Any, Literal, TypeVar

import fastavro
import msgspec

from schemas import catalog
from schemas.errors import InvalidMessage

R = TypeVar("R", bound=msgspec.Struct)
Format = Literal["avro", "json"]
MAX_RECORD_BYTES = 64 * 1024
FRAME_BYTES = 5
CONTENT_TYPES: dict[Format, bytes] = {"avro": b"application/avro", "json": b"application/json"}
_json = msgspec.json.Encoder()


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def encode(record: msgspec.Struct, format: Format = "avro") -> bytes:
    """At most MAX_RECORD_BYTES bytes; a larger record is a bug upstream, and raises ValueError."""
    raw = _json.encode(record) if format == "json" else _framed(record)
    if len(raw) > MAX_RECORD_BYTES:
        raise ValueError(f"{type(record).__name__} of {len(raw)} bytes exceeds {MAX_RECORD_BYTES}")
    return raw


def _framed(record: msgspec.Struct) -> bytes:
    payload = _payload(record)
    return b"\x00" + catalog.in_use().id_of(type(record).__name__).to_bytes(4, "big") + payload


def _payload(record: msgspec.Struct) -> bytes:
    """Needs no id, and so no registry."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, catalog.reader(type(record).__name__), msgspec.to_builtins(record))
    return out.getvalue()


def format_of(raw: bytes) -> Format:
    """How a record is encoded, by its first byte."""
    return "avro" if raw[:1] == b"\x00" else "json"


def decode(kind: type[R], raw: bytes | None) -> R:
    """Strict: unknown fields, wrong types and values out of range raise InvalidMessage that names the field."""
    if raw is None:
        raise InvalidMessage(f"tombstone where a {kind.__name__} was expected")
    if len(raw) > MAX_RECORD_BYTES:
        raise InvalidMessage(f"record of {len(raw)} bytes; the limit is {MAX_RECORD_BYTES}")
    try:
        if format_of(raw) == "avro":
            return msgspec.convert(unframed(kind.__name__, raw), kind)
        record: R = _decoder(kind).decode(raw)
        _payload(record)  # JSON has numbers that Avro has not
    except (ValueError, OverflowError, RecursionError) as exc:  # msgspec's and UTF-8 faults are ValueErrors
        raise InvalidMessage(f"not a valid {kind.__name__}: {exc}") from None
    return record


def unframed(record: str, raw: bytes) -> Any:
    """Plain data of a framed record, as its newest schema has it. Values are not checked yet.

    Raises InvalidMessage: cut frame, unknown id, payload that does not fit the schema, bytes left over.
    """
    if len(raw) <= FRAME_BYTES:
        raise InvalidMessage(f"not a valid {record}: a frame of {len(raw)} bytes; byte 0x00, four of id, payload")
    schema_id = int.from_bytes(raw[1:FRAME_BYTES], "big")
    writer = catalog.in_use().writer(schema_id)
    if (written := writer["name"].rpartition(".")[2]) != record:
        raise InvalidMessage(f"not a {record}: schema id {schema_id} is a {written}")
    stream = io.BytesIO(raw[FRAME_BYTES:])
    try:
        plain = fastavro.schemaless_reader(stream, writer, catalog.reader(record))
    except Exception as exc:  # a stranger's bytes; fastavro names no set of errors
        why = "it ends too early" if isinstance(exc, EOFError) else str(exc) or type(exc).__name__
        raise InvalidMessage(f"not a valid {record}: the payload does not fit schema id {schema_id}: {why}") from None
    if left := len(raw) - FRAME_BYTES - stream.tell():
        raise InvalidMessage(f"not a valid {record}: {left} bytes after the end of the payload")
    return plain
