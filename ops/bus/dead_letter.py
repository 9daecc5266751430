"""Headers of a dead letter: where the record came from and why it could not be used. Pure.

The names are those of Kafka Streams and Connect (`__dlq.errors.*`, KIP-1034 and KIP-1191), so that existing replay
tools understand them, and ours under `reelbus.error.*`. Key and value of the record go to the dead letter topic
unchanged.
"""

import hashlib
import re
from dataclasses import replace

from schemas.records import Headers, Incoming
from schemas.retries import ATTEMPT_HEADER, DUE_HEADER

MAX_MESSAGE_BYTES = 1024
MAX_LETTER_BYTES = 900_000
"""A letter above this is cut: with its headers it may be more than a client or broker takes (about 1 MB)."""
MAX_CUT_VALUE_BYTES = 32 * 1024
FIRST_FAILED_AT = "reelbus.error.first-failed-at"
_KAFKA = "__dlq.errors."
_OURS = "reelbus.error."
# C0 and C1 controls, and the two Unicode line ends: nothing in a header may forge a line of a log or a terminal code.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def headers(record: Incoming, group: str, stage: str, error: Exception, now_ms: int, *, moved: bool = False) -> Headers:
    """All headers of `record`, then ours. A record that failed before keeps the moment of its first failure.

    group:  consumer group that read the record
    error:  its text is one sentence for the person who reads the dead letter; cut to MAX_MESSAGE_BYTES. Its code, for
            programs, is its attribute `code`, or its class in snake case
    now_ms: moment of the failure, ms since the epoch
    moved:  the record was read from a retry topic: where it came from is where its headers say that it was read first
    """
    kept = tuple((name, value) for name, value in record.headers if not name.startswith((_KAFKA, _OURS)))
    place = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
    if moved:
        said = {name: value.decode(errors="replace") for name, value in record.headers}
        place = {name: said.get(f"{_KAFKA}{name}", here) for name, here in place.items()}
        kept = without_retry(kept)
    first = next((value for name, value in record.headers if name == FIRST_FAILED_AT), str(now_ms).encode())
    kind = type(error).__name__
    ours = {
        **{f"{_KAFKA}{name}": value for name, value in place.items()},
        f"{_KAFKA}group": group,
        f"{_KAFKA}message": printable(str(error)),
        f"{_OURS}class": kind,
        f"{_OURS}stage": stage,
        f"{_OURS}code": getattr(error, "code", "") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower(),
    }
    return (*kept, *((name, value.encode()) for name, value in ours.items()), (FIRST_FAILED_AT, first))


def origin_topic(pairs: Headers) -> str:
    """Full name of the topic where a record was read that failed before; "" for one that did not."""
    return next((raw.decode(errors="replace") for name, raw in pairs if name == f"{_KAFKA}topic"), "")


def without_retry(pairs: Headers) -> Headers:
    """Headers without those that only mean something in a retry topic."""
    return tuple((name, value) for name, value in pairs if name not in (ATTEMPT_HEADER, DUE_HEADER))


def fitting(record: Incoming, pairs: Headers, most_bytes: int = MAX_LETTER_BYTES) -> tuple[Incoming, Headers]:
    """Record and headers of a letter, cut when they are larger than `most_bytes` together.

    A cut letter is better than a stage that stands still: it has the beginning of the value, its size and hash, and
    our headers only.
    """
    value, key = record.value or b"", record.key or b""
    if len(value) + len(key) + sum(len(name) + len(raw) for name, raw in pairs) <= most_bytes:
        return record, pairs
    note = f"of {len(value)} bytes with sha256 {hashlib.sha256(value).hexdigest()}".encode()
    ours = tuple((name, raw) for name, raw in pairs if name.startswith((_KAFKA, _OURS)))
    short = replace(record, key=None if record.key is None else key[:1024], value=value[:MAX_CUT_VALUE_BYTES])
    return short, (*ours, (f"{_OURS}cut", note))


def printable(text: str, max_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """`text` on one line with control characters and lone surrogates escaped, at most `max_bytes` of UTF-8."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", safe)
    raw = safe.encode()
    if len(raw) <= max_bytes:
        return safe
    return raw[: max_bytes - 3].decode("utf-8", "ignore") + "..."
