"""How long a server asks to be left alone. Pure."""

from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after_ms(text: str, now_ms: int) -> int:
    """Milliseconds that a Retry-After header asks for (RFC 9110: seconds, or an HTTP date); 0 when it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1000
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0
    zoned = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0, int(zoned.timestamp() * 1000) - now_ms)
