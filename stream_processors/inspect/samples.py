"""Frames to look at besides the regular ones: those where the scene changes. Pure.

A frame is compared with the last one that was regular or a change, not with the one before it: so a slow fade is found
as well as a cut. What is found depends on the pictures alone, so a chunk that is looked at again is looked at alike.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CHANGE_LEVELS = 20.0
"""Mean difference of colour levels (of 255) from which two thumbnails are of different scenes."""

Thumbnail = NDArray[np.uint8]


def difference(one: Thumbnail, other: Thumbnail) -> float:
    """Mean difference of two thumbnails of the same shape, in levels of 0 to 255."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


@dataclass(slots=True)
class Changes:
    """Picks at most `most` frames beside those in `regular`, which are looked at anyway. Frames come one by one.

    picked: the changes that count so far, by index; of more than `most` the greatest, of equals the earlier ones
    """

    regular: Collection[int]
    most: int
    picked: dict[int, float] = field(default_factory=dict)
    _last: Thumbnail | None = None

    def wants(self, index: int, thumbnail: Thumbnail) -> bool:
        """Whether the next frame is to be kept. It may be that `picked` has another one no more."""
        change = 0.0 if self._last is None else difference(self._last, thumbnail)
        if index in self.regular:
            self._last = thumbnail
            return True
        if change < CHANGE_LEVELS or self.most == 0:
            return False
        self._last = thumbnail
        if len(self.picked) == self.most:
            least = min(self.picked, key=lambda at: (self.picked[at], -at))
            if self.picked[least] >= change:
                return False
            del self.picked[least]
        self.picked[index] = change
        return True
