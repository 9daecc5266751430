"""From a job to its chunks. Pure."""

from schemas.chunks import frames_of
from schemas.errors import JobRejected
from schemas.events import JobEvent, Progress, Reason
from schemas.plan import ChunkSpan, ClearedJob, Plan, RenderSettings
from schemas.registry import ModelEntry
from schemas.reports import cleared_event, plan_event
from schemas.request import Shot

SOURCE = "split"


def split(cleared: ClearedJob, model: ModelEntry) -> Plan:
    """The plan of a job, without placement. The same job and model entry give the same plan.

    Raises JobRejected when a chained shot needs more than one chunk and the model cannot continue a clip.
    """
    request = cleared.request
    spans: list[ChunkSpan] = []
    pictured = {made.shot for made in cleared.inputs}
    for index, shot in enumerate(request.shots):
        frames = frames_of(shot.duration_s, request.output.fps)
        spans += _spans(index, shot, frames, model, first=len(spans), pictured=index in pictured)
    width_px, height_px = model.native_size(request.output.width_px, request.output.height_px)
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
        inputs=cleared.inputs,
        prompts=cleared.prompts,
        doubts=cleared.doubts,
    )


def _spans(index: int, shot: Shot, frames: int, model: ModelEntry, *, first: int, pictured: bool) -> list[ChunkSpan]:
    """Chunks of one shot; `first` is the position of its first chunk in the plan, `pictured` that it has an input.

    The first chunk is a whole clip, less given_frames if it starts from a picture. An independent one after it is a
    whole clip; a chained one begins with given_frames frames of its predecessor, so it adds that many fewer. The last
    one adds what is left.
    """
    chained = shot.continuity == "chained"
    step = model.clip_frames - model.given_frames if chained else model.clip_frames
    if (
        chained
        and frames > model.clip_frames - (model.given_frames if pictured else 0)
        and not 0 < model.given_frames < model.clip_frames
    ):
        message = f"shots[{index}].continuity: model {model.name} cannot continue a clip"
        raise JobRejected("model_changed", message, f"shots[{index}].continuity")
    first_step = model.clip_frames
    if shot.first_keyframe is not None and not pictured:
        message = f"shots[{index}].first_keyframe: the picture was not fetched"
        raise JobRejected("input_missing", message, f"shots[{index}].first_keyframe")
    if pictured:
        if not 0 < model.given_frames < model.clip_frames:
            message = f"shots[{index}].first_keyframe: model {model.name} cannot start from a picture"
            raise JobRejected("model_changed", message, f"shots[{index}].first_keyframe")
        first_step -= model.given_frames
    spans = [ChunkSpan(index, 0, min(frames, first_step), -1)]
    done = spans[0].frames
    while done < frames:
        added = min(step, frames - done)
        spans.append(ChunkSpan(index, done, added, first + len(spans) - 1 if chained else -1))
        done += added
    return spans


def planned(plan: Plan, at_ms: int) -> JobEvent:
    """Says into how many chunks a job was cut."""
    progress = Progress(chunks=len(plan.chunks))
    return plan_event(SOURCE, "job.planned", plan, at_ms=at_ms, about=plan.fingerprint, progress=progress)


def failed(cleared: ClearedJob, reason: Reason, at_ms: int) -> JobEvent:
    """Ends a job that was accepted and cannot be planned."""
    return cleared_event(SOURCE, "job.failed", cleared, at_ms=at_ms, about=cleared.fingerprint, reason=reason)
