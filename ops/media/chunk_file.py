"""Chunk objects: a few seconds of high-quality video in Matroska, the same bytes for the same pixels.

ffv1: lossless RGB. h264: libx264, CRF 12, yuv420p, BT.709 limited range, tagged as such.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
"""(T, H, W, 3) uint8 RGB."""
ChunkCodec = Literal["ffv1", "h264"]
CONTENT_TYPE = "video/x-matroska"

_BT709, _LIMITED = 1, 1
"""AVCOL_PRI_BT709 = AVCOL_TRC_BT709 = AVCOL_SPC_BT709 = 1 and AVCOL_RANGE_MPEG = 1 (libavutil/pixfmt.h)."""


class UnreadableChunk(Exception):
    """The file is no video, or is cut short."""


def encode(frames: Frames, fps: int, codec: ChunkCodec, path: Path) -> None:
    """Writes the frames as a new file. Deterministic: one thread, no dates, no random ids, no encoder names.

    h264 needs even width and height (a model whose sizes are odd must use ffv1); raises ValueError otherwise.
    """
    _, height, width, _ = frames.shape
    if codec == "h264" and (width % 2 or height % 2):
        raise ValueError(f"size {width}x{height}: h264 needs even sizes; set chunk_codec to ffv1")
    with av.open(str(path), "w", format="matroska", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1" if codec == "ffv1" else "libx264", rate=fps, options=_OPTIONS[codec])
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width, height
        stream.time_base = Fraction(1, fps)
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        if codec == "h264":
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = _LIMITED
        convert = _Converter("rgb24", stream.pix_fmt, width, height)
        for number, pixels in enumerate(frames):
            picture = convert(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


_OPTIONS: dict[ChunkCodec, dict[str, str]] = {
    "ffv1": {
        "level": "3",
        "coder": "1",
        "context": "0",
        "slices": "4",
        "slicecrc": "1",
        "g": "1",
        "flags": "+bitexact",
    },
    "h264": {"crf": "12", "preset": "veryfast", "flags": "+bitexact+cgop", "g": "48"},
}


def tail(path: Path, frames: int) -> Frames:
    """The last `frames` frames of a chunk file, (frames, H, W, 3). Raises UnreadableChunk, also when it has fewer."""
    with opened(path) as (_, pictures):
        last = deque(pictures, maxlen=frames)
        if len(last) < frames:
            raise UnreadableChunk(f"it has {len(last)} frames, {frames} are needed")
        convert = _Converter(last[0].format.name, "rgb24", last[0].width, last[0].height)
        return np.stack([convert(picture).to_ndarray() for picture in last])


def count(path: Path) -> int:
    """How many frames decode. Raises UnreadableChunk."""
    with opened(path) as (_, pictures):
        return sum(1 for _ in pictures)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.VideoStream, Iterator[av.VideoFrame]]]:
    """The video stream of a chunk file, and its pictures one by one. Raises UnreadableChunk, also within the block."""
    try:
        with av.open(str(path), format="matroska", options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise UnreadableChunk("it has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            yield stream, container.decode(stream)
    except av.FFmpegError as exc:
        raise UnreadableChunk(f"it cannot be decoded ({exc.strerror})") from None


class _Converter:
    """Frames of one pixel format to another. swscale's default rounding loses 1.3 levels of 255 on the way to yuv420p
    and back (measured), which would darken a chain of chunks with every link; with accurate_rnd it is under 0.1."""

    def __init__(self, source: str, target: str, width_px: int, height_px: int) -> None:
        yuv = "out" if target.startswith("yuv") else "in" if source.startswith("yuv") else ""
        matrix = f"{yuv}_color_matrix=bt709:{yuv}_range=tv:" if yuv else ""
        tags = ":colorspace=bt709:range=tv" if yuv == "in" else ""
        self._graph = av.filter.Graph()
        self._graph.link_nodes(
            self._graph.add(
                "buffer", f"video_size={width_px}x{height_px}:pix_fmt={source}:time_base=1/1:pixel_aspect=1/1{tags}"
            ),
            self._graph.add("scale", f"{matrix}flags=accurate_rnd+full_chroma_int+bicubic"),
            self._graph.add("format", target),
            self._graph.add("buffersink"),
        ).configure()

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        picture.pts, picture.time_base = None, Fraction(1)
        self._graph.push(picture)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return converted
