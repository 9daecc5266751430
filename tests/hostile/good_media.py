"""Good pictures and clips of every kind that is read, as bytes. Made here, so that nothing binary is committed."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def pattern(width_px: int, height_px: int, shift: int = 0) -> Pixels:
    """(H, W, 3): a gradient from dark (left) to light, red at the top and blue at the bottom."""
    across = (np.linspace(0, 255, width_px) + shift) % 256
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    picture[:, :, 1] = across[None, :]
    picture[: height_px // 2, :, 0] = 200
    picture[height_px // 2 :, :, 2] = 200
    return picture


def still(codec: str, picture: Pixels, pixel_format: str) -> bytes:
    """One picture by an encoder of libav: png, mjpeg or libwebp."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width = picture.shape[:2]
    context.pix_fmt = pixel_format
    context.framerate = 1
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def clip(codec: str, container: str, width_px: int = 64, height_px: int = 64, frames: int = 6, fps: int = 12) -> bytes:
    """A moving gradient.

    Made in a thread that ends with it: run by root, SVT-AV1 puts the thread that opens it into the real-time class
    (SCHED_FIFO 99) and leaves it there, and all that the tests start after that would inherit it and stand in each
    other's way.
    """
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(_clip, codec, container, width_px, height_px, frames, fps).result()


def _clip(codec: str, container: str, width_px: int, height_px: int, frames: int, fps: int) -> bytes:
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    with tempfile.NamedTemporaryFile(suffix=f".{container}") as target:
        with av.open(target.name, "w", format=container, container_options=options) as made:
            stream = made.add_stream(codec, rate=fps)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(pattern(width_px, height_px, 9 * number), format="rgb24")
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
        return target.read()


@cache
def good() -> dict[str, bytes]:
    """By name. All of them show `pattern(64, 64)` first."""
    picture = pattern(64, 64)
    return {
        "picture.png": still("png", picture, "rgb24"),
        "grey.png": still("png", picture, "gray"),
        "deep.png": still("png", picture, "rgba64be"),
        "picture.jpg": still("mjpeg", picture, "yuvj420p"),
        "picture.webp": still("libwebp", picture, "yuv420p"),
        "h264.mp4": clip("libx264", "mp4"),
        "av1.mp4": clip("libsvtav1", "mp4"),
        "vp9.webm": clip("libvpx-vp9", "webm"),
        "av1.webm": clip("libsvtav1", "webm"),
    }
