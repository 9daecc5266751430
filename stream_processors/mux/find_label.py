"""Tells whether pictures carry a visible mark with the words of a profile, by comparing the corners with its plate."""

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.labels import PROFILES, Corner, Wording
from stream_processors.mux.label import Plate, plate

FOUND_AT = 0.6
"""Correlation from which the plate counts as found; see tests/flow/test_mux_verify.py for both sides of it."""
SOUGHT = tuple(Wording(usual.text, corner) for usual, corner in product(PROFILES.values(), get_args(Corner)))
_SCALES = (0.92, 0.96, 1.0, 1.04, 1.08)
_DRAWN_AT = 4
"""Templates are drawn larger and shrunk: a scaled video's letters are blurred the same way."""

Plane = NDArray[np.uint8]


@cache
def _templates(width_px: int, height_px: int, text: str) -> tuple[Plane, ...]:
    words = Wording(text, "top-right")
    large = plate(width_px * _DRAWN_AT, height_px * _DRAWN_AT, words)
    blended = (large.luma.astype(np.float32) * large.opacity + 110.0 * (255 - large.opacity)) / 255
    own: Plate = plate(width_px, height_px, words)
    drawn = blended.astype(np.uint8)
    sizes = ((max(4, round(own.width_px * s)), max(4, round(own.height_px * s))) for s in _SCALES)
    return tuple(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA).astype(np.uint8) for size in sizes)


def correlation(luma: Plane, words: Wording) -> float:
    """Best normalised correlation (-1 .. 1) of the plate with its corner of one luma plane."""
    height, width = luma.shape
    own = plate(width, height, words)
    more_x, more_y = own.width_px // 4, own.height_px // 2 + 4
    rows = np.s_[max(0, own.y_px - more_y) : own.y_px + own.height_px + more_y]
    columns = np.s_[max(0, own.x_px - more_x) : own.x_px + own.width_px + more_x]
    corner = np.ascontiguousarray(luma[rows, columns])
    best = -1.0
    for template in _templates(width, height, words.text):
        if template.shape[0] <= corner.shape[0] and template.shape[1] <= corner.shape[1]:
            match = cv2.matchTemplate(corner, template, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(match[np.isfinite(match)].max(initial=-1.0)))
    return round(best, 3)


def label_score(lumas: Sequence[Plane]) -> float:
    """Median correlation over frames of the words and corner that fit best: the plate must stay, not flash by."""
    scores = [float(np.median([correlation(luma, words) for luma in lumas])) for words in SOUGHT if lumas]
    return max(scores, default=-1.0)
