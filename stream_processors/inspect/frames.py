"""Sampled frames of a chunk file, at bounded memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray

from ops.bus.pulse import beat
from ops.media.chunk_file import UnreadableChunk, opened
from stream_processors.inspect.samples import Changes

MAX_SIDE_PX = 640
"""Larger frames are scaled down before they are kept: no provider needs more, and services charge by the picture."""
THUMBNAIL_PX = (16, 9)

Sampler = Callable[[float], Sequence[int]]


def sampled_frames(path: Path, frames: int, sample: Sampler, scene_changes: int = 0) -> NDArray[np.uint8]:
    """RGB frames (N, H, W, 3) at the rising indices that `sample` picks, given the file's frames per second, and at
    `scene_changes` others at most where the scene changes.

    Every frame is decoded, so a chunk that breaks off is found here and not in front of a viewer.
    Raises UnreadableChunk, also when the file has another number of frames.
    """
    with opened(path) as (stream, pictures):
        if not stream.average_rate:
            raise UnreadableChunk("it has no frame rate")
        changes = Changes(frozenset(sample(float(stream.average_rate))), scene_changes)
        kept: dict[int, NDArray[np.uint8]] = {}
        count = 0
        for frame in pictures:
            beat()
            if scene_changes or count in changes.regular:
                _keep(kept, changes, count, frame)
            count += 1
    if count != frames:
        raise UnreadableChunk(f"it has {count} frames where its record says {frames}")
    return np.stack([kept[at] for at in sorted(kept)])


def _keep(kept: dict[int, NDArray[np.uint8]], changes: Changes, at: int, frame: av.VideoFrame) -> None:
    """Keeps the frame if it is to be looked at, and lets go of one that a greater change has pushed out."""
    if changes.wants(at, _rgb(frame, *THUMBNAIL_PX)):
        kept[at] = _rgb(frame, *_bounded(frame))
        for gone in [one for one in kept if one not in changes.regular and one not in changes.picked]:
            del kept[gone]


def _bounded(frame: av.VideoFrame) -> tuple[int, int]:
    scale = min(1.0, MAX_SIDE_PX / max(frame.width, frame.height))
    return max(1, round(frame.width * scale)), max(1, round(frame.height * scale))


def _rgb(frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
    small = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        # What render writes; without it swscale takes BT.601 for small pictures.
        src_colorspace=Colorspace.ITU709 if frame.format.name.startswith("yuv") else None,
        interpolation=Interpolation.AREA,
    )
    return np.asarray(small.to_ndarray(), dtype=np.uint8)
