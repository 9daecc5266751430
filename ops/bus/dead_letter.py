"""Headers of a dead letter: where the record came from and why it could not be used. Pure.

The names are those of Kafka Streams and Connect (`__dlq.errors.*`, KIP-1034 and KIP-1191), so that existing replay
tools understand them, and ours under `reelbus.error.*`. Key and value of the record go to the dead letter topic
unchanged.
"""

import re

from schemas.records import Headers, Incoming

MAX_MESSAGE_BYTES = 1024
FIRST_FAILED_AT = "reelbus.error.first-failed-at"
_KAFKA = "__dlq.errors."
_OURS = "reelbus.error."
# C0 and C1 controls, and the two Unicode line ends: nothing in a header may forge a line of a log or a terminal code.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def headers(record: Incoming, group: str, stage: str, error: Exception, now_ms: int) -> Headers:
    """All headers of `record`, then ours. A record that failed before keeps the moment of its first failure.

    group:  consumer group that read the record
    error:  its text is one sentence for the person who reads the dead letter; cut to MAX_MESSAGE_BYTES. Its code, for
            programs, is its attribute `code`, or its class in snake case
    now_ms: moment of the failure, ms since the epoch
    """
    kept = tuple((name, value) for name, value in record.headers if not name.startswith((_KAFKA, _OURS)))
    first = next((value for name, value in record.headers if name == FIRST_FAILED_AT), str(now_ms).encode())
    kind = type(error).__name__
    ours = {
        f"{_KAFKA}topic": record.topic,
        f"{_KAFKA}partition": str(record.partition),
        f"{_KAFKA}offset": str(record.offset),
        f"{_KAFKA}group": group,
        f"{_KAFKA}message": printable(str(error)),
        f"{_OURS}class": kind,
        f"{_OURS}stage": stage,
        f"{_OURS}code": getattr(error, "code", "") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower(),
    }
    return (*kept, *((name, value.encode()) for name, value in ours.items()), (FIRST_FAILED_AT, first))


def printable(text: str, max_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """`text` on one line with control characters and lone surrogates escaped, at most `max_bytes` of UTF-8."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", safe)
    raw = safe.encode()
    if len(raw) <= max_bytes:
        return safe
    return raw[: max_bytes - 3].decode("utf-8", "ignore") + "..."
