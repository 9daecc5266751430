"""CloudEvents 1.0 in Kafka's binary mode, and W3C trace context: the headers of every record. Pure.

Nothing is added to a payload. `ce_id` is the record's own id where it has one, so a record that is written again after
a crash has the same; else it is made from the bytes.
"""

import hashlib
from datetime import UTC, datetime

import msgspec

from schemas.codec import CONTENT_TYPES, Format, format_of
from schemas.plan import Origin
from schemas.records import Headers

TRACE = ("traceparent", "tracestate", "baggage")
MAX_VALUE_BYTES = 512
"""Longer header values of a caller are dropped: they would travel on with every record of the job."""


def headers(source: str, entity: str, key: str, record: msgspec.Struct, value: bytes) -> Headers:
    """Headers of a record that we write.

    source: the stage that writes it
    entity: of the topic, e.g. jobs.finished
    """
    at_ms = getattr(record, "at_ms", 0) or getattr(record, "finished_at_ms", 0) or getattr(record, "updated_at_ms", 0)
    given = {
        "ce_specversion": "1.0",
        "ce_id": getattr(record, "id", "") or hashlib.sha256(value).hexdigest()[:32],
        "ce_source": f"/reelbus/{source}",
        "ce_type": f"reelbus.{entity}.v1",
        "ce_subject": key,
    }
    if at_ms > 0:
        given["ce_time"] = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    made = [(name, text.encode()) for name, text in given.items()]
    return (*made, ("content-type", CONTENT_TYPES[format_of(value)]), *trace_headers(origin_in(record)))


def origin_in(record: msgspec.Struct) -> Origin:
    """How the job of a record came in, as far as the record knows."""
    found = getattr(record, "origin", None) or getattr(getattr(record, "plan", None), "origin", None)
    return found if isinstance(found, Origin) else Origin()


def trace_headers(origin: Origin) -> Headers:
    """The caller's trace context as headers."""
    return tuple((name, text.encode()) for name in TRACE if (text := getattr(origin, name)))


def origin_of(given: Headers, value: bytes, key_id: str = "") -> Origin:
    """What a request's answers give back. Values that are too long or not plain text are left out."""
    format: Format = format_of(value)
    return Origin(
        **{field: _text(given, name) for field, name in _FIELDS.items()},
        format=format,
        key_id=key_id,
    )


_FIELDS = {"ce_id": "ce_id", "ce_source": "ce_source", **{name: name for name in TRACE}}


def _text(given: Headers, wanted: str) -> str:
    """The first header of that name, "" when there is none of use."""
    raw = next((value for name, value in given if name == wanted), b"")
    if len(raw) > MAX_VALUE_BYTES or not raw.isascii() or not raw.decode("ascii").isprintable():
        return ""
    return raw.decode("ascii")
