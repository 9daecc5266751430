"""Clips for the bench of the invisible mark: drawn, then made into videos by the muxer's own code, marked and not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.mark_keys import PUBLIC
from schemas.mark_payload import payload_of
from schemas.plan import ChunkSpan, Plan, RenderSettings
from schemas.request import JobRequest, Output, Shot
from stream_processors.mux.assemble import VIDEO, assemble
from stream_processors.mux.label import Labeller
from stream_processors.mux.mark import Plane
from stream_processors.mux.paint import Painter
from stream_processors.mux.planes import planes_of

FPS, FRAMES = 24, 96
SIZE = 640, 360
LOOKED_AT = range(0, FRAMES, 16)
"""Frames on which marked and unmarked pictures are compared."""

Picture = NDArray[Any]
Draw = Callable[[int], Picture]
"""Frame number -> RGB picture of shape (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video as the muxer publishes it, and how far it is from the same video without the mark."""

    kind: str
    video: Path
    payload: str
    boost: float
    psnr_db: float
    ssim: float


def _texture(random: np.random.Generator, width_px: int, height_px: int) -> Picture:
    """Coloured noise, smooth and fine, of random grain."""
    noise = random.integers(0, 255, (height_px, width_px, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), float(random.uniform(2, 12))).astype(np.float32)
    smooth = 20 + (smooth - smooth.min()) * (215 / np.ptp(smooth))
    return np.asarray(np.clip(smooth + noise * random.uniform(0, 0.1), 0, 255), np.uint8)


def _still(random: np.random.Generator, width_px: int, height_px: int) -> Draw:
    world = _texture(random, width_px, height_px)

    def draw(frame: int) -> Picture:
        picture = world.copy()
        at = (width_px // 10 + frame * width_px // 120, height_px // 2)
        cv2.circle(picture, at, height_px // 8, (220, 200, 30), -1, cv2.LINE_AA)
        return picture

    return draw


def _panning(random: np.random.Generator, width_px: int, height_px: int) -> Draw:
    world = _texture(random, width_px + FRAMES * 2, height_px + FRAMES)
    return lambda frame: np.ascontiguousarray(world[frame : frame + height_px, 2 * frame : 2 * frame + width_px])


def _flat(random: np.random.Generator, width_px: int, height_px: int) -> Draw:
    ground, paint = (tuple(int(c) for c in random.integers(0, 256, 3)) for _ in range(2))
    side = height_px // 3

    def draw(frame: int) -> Picture:
        picture = np.full((height_px, width_px, 3), ground, np.uint8)
        left = frame * 3 * width_px // 640
        picture[side : 2 * side, left : left + side] = paint
        return picture

    return draw


def _sky(random: np.random.Generator, width_px: int, height_px: int) -> Draw:
    """A smooth slope of brightness that drifts, with banding: where a pattern would be seen first."""
    low, high = sorted(random.uniform(16, 235, 2))
    tint = random.uniform(0.6, 1.0, 3)
    rows = np.linspace(0, 1, height_px)[:, None, None]
    columns = np.linspace(0, 1, width_px)[None, :, None]

    def draw(frame: int) -> Picture:
        slope = low + (high - low) * (0.8 * rows + 0.2 * columns) + 0.1 * frame
        return np.asarray(np.clip(slope * tint, 0, 255), np.uint8)

    return draw


def _stripes(random: np.random.Generator, width_px: int, height_px: int) -> Draw:
    """Fences and blinds: few frequencies, each strong, in the mark's own band."""
    turn, cycles = random.uniform(0, np.pi), random.uniform(5, 40)
    x, y = np.meshgrid(np.linspace(0, 1, width_px), np.linspace(0, 1, height_px))
    along = 2 * np.pi * cycles * (x * np.cos(turn) + y * np.sin(turn))

    def draw(frame: int) -> Picture:
        wave = 128 + 90 * np.sin(along + 0.05 * frame)
        return np.repeat(wave.astype(np.uint8)[:, :, None], 3, axis=2)

    return draw


def _model_world(random: np.random.Generator, width_px: int, height_px: int) -> Draw:
    """True pictures of the world that the built-in model was trained on, 64x64, enlarged to fill."""
    from gpu_consumers.models.shapes.world import clips, to_uint8

    video = to_uint8(clips(1, Random(int(random.integers(1 << 30))), "anywhere", FRAMES)[0])[0]
    side = max(width_px, height_px)
    x, y = (side - width_px) // 2, (side - height_px) // 2

    def draw(frame: int) -> Picture:
        large = cv2.resize(video[frame], (side, side), interpolation=cv2.INTER_CUBIC)
        return np.ascontiguousarray(large[y : y + height_px, x : x + width_px])

    return draw


KINDS: dict[str, Callable[[np.random.Generator, int, int], Draw]] = {
    "still texture": _still,
    "panning texture": _panning,
    "flat": _flat,
    "sky": _sky,
    "the model's world": _model_world,
    "stripes": _stripes,
}


def drawn(kind: str, seed: int, width_px: int = SIZE[0], height_px: int = SIZE[1]) -> Draw:
    """Pictures of this kind; the same seed gives the same."""
    return KINDS[kind](np.random.default_rng(seed), width_px, height_px)


def make(folder: Path, kind: str, seed: int, key: bytes = PUBLIC) -> Clip:
    """Draw a chunk, let the muxer assemble it, and measure the mark on what goes into the encoder. key: a tenant's."""
    chunk = folder / "chunk.mkv"
    _write(chunk, drawn(kind, seed))
    plan = _plan(f"clip-{seed}")
    payload = payload_of(plan.job)
    made = assemble(plan, [chunk], folder, threads=1, key=key)
    pairs = list(_pairs(plan, chunk, payload, made.boost, key))
    return Clip(
        kind,
        folder / VIDEO,
        payload,
        made.boost,
        float(np.mean([psnr_db(a, b) for a, b in pairs])),
        float(np.mean([ssim(a, b) for a, b in pairs])),
    )


def _write(path: Path, draw: Draw) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "preset": "veryfast", "threads": "1"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(number), format="rgb24")))
        container.mux(stream.encode(None))


def _plan(job_id: str) -> Plan:
    shot = Shot(prompt="bench", duration_s=FRAMES / FPS)
    output = Output(width_px=SIZE[0], height_px=SIZE[1], fps=FPS)
    request = JobRequest(job_id=job_id, tenant="bench", shots=(shot,), output=output)
    render = RenderSettings(
        model="bench", model_revision="1", steps=1, guidance=1.0, width_px=SIZE[0], height_px=SIZE[1],
        clip_frames=FRAMES, given_frames=0,
    )  # fmt: skip
    spans = (ChunkSpan(0, 0, FRAMES, -1),)
    return Plan(
        job=f"bench/{job_id}", request=request, fingerprint="bench", requested_at_ms=0, render=render, chunks=spans
    )


def _pairs(plan: Plan, chunk: Path, payload: str, boost: float, key: bytes) -> Iterator[tuple[Plane, Plane]]:
    """Luma of finished frames with the mark and without (a mark of strength 0), before the encoder."""
    sides = [Painter(plan, [chunk], payload, strength, 2, Labeller(), key) for strength in (boost, 0.0)]
    for number, frames in enumerate(zip(*(side.frames() for side in sides), strict=True)):
        if number in LOOKED_AT:
            with_mark, without = (planes_of(frame).luma.copy() for frame in frames)
            yield with_mark, without
        for side, frame in zip(sides, frames, strict=True):
            side.done(frame)


def psnr_db(one: Plane, other: Plane) -> float:
    """Peak signal to noise of two luma planes."""
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


def ssim(one: Plane, other: Plane) -> float:
    """Mean structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004): Gaussian window of 11 pixels, sigma 1.5."""
    a, b = one.astype(np.float32), other.astype(np.float32)

    def mean(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(plane, (11, 11), 1.5))

    mean_a, mean_b = mean(a), mean(b)
    spread = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    shared = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    parts = (2 * mean_a * mean_b + c1) * (2 * shared + c2) / ((mean_a**2 + mean_b**2 + c1) * (spread + c2))
    return float(parts.mean())


def seeds(first: int, count: int) -> list[tuple[str, int]]:
    """(kind, seed) in turns over the kinds."""
    kinds = list(KINDS)
    return [(kinds[n % len(kinds)], first + n) for n in range(count)]
