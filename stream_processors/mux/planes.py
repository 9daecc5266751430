"""YUV 4:2:0 frames as numpy views, without copies."""

from typing import NamedTuple, cast

import numpy as np
from av import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


class Planes(NamedTuple):
    """Views of shape (height, width), (height/2, width/2) twice; 8 bit, BT.709, limited range."""

    luma: Plane
    blue: Plane
    red: Plane


def _view(plane: VideoPlane) -> Plane:
    # Lines are padded for SIMD: the view must step over the padding.
    rows = np.frombuffer(cast(memoryview, plane), dtype=np.uint8).reshape(-1, plane.line_size)
    view: Plane = rows[: plane.height, : plane.width]
    return view


def planes_of(frame: VideoFrame) -> Planes:
    """Views into a yuv420p frame; they keep it alive, and writing to them writes to it."""
    assert frame.format.name == "yuv420p"
    return Planes(*(_view(plane) for plane in frame.planes))
