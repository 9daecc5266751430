"""What of a letter may be seen: decoded where it decodes, without control characters, secrets or signatures. Pure."""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ops.bus.dead_letter import printable
from ops.dead_letters.letter import Letter
from schemas import envelope
from schemas.codec import decode, format_of, unframed
from schemas.errors import InvalidMessage

HIDDEN = "(not shown)"
MOST_TEXT_BYTES = 16_384
MOST_BYTES = 256
_NAMES = "secret|token|passw|authori[sz]ation|api[-_]?key|credential|cookie|signature|private"
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
_SECRET_FIELD = re.compile(rf'("[^"]*(?:{_NAMES})[^"]*"\s*:[\s\[]*)"[^"]*"?', re.IGNORECASE)
"""In JSON that is broken somewhere."""
_SECRET_TEXT = re.compile(r"whsec_[A-Za-z0-9+/=_-]+|(?i:bearer)\s+[A-Za-z0-9._~+/=-]{16,}")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")


def when(at_ms: int) -> str:
    """UTC to the second; the number itself where it is no moment."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


def place_of(letter: Letter) -> str:
    """As `dlq show` takes it."""
    return f"{letter.record.topic}:{letter.record.partition}:{letter.record.offset}"


def state_of(letter: Letter) -> str:
    """open, replayed, or unsettled: a run began to replay it and did not say what became of it."""
    if letter.claimed is not None:
        return "unsettled"
    return "replayed" if letter.replays else "open"


def line(letter: Letter, prefix: str) -> dict[str, Any]:
    """What a list says of a letter."""
    topic, partition, offset = letter.origin
    replays = letter.replays
    return {
        "place": place_of(letter),
        "topic": letter.of.name(prefix),
        "stage": safe(letter.stage),
        "code": safe(letter.code),
        "message": without_secrets(safe(letter.message)),
        "at_ms": letter.record.timestamp_ms,
        "origin": f"{safe(topic)}:{partition}:{offset}",
        "key": key_of(letter),
        "state": state_of(letter),
        "replays": len(replays),
        "replayed_at_ms": replays[-1].at_ms if replays else None,
        "attempt": letter.attempt,
    }


def key_of(letter: Letter) -> str | None:
    """The record's key as text."""
    key = letter.record.key
    return None if key is None else without_secrets(safe(key.decode(errors="backslashreplace")))


def whole_letter(letter: Letter, prefix: str) -> dict[str, Any]:
    """All that may be seen of one letter."""
    form, value = value_of(letter)
    raw = letter.record.value or b""
    return {
        **line(letter, prefix),
        "headers": [[safe(name), header_of(name, value)] for name, value in letter.record.headers],
        "steps": [{"kind": s.kind, "run": safe(s.run), "at_ms": s.at_ms, "offset": s.offset} for s in letter.steps],
        "value_bytes": None if letter.record.value is None else len(raw),
        "value_sha256": hashlib.sha256(raw).hexdigest(),
        "value_form": form,
        "value": value,
    }


def value_of(letter: Letter) -> tuple[str, Any]:
    """How far the value could be read, and what is shown of it.

    "record" (valid: what was wrong may be mended by now), "avro", "json" (not of the topic's schema, or out of its
    limits), "text", "bytes", "none".
    """
    raw, kind = letter.record.value, letter.of.record
    if raw is None:
        return "none", None
    assert kind is not None
    try:
        return "record", redacted(msgspec.to_builtins(decode(kind, raw)))
    except InvalidMessage:
        pass
    try:
        if format_of(raw) == "avro":
            return "avro", redacted(unframed(kind.__name__, raw))
        return "json", redacted(json.loads(raw))
    except (InvalidMessage, ValueError, RecursionError):
        pass
    try:
        return "text", without_secrets(safe(raw[:MOST_TEXT_BYTES].decode()))
    except UnicodeDecodeError:
        return "bytes", raw[:MOST_BYTES].hex()


def header_of(name: str, value: bytes) -> str:
    """A header's value. A signature shows its key and moment, and not what would prove it."""
    if name == envelope.HEADER:
        parts = value.decode(errors="replace").split(",")
        return safe(",".join([*parts[:3], HIDDEN])) if len(parts) == 4 else HIDDEN
    if _SECRET_NAME.search(name):
        return HIDDEN
    return without_secrets(safe(value.decode(errors="backslashreplace")))


def safe(text: str) -> str:
    """On one line, and nothing in it that a terminal obeys."""
    return printable(text, MOST_TEXT_BYTES)


def without_secrets(text: str) -> str:
    """Addresses lose user, query and fragment; webhook secrets and bearer tokens are not shown."""
    text = _SECRET_FIELD.sub(rf'\1"{HIDDEN}"', text)
    return _SECRET_TEXT.sub(HIDDEN, _ADDRESS.sub(lambda found: _bare(found[0]), text))


def _bare(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    _, at, host = parts.netloc.rpartition("@")
    asked = HIDDEN if parts.query or parts.fragment else ""
    return urlunsplit((parts.scheme, (HIDDEN + "@" if at else "") + host, parts.path, asked, ""))


def redacted(value: Any) -> Any:
    """Plain data with every text made safe and what is named like a secret hidden."""
    if isinstance(value, dict):
        return {
            safe(str(name)): HIDDEN if _SECRET_NAME.search(str(name)) and item else redacted(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if isinstance(value, bytes):
        return value[:MOST_BYTES].hex()
    return without_secrets(safe(value)) if isinstance(value, str) else value
