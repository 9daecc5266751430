"""Streams one chunk: decode, scale to the output in the same pass that converts to YUV 4:2:0."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from ops.bus.pulse import beat
from schemas.request import Output
from stream_processors.mux.core import Fit, fit
from stream_processors.mux.planes import Planes, planes_of

CODECS = frozenset({"ffv1", "h264"})


class BadChunk(Exception):
    """A chunk file does not hold what its spec promises; the message says what is wrong, without paths."""

    def __init__(self, chunk: int, reason: str) -> None:
        super().__init__(f"chunk {chunk}: {reason}")
        self.chunk = chunk
        self.reason = reason


def check_chunk(chunk: int, path: Path, frames: int, size: tuple[int, int]) -> None:
    """Raise BadChunk unless the file is one of ours, of this (width_px, height_px), with this many coded frames.
    Reads the file, decodes nothing."""
    try:
        with av.open(str(path), format="matroska") as container:
            stream = container.streams.video[0]
            if stream.codec_context.name not in CODECS:
                raise BadChunk(chunk, f"codec {stream.codec_context.name} is not one of {', '.join(sorted(CODECS))}")
            if (stream.width, stream.height) != size:
                raise BadChunk(chunk, f"{stream.width}x{stream.height} where the plan has {size[0]}x{size[1]}")
            found = sum(1 for packet in container.demux(stream) if packet.size)
            beat()
    except (av.FFmpegError, IndexError) as exc:
        raise BadChunk(chunk, f"not a readable Matroska video ({_words(exc)})") from None
    if found != frames:
        raise BadChunk(chunk, f"{found} frames where the plan has {frames}")


def read_chunk(chunk: int, path: Path, frames: int, size: tuple[int, int], output: Output) -> Iterator[Planes]:
    """Yield exactly `frames` pictures, scaled for the output and cropped to it; with `contain` they may be smaller.

    Memory: one picture. Planes are views that stay valid as long as they are held.
    Raises BadChunk when the file cannot be decoded, has another size, or holds fewer or more frames.
    """
    count = 0
    try:
        with av.open(str(path), format="matroska") as container:
            stream = container.streams.video[0]
            if (stream.width, stream.height) != size:
                raise BadChunk(chunk, f"{stream.width}x{stream.height} where the plan has {size[0]}x{size[1]}")
            stream.codec_context.thread_count = 1
            scaler, place = VideoReformatter(), fit(stream.width, stream.height, output)
            for frame in container.decode(stream):
                count += 1
                if count > frames:
                    break
                yield _part(planes_of(_scaled(scaler, frame, place)), place, output)
    except (av.FFmpegError, IndexError) as exc:
        raise BadChunk(chunk, f"cannot be decoded after frame {count} ({_words(exc)})") from None
    if count != frames:
        raise BadChunk(chunk, f"decodes to {'more' if count > frames else count} frames where the plan has {frames}")


def _scaled(scaler: VideoReformatter, frame: av.VideoFrame, place: Fit) -> av.VideoFrame:
    shrinks = place.width_px < frame.width
    rgb = frame.format.is_rgb
    return scaler.reformat(
        frame,
        width=place.width_px,
        height=place.height_px,
        format="yuv420p",
        interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
        # Our chunks are BT.709 limited range, tagged or not; swscale would take untagged ones for BT.601.
        src_colorspace=None if rgb else Colorspace.ITU709,
        src_color_range=ColorRange.JPEG if rgb else ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )


def _part(planes: Planes, place: Fit, output: Output) -> Planes:
    if place.width_px <= output.width_px and place.height_px <= output.height_px:
        return planes
    x, y, width, height = place.crop_x_px, place.crop_y_px, output.width_px, output.height_px
    half = np.s_[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2]
    return Planes(planes.luma[y : y + height, x : x + width], planes.blue[half], planes.red[half])


def _words(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, av.FFmpegError) else "no video stream"
