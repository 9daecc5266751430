"""Chunk files, plans and re-encodings for the muxer's tests."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from schemas.plan import ChunkSpan, Plan, RenderSettings
from schemas.request import JobRequest, Output, Shot, Transition

Picture = NDArray[np.uint8]
Draw = Callable[[int], Picture]
NATIVE = 64


def flat(red: int, green: int, blue: int) -> Draw:
    """One colour."""
    return lambda _: np.full((NATIVE, NATIVE, 3), (red, green, blue), np.uint8)


def ball(background: int) -> Draw:
    """A red square that moves over a grey background."""

    def draw(frame: int) -> Picture:
        picture = np.full((NATIVE, NATIVE, 3), background, np.uint8)
        at = (2 * frame) % 40
        picture[20:44, at : at + 24] = (220, 30, 30)
        return picture

    return draw


def write_chunk(path: Path, frames: int, draw: Draw, codec: str = "ffv1", fps: int = 12) -> Path:
    """A chunk object as a render worker writes it."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264" if codec == "h264" else codec, rate=fps)
        stream.width = stream.height = NATIVE
        stream.pix_fmt = "yuv420p" if codec == "h264" else "bgr0"
        if codec == "h264":
            stream.options = {"crf": "12"}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt, dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
    return path


def make_plan(
    shots: Sequence[Sequence[int]], output: Output, transitions: Sequence[Transition] = (), job_id: str = "j"
) -> Plan:
    """A plan of shots, each a list of chunk lengths in frames."""
    spans = []
    for shot, lengths in enumerate(shots):
        at = 0
        for frames in lengths:
            spans.append(ChunkSpan(shot, at, frames, -1))
            at += frames
    request = JobRequest(
        job_id=job_id,
        shots=tuple(Shot(prompt="not to be told", duration_s=sum(lengths) / output.fps) for lengths in shots),
        transitions=tuple(transitions),
        output=output,
    )
    render = RenderSettings(
        model="shapes", model_revision="1", steps=8, guidance=2.0, width_px=NATIVE, height_px=NATIVE, clip_frames=17,
        given_frames=5,
    )  # fmt: skip
    return Plan(
        job=f"default/{job_id}", request=request, fingerprint="f", requested_at_ms=1, render=render, chunks=tuple(spans)
    )


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def encode_again(path: Path, target: Path, crf: int, scale: float = 1.0) -> Path:
    """What happens to a video out there: scaled and encoded by somebody else."""
    return _encode(decode(path), target, crf, scale)


def cut_out(path: Path, target: Path, frames: range, crf: int) -> Path:
    """A part of a video, encoded by somebody else."""
    return _encode(decode(path)[frames.start : frames.stop], target, crf, 1.0)


def crop(path: Path, target: Path, share: float, crf: int) -> Path:
    """That share of width and of height cut away, a third of it left and above, and encoded by somebody else."""
    parts = []
    for frame in decode(path):
        width, height = (round(n * (1 - share) / 2) * 2 for n in (frame.width, frame.height))
        x, y = ((n - kept) // 6 * 2 for n, kept in ((frame.width, width), (frame.height, height)))
        picture = frame.to_ndarray(format="rgb24")[y : y + height, x : x + width]
        part = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        parts.append(part.reformat(format="yuv420p", dst_colorspace="ITU709"))
    return _encode(parts, target, crf, 1.0)


def _encode(frames: Sequence[av.VideoFrame], target: Path, crf: int, scale: float) -> Path:
    width, height = (round(n * scale / 2) * 2 for n in (frames[0].width, frames[0].height))
    with av.open(str(target), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(frames):
            small = frame.reformat(width=width, height=height, format="yuv420p", interpolation="AREA")
            small.pts, small.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(small))
        container.mux(stream.encode(None))
    return target
