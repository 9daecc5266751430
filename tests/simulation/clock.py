"""Time that passes when the program says so."""

START_MS = 1_800_000_000_000


class Clock:
    """One monotonic time, and a wall clock per host that can be stepped: `broker` and `stages`."""

    def __init__(self) -> None:
        self.mono_ms = 0
        self._offset_ms = {"broker": 0, "stages": 0}

    @property
    def mono_s(self) -> float:
        return self.mono_ms / 1000

    def wall_ms(self, host: str = "stages") -> int:
        """Milliseconds since the epoch, as this host believes."""
        return START_MS + self.mono_ms + self._offset_ms[host]

    def pass_ms(self, ms: int) -> None:
        self.mono_ms += ms

    def step(self, host: str, by_ms: int) -> None:
        """Somebody sets the clock of a host."""
        self._offset_ms[host] += by_ms

    def set_right(self) -> None:
        self._offset_ms = dict.fromkeys(self._offset_ms, 0)
