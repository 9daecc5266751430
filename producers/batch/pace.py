"""A rate that is kept job by job. Pure."""

BURST_S = 0.01
"""Jobs of so much time may go together: nobody can wake up for each of 10,000 a second."""


class Pace:
    """rate: jobs per second on average, without catching up after a pause."""

    def __init__(self, rate: float, now_s: float) -> None:
        self._step_s = 1 / rate
        self._next_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next job may go; 0 when it may go now."""
        return max(0.0, self._next_s - now_s)

    def gone(self, now_s: float) -> None:
        """A job went."""
        self._next_s = max(self._next_s, now_s - BURST_S) + self._step_s
