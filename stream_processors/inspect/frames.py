"""Sampled frames of a chunk file, at bounded memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray

from ops.bus.pulse import beat
from ops.media.chunk_file import UnreadableChunk, opened

MAX_SIDE_PX = 640
"""Larger frames are scaled down before they are kept: providers look at 256 x 256 pixels at most."""

Sampler = Callable[[float], Sequence[int]]


def sampled_frames(path: Path, frames: int, sample: Sampler) -> NDArray[np.uint8]:
    """RGB frames (N, H, W, 3) at the rising indices that `sample` picks, given the file's frames per second.

    Every frame is decoded, so a chunk that breaks off is found here and not in front of a viewer.
    Raises UnreadableChunk, also when the file has another number of frames.
    """
    with opened(path) as (stream, pictures):
        if not stream.average_rate:
            raise UnreadableChunk("it has no frame rate")
        wanted = frozenset(sample(float(stream.average_rate)))
        kept, count = [], 0
        for frame in pictures:
            beat()
            if count in wanted:
                kept.append(_rgb(frame))
            count += 1
    if count != frames:
        raise UnreadableChunk(f"it has {count} frames where its record says {frames}")
    return np.stack(kept)


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    scale = min(1.0, MAX_SIDE_PX / max(frame.width, frame.height))
    small = frame.reformat(
        width=max(1, round(frame.width * scale)),
        height=max(1, round(frame.height * scale)),
        format="rgb24",
        # What render writes; without it swscale takes BT.601 for small pictures.
        src_colorspace=Colorspace.ITU709 if frame.format.name.startswith("yuv") else None,
        interpolation=Interpolation.AREA,
    )
    return np.asarray(small.to_ndarray(), dtype=np.uint8)
