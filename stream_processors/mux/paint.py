"""Paints output frames: chunk pictures, cross-fades, bars, invisible mark, visible mark.

Constant memory: a fixed ring of output frames, and at most two open chunks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import av
import cv2
import numpy as np

from schemas.mark_keys import PUBLIC
from schemas.plan import Plan
from stream_processors.mux.chunk_reader import read_chunk
from stream_processors.mux.core import Picture, Shown, timeline
from stream_processors.mux.label import Labeller, Stamp
from stream_processors.mux.mark import Embedder
from stream_processors.mux.planes import Planes, planes_of

BLACK, NEUTRAL = 16, 128
"""Luma and chroma of black, limited range."""


class Pictures:
    """The next frame of any chunk; frames of one chunk must be asked for in order. Opens chunks late, closes early."""

    def __init__(self, plan: Plan, paths: Sequence[Path]) -> None:
        self._plan, self._paths = plan, paths
        self._open: dict[int, Iterator[Planes]] = {}

    def take(self, picture: Picture) -> Planes:
        """Planes of the picture; raises BadChunk."""
        span = self._plan.chunks[picture.chunk]
        if picture.frame == 0:
            path = self._paths[picture.chunk]
            size = self._plan.render.width_px, self._plan.render.height_px
            reader = read_chunk(picture.chunk, path, span.frames, size, self._plan.request.output)
            self._open[picture.chunk] = reader
        planes = next(self._open[picture.chunk])
        if picture.frame == span.frames - 1:
            # Running the reader to its end is what finds surplus frames.
            assert next(self._open.pop(picture.chunk), None) is None
        return planes


class Painter:
    """Turns a plan and its chunk files into finished frames of the output's size."""

    def __init__(
        self,
        plan: Plan,
        paths: Sequence[Path],
        payload: str,
        boost: float,
        ring: int,
        labeller: Labeller,
        key: bytes = PUBLIC,
    ) -> None:
        """payload, boost, key: of the invisible mark. ring: frames in use at a time."""
        output = plan.request.output
        self._size = output.width_px, output.height_px
        self._plan, self._pictures = plan, Pictures(plan, paths)
        self._mark = Embedder(payload, *self._size, boost, key)
        self._stamp = Stamp(labeller.plate(*self._size))
        self._free: SimpleQueue[av.VideoFrame] = SimpleQueue()
        self._base = self._blank()
        bare = planes_of(self._base)
        self._bars = [bare.luma[self._stamp.area].copy()] + [p[self._stamp.chroma_area].copy() for p in bare[1:]]
        for _ in range(ring):
            self._free.put(self._blank())

    def _blank(self) -> av.VideoFrame:
        frame = av.VideoFrame(*self._size, "yuv420p")
        luma, blue, red = planes_of(frame)
        for plane, value in ((luma, BLACK), (blue, NEUTRAL), (red, NEUTRAL)):
            plane.fill(value)
        self._mark.embed(luma, luma)
        return frame

    def frames(self) -> Iterator[av.VideoFrame]:
        """Finished frames in order, pts counted from 0. Each must be given back with `done` for the ring to go on."""
        for number, shown in enumerate(timeline(self._plan)):
            frame = self._free.get()
            self._paint(planes_of(frame), shown)
            frame.pts = number
            yield frame

    def done(self, frame: av.VideoFrame) -> None:
        """Give a frame back; its pixels may change from now on."""
        self._free.put(frame)

    def _paint(self, canvas: Planes, shown: Shown) -> None:
        picture = self._pictures.take(shown.picture)
        if shown.into is not None:
            picture = _mixed(picture, self._pictures.take(shown.into), shown.weight)
        # The plate of the frame that was painted here before may lie over a bar, which nothing else repaints.
        areas = self._stamp.area, self._stamp.chroma_area, self._stamp.chroma_area
        for plane, area, bars in zip(canvas, areas, self._bars, strict=True):
            plane[area] = bars
        (height, width), (full_height, full_width) = picture.luma.shape, canvas.luma.shape
        x, y = (full_width - width) // 4 * 2, (full_height - height) // 4 * 2
        self._mark.embed(picture.luma, canvas.luma[y : y + height, x : x + width], x, y)
        half = np.s_[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2]
        canvas.blue[half], canvas.red[half] = picture.blue, picture.red
        self._stamp.apply(*canvas)


def _mixed(first: Planes, second: Planes, weight: float) -> Planes:
    """Weighted mean of two pictures; `weight` is the share of the second."""
    assert first.luma.shape == second.luma.shape, "check_chunk lets only one size through"
    mixed = Planes(*(np.empty_like(plane) for plane in first))
    for a, b, out in zip(first, second, mixed, strict=True):
        cv2.addWeighted(a, 1 - weight, b, weight, 0, dst=out)
    return mixed
