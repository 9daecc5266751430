"""invisible-watermark (github.com/ShieldMnt/invisible-watermark), the usual library, on the same clips.

Not a dependency: it wants opencv-python, which cannot live beside opencv-python-headless. Without its requirements it
works: `pip install --no-deps invisible-watermark==0.2.0 PyWavelets==1.9.0`.
"""

from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np

from ops.bench.watermark_clips import FPS, Draw, Picture
from schemas.mark_payload import BITS, bits_of
from stream_processors.mux.encode import CRF, PRESET

METHOD = "dwtDctSvd"
"""The stronger of its two methods without a neural network; strength as it comes."""
VOTES = 8
"""Frames that vote; one takes some 100 ms."""


def installed() -> bool:
    """True if the library can be imported."""
    return find_spec("imwatermark") is not None


def publish(draw: Draw, frames: int, payload: str, target: Path) -> Path:
    """A clip with its mark in every frame, encoded as the muxer encodes."""
    from imwatermark import WatermarkEncoder

    encoder = WatermarkEncoder()
    encoder.set_watermark("bits", list(bits_of(payload)))
    with av.open(str(target), "w") as container:
        options = {"crf": str(CRF), "preset": PRESET, "threads": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        picture = draw(0)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            marked = encoder.encode(cv2.cvtColor(draw(number), cv2.COLOR_RGB2BGR), METHOD)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(marked), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def bits_right(pictures: Sequence[Picture], payload: str) -> float:
    """Share of the payload's bits after a vote over the pictures (BGR); 0 where it refuses the size."""
    from imwatermark import WatermarkDecoder

    decoder = WatermarkDecoder("bits", BITS)
    try:
        votes = np.mean([decoder.decode(picture, METHOD) for picture in pictures[:VOTES]], axis=0)
    except RuntimeError:
        return 0.0
    return float(((votes > 0.5) == np.array(bits_of(payload))).mean())
