"""Receivers that do not answer, so that one of them cannot hold up everybody's webhooks. Pure: the clock comes in.

The stage tries one message at a time and gives each 15 s. Without this, a receiver that swallows connections would
delay all others by 15 s per message sent to it.
"""

from collections import OrderedDict

FAILURES = 3
PAUSE_MS = 60_000
MAX_RECEIVERS = 10_000

Receiver = tuple[str, str, int]
"""Tenant, host and port. The tenant is part of it: nobody can silence a host for others."""


class Outages:
    """Counts tries in a row that got no answer; from FAILURES on, the receiver rests for PAUSE_MS after each."""

    def __init__(self) -> None:
        self._receivers: OrderedDict[Receiver, tuple[int, int]] = OrderedDict()

    def resting(self, receiver: Receiver, now_ms: int) -> bool:
        """Whether to leave the receiver alone now."""
        failures, last_ms = self._receivers.get(receiver, (0, 0))
        return failures >= FAILURES and now_ms < last_ms + PAUSE_MS

    def note(self, receiver: Receiver, answered: bool, now_ms: int) -> None:
        """Take in the outcome of a try. Any HTTP status is an answer."""
        failures, _ = self._receivers.pop(receiver, (0, 0))
        if answered:
            return
        self._receivers[receiver] = (failures + 1, now_ms)
        if len(self._receivers) > MAX_RECEIVERS:
            self._receivers.popitem(last=False)
