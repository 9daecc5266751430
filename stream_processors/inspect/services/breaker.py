"""A circuit breaker: leaves a service alone that does not answer. Pure: time comes in, as seconds of any clock.

After Michael Nygard, "Release It!". Our own, some thirty lines, because pybreaker reads the wall clock, holds a lock
while it calls, and knows no Retry-After.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """limit: failures one after the other that open it. open_s: for how long it stays open.

    closed    fewer failures than `limit`: any request may be made
    open      none may
    half open after `open_s` one may, a probe: if it succeeds the breaker closes, else it is open again. A probe that
              never tells counts as failed after `open_s`.
    """

    limit: int
    open_s: float
    failures: int = 0
    _not_before_s: float = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """Seconds until a request may be made; 0: now."""
        return max(0.0, self._not_before_s - now_s)

    def begin(self, now_s: float) -> bool:
        """Whether a request may be made now; who is told so makes it, and says how it went."""
        if self.wait_s(now_s) > 0:
            return False
        if self.failures >= self.limit:
            self._not_before_s = now_s + self.open_s
        return True

    def succeeded(self) -> None:
        """The service answered."""
        self.failures, self._not_before_s = 0, float("-inf")

    def failed(self, now_s: float, retry_after_s: float = 0.0) -> None:
        """It did not. retry_after_s: how long it asks to be left alone."""
        self.failures += 1
        pause_s = max(retry_after_s, self.open_s if self.failures >= self.limit else 0.0)
        self._not_before_s = now_s + pause_s
