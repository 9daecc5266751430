"""A frame as the JPEG that is sent to a service."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 90
MIN_SIDE_PX = 64
"""Azure and AWS refuse pictures of less than 50 pixels a side."""


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    """frame: (H, W, 3) RGB, as sampled: 640 pixels at most, so some 100 KB and far below what services take."""
    picture = Image.fromarray(frame)
    short = min(picture.size)
    if short < MIN_SIDE_PX:
        width, height = (round(side * MIN_SIDE_PX / short) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()
