"""When a worker announces itself: at once when its picture changes, steps less often, at least every second. Pure."""

from dataclasses import dataclass

EVERY_S = 1.0
STEP_EVERY_S = 0.2

Picture = tuple[tuple[int, ...], tuple[str, ...], tuple[str, ...]]
"""Partitions, warm models, pending chunks: what the scheduler decides by."""


@dataclass(slots=True)
class Announcements:
    picture: Picture | None = None
    progress: tuple[int, int] = (0, 0)
    at_s: float = 0.0

    def due(self, picture: Picture, progress: tuple[int, int], now_s: float) -> bool:
        """Whether to announce now; if so, this counts as announced."""
        since_s = now_s - self.at_s
        stepped = progress != self.progress and since_s >= STEP_EVERY_S
        if picture == self.picture and not stepped and since_s < EVERY_S:
            return False
        self.picture, self.progress, self.at_s = picture, progress, now_s
        return True
