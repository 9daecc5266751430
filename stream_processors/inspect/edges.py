"""Which frames may hold text: those with many hard edges from left to right, as letters have. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EDGE_LEVELS = 48
"""Of 255, from one pixel to the next. Letters that can be read stand out by more."""


def edge_share(frame: NDArray[np.uint8]) -> float:
    """Share of a frame's pixels, 0 to 1, that differ hard from their left neighbour in brightness."""
    grey = frame.astype(np.int16).sum(axis=2) // 3
    return int(np.count_nonzero(np.abs(np.diff(grey, axis=1)) >= EDGE_LEVELS)) / int(grey.size)


def to_read(shares: Sequence[float], max_frames: int, least: float) -> tuple[int, ...]:
    """Positions, rising, of at most `max_frames` frames with the highest shares of at least `least`; of equals the
    earlier ones."""
    likely = [at for at, share in enumerate(shares) if share >= least]
    return tuple(sorted(sorted(likely, key=lambda at: -shares[at])[:max_frames]))
