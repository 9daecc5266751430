"""Record headers as JSON Schema, for the AsyncAPI document. Pure."""

from typing import Any

from ops.bus import dead_letter
from schemas.cloud_events import MAX_VALUE_BYTES, TRACE
from schemas.envelope import FORM, HEADER

_TRACE = {
    "traceparent": "W3C trace context; that of the request is on every record that answers it.",
    "tracestate": "W3C trace state.",
    "baggage": "W3C baggage.",
}
assert tuple(_TRACE) == TRACE
_CLOUD_EVENTS = {
    "ce_specversion": "CloudEvents version, 1.0.",
    "ce_id": "Names the record: one that is written again has the same.",
    "ce_source": "Who wrote it, e.g. /reelbus/track.",
    "ce_type": "What it is, e.g. reelbus.jobs.finished.v1.",
    "ce_subject": "The record key.",
    "content-type": "application/avro or application/json.",
}
_DEAD_LETTER = {
    "__dlq.errors.topic": "Topic that it was read from.",
    "__dlq.errors.partition": "Its partition there.",
    "__dlq.errors.offset": "Its offset there.",
    "__dlq.errors.group": "Consumer group that read it.",
    "__dlq.errors.message": f"What is wrong, in one sentence; at most {dead_letter.MAX_MESSAGE_BYTES} bytes.",
    "reelbus.error.class": "Class of the error.",
    "reelbus.error.stage": "Stage that could not use it.",
    "reelbus.error.code": "Machine-readable reason.",
    dead_letter.FIRST_FAILED_AT: "When it failed first, ms since 1970-01-01T00:00Z.",
}


def _text(about: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": about, **more}


def _schema(about: str, properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {"type": "object", "description": about, "properties": properties}
    return {**schema, "required": list(required)} if required else schema


_ALL = {name: _text(about) for name, about in {**_CLOUD_EVENTS, **_TRACE}.items()} | {
    "ce_time": _text("When it happened, RFC 3339.", format="date-time")
}
_GIVEN_BACK = {
    name: _text(f"{about} At most {MAX_VALUE_BYTES} bytes; given back in the result's `origin`.")
    for name, about in {"ce_id": "CloudEvents id.", "ce_source": "CloudEvents source.", **_TRACE}.items()
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "OurHeaders": _schema("CloudEvents 1.0 in binary mode, and W3C trace context.", _ALL, tuple(_CLOUD_EVENTS)),
    "CallersHeaders": _schema(
        "All are optional, except that an installation may require signatures.",
        {
            HEADER: _text(
                f"Who sent this record, and when: {FORM}. The age counts to the broker's timestamp of the record.",
                pattern=r"^v1,[A-Za-z0-9][A-Za-z0-9._-]{0,63},(0|[1-9][0-9]{0,14}),[A-Za-z0-9+/]+={0,2}$",
            ),
            **_GIVEN_BACK,
        },
    ),
    "DeadLetterHeaders": _schema(
        "Headers of the record as it was read, and these.",
        {name: _text(about) for name, about in _DEAD_LETTER.items()},
        tuple(_DEAD_LETTER),
    ),
}
"""By name in components/schemas."""
