"""Where the invisible mark may be strong: on texture, which hides it (contrast masking: Legge and Foley, J. Opt. Soc.
Am. 70(12), 1980), and not on flat areas, smooth slopes, or beside a lone edge.

Works on small copies, so that it costs a fraction of a millisecond a frame: activity is measured in cells, 80 along the
picture's longer side, whatever its size, because the mark's pattern grows with the picture too.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

_CELLS, _PX_PER_CELL = 80, 4
"""Cells along the longer side, and pixels of the small copy along a cell."""
_QUIET, _BUSY = 3.0, 10.0
"""Activity, in 8-bit luma steps, up to which nothing is hidden, and from which on the full strength is."""
_AROUND = 5
"""Cells along the square over which slopes are told from waves, and the result is smoothed."""
_GAP, _LONE = np.ones((3, 3), np.uint8), np.ones((9, 9), np.uint8)
"""Quiet gaps that are narrower belong to the texture around them; busy places that are narrower are lone edges."""


def texture(luma: Plane) -> NDArray[np.float32]:
    """How much each place hides, 0 (flat) .. 1 (busy), of the plane's shape (height, width)."""
    height, width = luma.shape
    cells = _cells(width, height)
    copy = cells[0] * _PX_PER_CELL, cells[1] * _PX_PER_CELL
    small = luma if min(width, height) <= min(copy) else cv2.resize(luma, copy, interpolation=cv2.INTER_AREA)
    grain = cv2.resize(cv2.absdiff(small, cv2.blur(small, (3, 3))), cells, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(small, cells, interpolation=cv2.INTER_AREA)
    waves = cv2.absdiff(coarse, cv2.blur(coarse, (_AROUND, _AROUND)))
    activity = cv2.morphologyEx(cv2.add(grain, waves), cv2.MORPH_CLOSE, _GAP)
    activity = cv2.morphologyEx(activity, cv2.MORPH_OPEN, _LONE)
    hidden = np.clip((activity.astype(np.float32) - _QUIET) / (_BUSY - _QUIET), 0, 1)
    smooth = cv2.blur(hidden, (_AROUND, _AROUND))
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _cells(width_px: int, height_px: int) -> tuple[int, int]:
    longer = max(width_px, height_px)
    return max(1, round(_CELLS * width_px / longer)), max(1, round(_CELLS * height_px / longer))
