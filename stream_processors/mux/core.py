"""What to show when, and what to say when done. Pure: no clock, no files, no codecs."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Unpack

from schemas.chunks import frames_of, overlap_frames, shot_seeds, total_frames
from schemas.events import EventType, Provenance, PublishedFile, Reason, Video
from schemas.mark_payload import payload_of
from schemas.plan import ChunkSpan, Plan
from schemas.records import Outgoing
from schemas.reports import Facts, plan_event
from schemas.request import Output
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS
from schemas.work import Command, MuxTask

SOURCE = "mux"


class PlanBroken(ValueError):
    """The plan contradicts itself; no retry can help. The message names the place."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of one chunk, both counted from 0."""

    chunk: int
    frame: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What one output frame shows: one picture, or a mix of two."""

    picture: Picture
    into: Picture | None = None
    """In a cross-fade: the picture of the next shot."""
    weight: float = 0.0
    """Share of `into`, between 0 and 1, both excluded."""


def check_plan(plan: Plan, ready: int) -> None:
    """Raise PlanBroken unless every shot is covered by its chunks, in order and without gaps, `ready` is the number of
    chunks, and the transitions of a shot leave each other room."""
    if ready != len(plan.chunks):
        raise PlanBroken(f"{ready} ready chunks for a plan of {len(plan.chunks)}")
    reached: dict[int, int] = {}
    for index, span in enumerate(plan.chunks):
        if span.frames < 1 or span.first_frame != reached.get(span.shot, 0):
            raise PlanBroken(f"chunk {index} starts at frame {span.first_frame}, not {reached.get(span.shot, 0)}")
        reached[span.shot] = span.first_frame + span.frames
    fps, overlaps = plan.request.output.fps, overlap_frames(plan.request)
    if overlaps and max(overlaps) >= len(plan.request.shots) - 1:
        raise PlanBroken(f"transition after shot {max(overlaps)}, but there is no next shot")
    for shot, wanted in enumerate(frames_of(s.duration_s, fps) for s in plan.request.shots):
        if reached.get(shot, 0) != wanted:
            raise PlanBroken(f"chunks cover {reached.get(shot, 0)} of {wanted} frames of shot {shot}")
        if overlaps.get(shot - 1, 0) + overlaps.get(shot, 0) > wanted:
            raise PlanBroken(f"transitions need more than the {wanted} frames of shot {shot}")


def _pictures(chunks: Sequence[ChunkSpan], shot: int) -> Iterator[Picture]:
    for index, span in enumerate(chunks):
        if span.shot == shot:
            for frame in range(span.frames):
                yield Picture(index, frame)


def timeline(plan: Plan) -> Iterator[Shown]:
    """What every output frame shows, in order: `total_frames` items.

    Within a chunk, frames come once each and in order, so a reader per open chunk is enough: at most two at a time.
    In a cross-fade of n frames the next shot's share grows in n equal steps of 1 / (n + 1); both shots are then moving.
    """
    overlaps, fps = overlap_frames(plan.request), plan.request.output.fps
    begun: deque[Iterator[Picture]] = deque()
    for shot, shot_request in enumerate(plan.request.shots):
        pictures = begun.popleft() if begun else _pictures(plan.chunks, shot)
        overlap = overlaps.get(shot, 0)
        alone = frames_of(shot_request.duration_s, fps) - overlap - overlaps.get(shot - 1, 0)
        for _ in range(alone):
            yield Shown(next(pictures))
        if overlap:
            following = _pictures(plan.chunks, shot + 1)
            for step in range(1, overlap + 1):
                yield Shown(next(pictures), next(following), step / (overlap + 1))
            begun.append(following)


def spread(frames: int, count: int) -> tuple[int, ...]:
    """At most `count` frame numbers spread evenly over 0 .. frames-1, from the middles of equal parts."""
    count = min(count, frames)
    return tuple((2 * i + 1) * frames // (2 * count) for i in range(count))


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a picture goes: scaled to (width_px, height_px), its part from (crop_x_px, crop_y_px) on is put at
    (x_px, y_px). Everything is even, because chroma has half the resolution."""

    width_px: int
    height_px: int
    x_px: int = 0
    y_px: int = 0
    crop_x_px: int = 0
    crop_y_px: int = 0


def fit(width_px: int, height_px: int, output: Output) -> Fit:
    """Scale a picture of (width_px, height_px) into the output: contain adds bars, cover crops."""
    ratios = output.width_px / width_px, output.height_px / height_px
    ratio = min(ratios) if output.fit == "contain" else max(ratios)
    width, height = max(2, round(width_px * ratio / 2) * 2), max(2, round(height_px * ratio / 2) * 2)
    spare_x, spare_y = output.width_px - width, output.height_px - height
    return Fit(
        width_px=width,
        height_px=height,
        x_px=max(0, spare_x) // 4 * 2,
        y_px=max(0, spare_y) // 4 * 2,
        crop_x_px=max(0, -spare_x) // 4 * 2,
        crop_y_px=max(0, -spare_y) // 4 * 2,
    )


# ---- what to say --------------------------------------------------------------------------------------------------


class SignedBy(NamedTuple):
    """Whose key signed a video, as `schemas.events.Provenance` says it."""

    certificate_sha256: str
    name: str = ""


UNSIGNED, UNKNOWN_SIGNER = SignedBy("none"), SignedBy("")


@dataclass(frozen=True, slots=True)
class ChunkFault:
    """A chunk object that cannot be used."""

    chunk: int
    reason: str


def ask_again(task: MuxTask, faults: Sequence[ChunkFault], at_ms: int) -> list[Outgoing]:
    """Records that have the faulty chunks rendered again."""
    return [
        _control(
            Command(
                job=task.plan.job,
                action="redo_chunk",
                chunk=fault.chunk,
                mux_attempt=task.attempt,
                reason=fault.reason,
                requested_at_ms=at_ms,
            )
        )
        for fault in faults
    ]


def describe(
    plan: Plan,
    video: PublishedFile,
    thumbnail: PublishedFile,
    contact_sheet: PublishedFile,
    label: str,
    signed_by: SignedBy,
    expires_at_ms: int | None,
) -> Video:
    """The published video; everything but the files, their signature and their expiry follows from the plan, so a
    redelivery says the same. label: text of the visible mark."""
    output, frames = plan.request.output, total_frames(plan.request)
    return Video(
        file=video,
        thumbnail=thumbnail,
        contact_sheet=contact_sheet,
        frames=frames,
        duration_s=round(frames / output.fps, 6),
        width_px=output.width_px,
        height_px=output.height_px,
        fps=output.fps,
        container="mp4",
        codec="h264",
        provenance=Provenance(
            model=plan.render.model,
            model_revision=plan.render.model_revision,
            seeds=shot_seeds(plan),
            label=label,
            mark_payload=payload_of(plan.job),
            certificate_sha256=signed_by.certificate_sha256,
            certificate_name=signed_by.name,
        ),
        expires_at_ms=expires_at_ms,
    )


def published(task: MuxTask, video: Video, at_ms: int) -> list[Outgoing]:
    return [_event(task.plan, "job.published", at_ms, video=video, frames=task.frames), _release(task, at_ms)]


def failed(task: MuxTask, message: str, at_ms: int) -> list[Outgoing]:
    """The job cannot be assembled, however often it is tried."""
    reason = Reason(code="assembly_failed", message=message)
    return [_event(task.plan, "job.failed", at_ms, reason=reason), _release(task, at_ms, message)]


def _event(plan: Plan, kind: EventType, at_ms: int, **facts: Unpack[Facts]) -> Outgoing:
    return Outgoing(JOBS_EVENTS, plan.job, plan_event(SOURCE, kind, plan, at_ms=at_ms, **facts))


def _release(task: MuxTask, at_ms: int, reason: str = "") -> Outgoing:
    return _control(
        Command(job=task.plan.job, action="release", mux_attempt=task.attempt, reason=reason, requested_at_ms=at_ms)
    )


def _control(control: Command) -> Outgoing:
    return Outgoing(JOBS_CONTROL, control.job, control)
