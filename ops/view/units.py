"""Numbers as people read them. Pure."""

from datetime import UTC, datetime

KILO = 1000


def seconds(value_s: float | None) -> str:
    """'0.4 s', '12 s', '2 min 05 s', '3 h 10 min'; '' for None."""
    if value_s is None:
        return ""
    if value_s < 9.95:
        return f"{max(0.0, value_s):.1f} s"
    whole = round(value_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(value_bytes: int) -> str:
    """'640 B', '81 kB', '12.4 MB': decimal units, as file managers show."""
    if value_bytes < KILO:
        return f"{value_bytes} B"
    if value_bytes < KILO * KILO:
        return f"{value_bytes / KILO:.0f} kB"
    if value_bytes < KILO**3:
        return f"{value_bytes / KILO**2:.1f} MB"
    return f"{value_bytes / KILO**3:.1f} GB"


def count(number: int, noun: str) -> str:
    """'1 job', '3 jobs'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shortened(text: str, width: int) -> str:
    """At most `width` characters, cut in the middle so that both ends of an id stay readable."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def moment(at_ms: int) -> str:
    """'2026-12-01 18:00:05 UTC', from ms since the epoch."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
