"""The child process of `reelbus verify`: looks at one foreign file behind limits and answers one line of JSON.

Started by ops.verify.verify with the file as an open descriptor; nobody else has a use for it.
"""

import io
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import cv2
import msgspec
import numpy as np

from ops.bus.process import die_with_parent
from ops.media.opening import TINY_PNG, Allowed, Opened, Unreadable, opened
from ops.sandbox import lockdown
from ops.verification import Credentials, MarkFound, NotVerifiable, Verification
from ops.verify import Answer, Order
from ops.verify_c2pa import credentials
from ops.verify_keyed import Frames
from schemas.mark_payload import ID_HEX, is_valid
from stream_processors.mux.find_label import FOUND_AT, label_score
from stream_processors.mux.mark import GRID, Detector, detail_of, grid_of
from stream_processors.mux.planes import planes_of
from stream_processors.mux.resync import Kept, read_anywhere

_CODECS = frozenset(("h264", "hevc", "av1", "libdav1d", "vp9", "libvpx-vp9", "vp8", "mpeg4", "mjpeg", "png"))
ALLOWED = Allowed(
    codecs=dict.fromkeys(("mp4", "mov", "isobmff", "matroska", "webm", "jpeg", "png"), _CODECS),
    max_pixels=4096 * 4096,
)
MAX_FRAMES_DECODED = 20_000
SAMPLED_FRAMES = 96
"""Frames that are looked at, evenly over the video, and as many of its keyframes."""


def look(order: Order) -> Answer:
    """What is known about the file, or why nothing is."""
    try:
        with os.fdopen(order.fd, "rb") as stream:
            said = credentials(stream, order.trust, order.development)
            stream.seek(0)
            return _shown(stream, said, order.frames)
    except MemoryError:
        return Answer(error=f"needs more than {order.limits.memory_bytes >> 30} GiB of memory")


def _shown(stream: BinaryIO, said: Credentials, frames: bool) -> Answer:
    """The pictures, beside what is said of them. A file that was changed may not be readable: both are told."""
    kept = Kept()
    try:
        with opened(stream, ALLOWED) as file:
            found = _measured(file, said, kept)
        return Answer(found=found, frames=_raw(kept) if frames else Frames())
    except (Unreadable, NotVerifiable) as exc:
        error = str(exc)
    except av.FFmpegError as exc:
        error = f"is not a readable video or picture ({exc.strerror or type(exc).__name__})"
    return Answer(error=error if said.state == "absent" else f"{error}; its content credentials are {said.state}")


def _raw(kept: Kept) -> Frames:
    keys, others = (b"".join(grid.tobytes() for grid in choice.grids) for choice in (kept.keys, kept.others))
    return Frames(keys, others)


def main() -> None:
    """See the module's docstring."""
    die_with_parent()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    lockdown.apply(order.limits)
    av.logging.set_level(None)
    cv2.setNumThreads(1)
    warm_up()
    lockdown.lock("decoding")
    sys.stdout.buffer.write(msgspec.json.encode(look(order)))
    sys.stdout.buffer.flush()
    os._exit(0)


def warm_up() -> None:
    """Do all of it once with a picture of our own: libraries import parts of themselves when they are first used."""
    credentials(io.BytesIO(TINY_PNG), "", "")
    with opened(io.BytesIO(TINY_PNG), Allowed({"png": _CODECS}, 1 << 16)) as file:
        for frame in file.container.decode(file.stream):
            frame.reformat(width=GRID, height=GRID, format="yuv420p", threads=1).to_ndarray()
    luma = np.zeros((GRID, GRID), np.uint8)
    detector = Detector()
    detector.add(luma)
    label_score([luma])
    detector.read()


def _measured(file: Opened, said: Credentials, kept: Kept) -> Verification:
    """kept: takes a choice of the frames."""
    container, stream, still = file.container, file.stream, file.still
    detector, scores = Detector(), []
    every = 1 if still else max(1, stream.frames // SAMPLED_FRAMES)
    frames, keys, last_s = 0, 0, 0.0
    for frame in _decoded(container, stream):
        key = frame.key_frame and keys < SAMPLED_FRAMES
        if key or frames % every == 0:
            keys += key
            luma = _luma(frame)
            grid = grid_of(luma)
            detector.add_detail(detail_of(grid), key)
            kept.add(grid, key)
            scores.append(label_score([luma]))
        frames += 1
        last_s = frame.time or last_s
    if not frames:
        raise NotVerifiable("has no frame that can be decoded")
    mark = detector.read()
    if not mark.valid:
        mark = read_anywhere(kept, mark)
    score = sorted(scores)[len(scores) // 2]
    context = stream.codec_context
    fps = 0.0 if still else float(stream.average_rate or 0)
    return Verification(
        container=file.kind,
        codec=context.name,
        width_px=context.width,
        height_px=context.height,
        fps=round(fps, 3),
        frames=frames,
        duration_s=0.0 if still else round(last_s + (1 / fps if fps else 0), 3),
        label="found" if score >= FOUND_AT else "unknown",
        label_score=round(score, 3),
        mark=MarkFound(
            payload=mark.payload,
            valid=mark.valid,
            confidence=mark.confidence,
            job_prefix=mark.payload[:ID_HEX] if is_valid(mark.payload) else "",
            repaired_bits=mark.repaired_bits,
            frames=mark.frames,
        ),
        aigc=_aigc(dict(container.metadata)),
        c2pa=said,
    )


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frames until the end, the limit, or a fault after at least one good frame is an error all the same."""
    count = 0
    try:
        for frame in container.decode(stream):
            if count == MAX_FRAMES_DECODED:
                return
            count += 1
            yield frame
    except av.FFmpegError as exc:
        raise NotVerifiable(f"is broken after frame {count} ({exc.strerror or type(exc).__name__})") from None
    if count < stream.frames:
        raise NotVerifiable(f"is cut short: {count} of {stream.frames} frames can be decoded")


def _luma(frame: av.VideoFrame) -> Any:
    """Limited-range luma, shape (height, width)."""
    if frame.format.name == "yuv420p":
        return planes_of(frame).luma
    return planes_of(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1)).luma


def _aigc(metadata: dict[str, str]) -> dict[str, str] | None:
    """The AIGC label among the container's metadata; None when there is none or it is not a flat JSON object."""
    for key, text in metadata.items():
        if "AIGC" in key.upper():
            try:
                return msgspec.json.decode(text, type=dict[str, str])
            except msgspec.DecodeError:
                return None
    return None
