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
    name = type(record).__name__
    out = io.BytesIO()
    out.write(b"\x00" + catalog.in_use().id_of(name).to_bytes(4, "big"))
    fastavro.schemaless_writer(out, catalog.reader(name), msgspec.to_builtins(record))
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
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
        raise InvalidMessage(f"not a valid {record}: the payload does not fit schema id {schema_id}: {exc}") from None
    if left := len(raw) - FRAME_BYTES - stream.tell():
        raise InvalidMessage(f"not a valid {record}: {left} bytes after the end of the payload")
    return plain
