"""What frames are in the simulation: names, so that loss, order and doubling can be read from a video."""

from dataclasses import dataclass

from schemas.chunks import frames_of, overlap_frames
from schemas.plan import ChunkSpec, Plan
from schemas.request import JobRequest

Frame = tuple[str, str, int]
"""Chunk id, prompt, position within the shot."""
Mixed = tuple[Frame, Frame, float]
"""A frame of a cross-fade: two pictures and the share of the second."""


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """What a chunk object holds. taint: which device made it; two devices make different bytes of one spec."""

    frames: tuple[Frame, ...]
    given: tuple[Frame, ...]
    size: tuple[int, int]
    taint: str


@dataclass(frozen=True, slots=True)
class VideoFile:
    """chunks: hashes of the chunk objects that it was made of. taint: which process made it."""

    frames: tuple[Frame | Mixed, ...]
    chunks: tuple[str, ...]
    taint: str


def render(spec: ChunkSpec, chunk_id: str, given: tuple[Frame, ...], taint: str) -> ChunkFile:
    """What the fake device makes of a spec."""
    frames = tuple((chunk_id, spec.prompt, spec.first_frame + i) for i in range(spec.frames))
    return ChunkFile(frames, given, (spec.width_px, spec.height_px), taint)


def expected(request: JobRequest, plan: Plan, ids: tuple[str, ...]) -> tuple[Frame | Mixed, ...]:
    """The frames that the request asks for, worked out without the muxer's core: shot after shot, overlaps mixed."""
    fps, overlaps = request.output.fps, overlap_frames(request)
    out: list[Frame | Mixed] = []
    for shot, wanted in enumerate(request.shots):
        named = {
            span.first_frame + i: ids[index]
            for index, span in enumerate(plan.chunks)
            if span.shot == shot
            for i in range(span.frames)
        }
        frames = [(named[i], wanted.prompt, i) for i in range(frames_of(wanted.duration_s, fps))]
        overlap = overlaps.get(shot - 1, 0)
        for step in range(overlap):
            before = out[len(out) - overlap + step]
            out[len(out) - overlap + step] = (before, frames[step], (step + 1) / (overlap + 1))  # type: ignore[assignment]
        out += frames[overlap:]
    return tuple(out)
