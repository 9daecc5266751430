"""The child that decodes one foreign picture, or the first frame of a clip, to raw pixels of a size that we chose.

Started by ops.media.decoding with the file as an open descriptor; answers a line of JSON, then the pixels.
"""

import io
import os
import sys
from typing import Any, BinaryIO

import av
import msgspec
import numpy as np

from ops.bus.process import die_with_parent
from ops.media.decoding import Answer, Order
from ops.media.opening import TINY_PNG, Allowed, Opened, Unreadable, opened
from ops.sandbox import lockdown

_CLIP = frozenset(("h264", "vp9", "libvpx-vp9", "av1", "libdav1d"))
CODECS = {
    "mp4": _CLIP,
    "webm": _CLIP,
    "jpeg": frozenset(("mjpeg",)),
    "png": frozenset(("png",)),
    "webp": frozenset(("webp",)),
}
MAX_FPS = 240
MAX_CLIP_FRAMES = 20_000
MAX_PACKETS = 300
"""Packets read in search of the first frame."""


def cover(picture: "av.VideoFrame", width_px: int, height_px: int) -> Any:
    """(height_px, width_px, 3) RGB: upright, scaled until it fills the size, the middle cut out."""
    quarter_turns = round(picture.rotation / 90) % 4
    turned = quarter_turns % 2 == 1
    across, down = (height_px, width_px) if turned else (width_px, height_px)
    scale = max(across / picture.width, down / picture.height)
    wide, high = max(across, round(picture.width * scale)), max(down, round(picture.height * scale))
    if wide * high > 16 * width_px * height_px:
        raise Unreadable(f"is {picture.width} x {picture.height}, too long and narrow to fill {width_px} x {height_px}")
    pixels = picture.reformat(width=wide, height=high, format="rgb24", interpolation="AREA", threads=1).to_ndarray()
    left, top = (wide - across) // 2, (high - down) // 2
    return np.ascontiguousarray(np.rot90(pixels[top : top + down, left : left + across], quarter_turns))


def first_picture(file: Opened) -> "av.VideoFrame":
    """The first frame that decodes. Raises Unreadable when there is none among the first packets."""
    stream = file.stream
    if not file.still:
        if (rate := float(stream.average_rate or 0)) > MAX_FPS:
            raise Unreadable(f"has {rate:g} frames per second; at most {MAX_FPS} are read")
        if stream.frames > MAX_CLIP_FRAMES:
            raise Unreadable(f"has {stream.frames} frames; at most {MAX_CLIP_FRAMES} are read")
    for number, packet in enumerate(file.container.demux(stream)):
        for picture in packet.decode():
            assert isinstance(picture, av.VideoFrame)
            return picture
        if number >= MAX_PACKETS:
            break
    raise Unreadable("has no frame that can be decoded")


def look(stream: BinaryIO, order: Order) -> tuple[Answer, bytes]:
    """Answer and pixels for one file."""
    try:
        with opened(stream, Allowed(CODECS, order.max_pixels)) as file:
            picture = first_picture(file)
            if picture.width * picture.height > order.max_pixels:
                raise Unreadable(f"is {picture.width} x {picture.height}; at most {order.max_pixels} pixels are read")
            pixels = cover(picture, order.width_px, order.height_px).tobytes()
            return Answer(kind=file.kind, width_px=picture.width, height_px=picture.height), pixels
    except Unreadable as exc:
        return Answer(error=str(exc)), b""
    except av.FFmpegError as exc:
        return Answer(error=f"cannot be decoded ({exc.strerror or type(exc).__name__})"), b""
    except MemoryError:
        return Answer(error=f"needs more than {order.limits.memory_bytes >> 20} MiB of memory"), b""
    except (ValueError, OverflowError, OSError) as exc:
        return Answer(error=f"cannot be decoded ({type(exc).__name__})"), b""


def warm_up() -> None:
    """Decode a picture of our own: PyAV and numpy import parts of themselves when they are first used."""
    with opened(io.BytesIO(TINY_PNG), Allowed(CODECS, 1 << 16)) as file:
        cover(first_picture(file), 2, 2)


def main() -> None:
    """See the module's docstring."""
    die_with_parent()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    lockdown.apply(order.limits)
    av.logging.set_level(None)
    warm_up()
    peak_rss_bytes = lockdown.memory_meter()
    guards = lockdown.lock("decoding")
    with os.fdopen(order.fd, "rb") as stream:
        answer, pixels = look(stream, order)
    answer = msgspec.structs.replace(answer, guards=guards, peak_rss_bytes=peak_rss_bytes())
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n" + pixels)
    sys.stdout.buffer.flush()
    # No destructors: nothing is left to be saved, and they may call what the filter refuses.
    os._exit(0)
