"""Keeps a client that cannot reach its broker from filling the log: librdkafka says so twenty times a second."""

import logging
import re
import time
from collections.abc import Callable

EVERY_S = 10.0
MOST_KINDS = 1000
_NUMBERS = re.compile(r"\d+")


class Damped(logging.Filter):
    """Lets a line through when nothing like it came in the last EVERY_S; says then how many were left out.

    Lines are alike when they differ in numbers only. Errors and warnings of different kinds do not damp each other.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock_s = clock_s
        self._kinds: dict[str, tuple[float, int]] = {}
        """When a line of a kind was last let through, and how many were left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        kind, now_s = _NUMBERS.sub("#", text), self._clock_s()
        last_s, left_out = self._kinds.get(kind, (float("-inf"), 0))
        if now_s - last_s < EVERY_S:
            self._kinds[kind] = last_s, left_out + 1
            return False
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
        self._kinds[kind] = now_s, 0
        if left_out:
            record.msg, record.args = f"{text} (and {left_out} more like it)", ()
        return True
