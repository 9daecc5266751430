"""Tells whether pictures carry the visible mark, by comparing their top-right corner with the plate."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stream_processors.mux.label import Plate, plate

FOUND_AT = 0.6
"""Correlation from which the plate counts as found; see tests/flow/test_mux_verify.py for both sides of it."""
_SCALES = (0.92, 0.96, 1.0, 1.04, 1.08)
_DRAWN_AT = 4
"""Templates are drawn larger and shrunk: a scaled video's letters are blurred the same way."""

Plane = NDArray[np.uint8]


@cache
def _templates(width_px: int, height_px: int) -> tuple[Plane, ...]:
    large = plate(width_px * _DRAWN_AT, height_px * _DRAWN_AT)
    blended = (large.luma.astype(np.float32) * large.opacity + 110.0 * (255 - large.opacity)) / 255
    own: Plate = plate(width_px, height_px)
    drawn = blended.astype(np.uint8)
    sizes = ((max(4, round(own.width_px * s)), max(4, round(own.height_px * s))) for s in _SCALES)
    return tuple(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA).astype(np.uint8) for size in sizes)


def correlation(luma: Plane) -> float:
    """Best normalised correlation (-1 .. 1) of the plate with the top-right corner of one luma plane."""
    height, width = luma.shape
    own = plate(width, height)
    corner = np.ascontiguousarray(
        luma[: own.y_px + round(own.height_px * 1.5) + 4, max(0, own.x_px - own.width_px // 4) :]
    )
    best = -1.0
    for template in _templates(width, height):
        if template.shape[0] <= corner.shape[0] and template.shape[1] <= corner.shape[1]:
            match = cv2.matchTemplate(corner, template, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(match[np.isfinite(match)].max(initial=-1.0)))
    return round(best, 3)


def label_score(lumas: Sequence[Plane]) -> float:
    """Median correlation over frames: the plate must stay, not flash by."""
    return float(np.median([correlation(luma) for luma in lumas])) if lumas else -1.0
