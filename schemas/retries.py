"""Headers of a record that waits in a retry topic: which try it is for, and from when on it may be made. Pure."""

from collections.abc import Mapping

from schemas.errors import InvalidMessage

ATTEMPT_HEADER = "reelbus-attempt"
"""Number of the try: 1 is the first, on the topic itself."""
DUE_HEADER = "reelbus-due-ms"
"""Moment before which the record must wait, ms since the epoch."""


def retry_headers(attempt: int, due_ms: int) -> tuple[tuple[str, bytes], ...]:
    """Headers of a retry record: which try it is for, and when."""
    return ((ATTEMPT_HEADER, str(attempt).encode()), (DUE_HEADER, str(due_ms).encode()))


def number(headers: Mapping[str, bytes], name: str, default: int) -> int:
    """A header's number, `default` without one. Raises InvalidMessage."""
    raw = headers.get(name)
    if raw is None:
        return default
    if not (raw.isdigit() and len(raw) <= 15):
        raise InvalidMessage(f"header {name}: {raw[:40]!r}; expected a number of at most 15 digits")
    return int(raw)


def due_at_ms(headers: Mapping[str, bytes]) -> int:
    """Moment before which the record must wait; 0 when the headers say nothing that can be read."""
    try:
        return number(headers, DUE_HEADER, default=0)
    except InvalidMessage:
        # The loop asks for this before the record is handled; who cares about bad headers finds them then.
        return 0
