"""From a job to its chunks. Pure."""

import math

from schemas.chunks import frames_of
from schemas.errors import JobRejected
from schemas.events import JobEvent, Progress, Reason
from schemas.plan import ChunkSpan, ClearedJob, Plan, RenderSettings
from schemas.registry import ModelEntry
from schemas.reports import job_event, plan_event
from schemas.request import Shot

SOURCE = "split"


def split(cleared: ClearedJob, model: ModelEntry) -> Plan:
    """The plan of a job, without placement. The same job and model entry give the same plan.

    Raises JobRejected when a chained shot needs more than one chunk and the model cannot continue a clip.
    """
    request = cleared.request
    spans: list[ChunkSpan] = []
    for index, shot in enumerate(request.shots):
        spans += _spans(index, shot, frames_of(shot.duration_s, request.output.fps), model, first=len(spans))
    width_px, height_px = nearest_size(model.sizes, request.output.width_px, request.output.height_px)
    render = RenderSettings(
        model=model.name,
        model_revision=model.revision,
        steps=model.steps,
        guidance=model.guidance,
        width_px=width_px,
        height_px=height_px,
        clip_frames=model.clip_frames,
        given_frames=model.given_frames,
    )
    return Plan(
        job=cleared.job,
        request=request,
        fingerprint=cleared.fingerprint,
        requested_at_ms=cleared.requested_at_ms,
        render=render,
        chunks=tuple(spans),
        origin=cleared.origin,
    )


def _spans(index: int, shot: Shot, frames: int, model: ModelEntry, first: int) -> list[ChunkSpan]:
    """Chunks of one shot; `first` is the position of its first chunk in the plan.

    The first chunk is a whole clip. An independent one after it is a whole clip too; a chained one begins with
    given_frames frames of its predecessor, so it adds that many fewer. The last one adds what is left.
    """
    chained = shot.continuity == "chained"
    step = model.clip_frames - model.given_frames if chained else model.clip_frames
    if chained and frames > model.clip_frames and not 0 < model.given_frames < model.clip_frames:
        message = f"shots[{index}].continuity: model {model.name} cannot continue a clip"
        raise JobRejected("model_changed", message, f"shots[{index}].continuity")
    spans = [ChunkSpan(index, 0, min(frames, model.clip_frames), -1)]
    done = spans[0].frames
    while done < frames:
        added = min(step, frames - done)
        spans.append(ChunkSpan(index, done, added, first + len(spans) - 1 if chained else -1))
        done += added
    return spans


def nearest_size(sizes: tuple[tuple[int, int], ...], width_px: int, height_px: int) -> tuple[int, int]:
    """The native (width_px, height_px) whose aspect is nearest to the one asked for; of equals, the largest."""
    aspect = math.log(width_px / height_px)
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - aspect), -size[0] * size[1]))


def planned(plan: Plan, at_ms: int) -> JobEvent:
    """Says into how many chunks a job was cut."""
    progress = Progress(chunks=len(plan.chunks))
    return plan_event(SOURCE, "job.planned", plan, at_ms=at_ms, about=plan.fingerprint, progress=progress)


def failed(cleared: ClearedJob, reason: Reason, at_ms: int) -> JobEvent:
    """Ends a job that was accepted and cannot be planned."""
    return job_event(
        SOURCE,
        "job.failed",
        cleared.job,
        cleared.request,
        at_ms=at_ms,
        requested_at_ms=cleared.requested_at_ms,
        origin=cleared.origin,
        about=cleared.fingerprint,
        reason=reason,
    )
