"""Reads a finished video back: what it really is, and some pictures of it. Needs the mux extra."""

from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from schemas.chunks import total_frames
from schemas.errors import InvalidMessage
from schemas.request import JobRequest


@dataclass(frozen=True, slots=True)
class Footage:
    """A decoded video."""

    frames: int
    """Counted while decoding, not taken from the header."""
    width_px: int
    height_px: int
    fps: float
    pictures: tuple[Image.Image, ...]
    """Spread evenly from the first frame to the last."""


def read(path: Path, pictures: int) -> Footage:
    """Decode the whole file, keeping one frame per place. Raises InvalidMessage when it cannot be decoded."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or 0)
            places = places_of(stream.frames, pictures)
            kept, count = [], 0
            for frame in container.decode(stream):
                if count in places:
                    kept.append(Image.fromarray(frame.to_ndarray(format="rgb24")))
                count += 1
            return Footage(count, stream.codec_context.width, stream.codec_context.height, fps, tuple(kept))
    except (av.FFmpegError, IndexError) as exc:
        raise InvalidMessage(f"{path}: cannot be decoded: {exc}") from None


def places_of(frames: int, pictures: int) -> frozenset[int]:
    """Frame numbers spread evenly over 0 .. frames-1, both ends included."""
    if frames <= pictures or pictures == 1:
        return frozenset(range(min(frames, pictures)))
    return frozenset(round(n * (frames - 1) / (pictures - 1)) for n in range(pictures))


def differences(footage: Footage, request: JobRequest) -> tuple[str, ...]:
    """What is not as it was asked for, one sentence each."""
    wanted = request.output
    checks = (
        ("frames", footage.frames, total_frames(request)),
        ("size", (footage.width_px, footage.height_px), (wanted.width_px, wanted.height_px)),
        ("frames per second", footage.fps, float(wanted.fps)),
    )
    return tuple(f"{name}: asked for {asked}, the file has {found}" for name, found, asked in checks if found != asked)
