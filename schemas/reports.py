"""How stages report a fact about a job. Pure: the same fact gets the same id, so a redelivered one changes nothing."""

from schemas.events import EventType, JobEvent, JobRequest, Plan, Progress, Reason, Video
from schemas.ids import event_id


def job_event(
    source: str,
    kind: EventType,
    job: str,
    request: JobRequest,
    *,
    at_ms: int,
    requested_at_ms: int,
    about: str = "",
    reason: Reason | None = None,
    progress: Progress | None = None,
    video: Video | None = None,
) -> JobEvent:
    """An event that stands alone: it carries what a reader needs of the request.

    about: what tells this fact from others of the same kind and job, e.g. an attempt; part of the id.
    """
    return JobEvent(
        id=event_id(kind, job, about),
        source=source,
        type=kind,
        job=job,
        at_ms=at_ms,
        lane=request.lane,
        model=request.model,
        metadata=request.metadata,
        webhook=request.webhook,
        requested_at_ms=requested_at_ms,
        reason=reason,
        progress=progress,
        video=video,
    )


def plan_event(
    source: str,
    kind: EventType,
    plan: Plan,
    *,
    at_ms: int,
    about: str = "",
    reason: Reason | None = None,
    progress: Progress | None = None,
    video: Video | None = None,
) -> JobEvent:
    """`job_event` for stages that have the plan."""
    return job_event(
        source,
        kind,
        plan.job,
        plan.request,
        at_ms=at_ms,
        requested_at_ms=plan.requested_at_ms,
        about=about,
        reason=reason,
        progress=progress,
        video=video,
    )
