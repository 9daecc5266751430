"""Whether the invisible mark would outlive a change of brightness or contrast, seen before a video is published.

In a picture that is almost white or black such a change clips nearly all of it, mark and all; what is left must carry
the mark alone, so there it must be stronger.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.mark_keys import PUBLIC
from stream_processors.mux.mark import MIDDLE, Detector, Plane, Reading

_LUMA = np.arange(256, dtype=np.float64)
_BLACK, _WHITE, _MIDDLE = 16, 235, 126
_TONES: tuple[NDArray[np.float64], ...] = (_LUMA + 25, _LUMA - 25, (_LUMA - _MIDDLE) * 1.3 + _MIDDLE)
"""Lighter, darker, steeper: what each luma becomes, not yet clipped."""
CLIPPED = 0.5
"""Share of a picture from which on a tone counts: with less of it gone the mark was read in all of 60 clips."""
_LEFT = 0.01
"""Share of middle tones below which there is nothing to lift."""
_LASTING = 2.5
"""A reading that is clearer than this outlives the change of tones and CRF 23 after it."""
_LIFTS = ((2.2, 1.5), (1.7, 2.0), (0.0, 3.0))
"""Confidence from which on this factor on the strength in middle tones will do. 3 is seen as grain on a flat colour."""


def lift_for(reading: Reading | None, payload: str) -> float:
    """Factor on the strength in middle tones, 1 if it needs none. reading: see `Toned`; None: it clips little."""
    if reading is None or (reading.says(payload) and reading.confidence >= _LASTING):
        return 1.0
    clear = reading.confidence if reading.says(payload) else 0.0
    return next(lift for confidence, lift in _LIFTS if clear >= confidence)


class Toned:
    """Reads the mark off frames of which much is clipped."""

    def __init__(self) -> None:
        self._detectors = [Detector() for _ in _TONES]
        self._used = [False for _ in _TONES]
        self._px = self._middle_px = 0

    def add(self, luma: Plane, key: bool) -> None:
        """One frame's luma, any size. key: it is a keyframe."""
        counts = np.bincount(luma.ravel(), minlength=256)
        self._px += luma.size
        self._middle_px += int(counts[MIDDLE[0] : MIDDLE[1] + 1].sum())
        for number, tone in enumerate(_TONES):
            lost = counts[(tone <= _BLACK) | (tone >= _WHITE)].sum()
            if lost >= CLIPPED * luma.size:
                table = np.clip(np.rint(tone), _BLACK, _WHITE).astype(np.uint8)
                self._detectors[number].add(table[luma], key)
                self._used[number] = True

    def read(self, key: bytes = PUBLIC) -> Reading | None:
        """The least clear of them; None where little is clipped, or so much that there is nothing to lift."""
        if self._middle_px < _LEFT * self._px:
            return None
        readings = [d.read(key) for d, used in zip(self._detectors, self._used, strict=True) if used]
        return min(readings, key=lambda reading: (reading.valid, reading.confidence), default=None)
