"""How stages report a fact about a job. Pure: the same fact gets the same id, so a redelivered one changes nothing."""

from typing import TypedDict, Unpack

from schemas.events import EventType, JobEvent, Progress, Reason, Video
from schemas.ids import event_id
from schemas.plan import ClearedJob, Origin, Plan
from schemas.prompts import PromptVerdict
from schemas.request import JobRequest
from schemas.reviews import ReviewDecision
from schemas.work import FrameVerdict, Steering


class Facts(TypedDict, total=False):
    """What an event may say beyond its type."""

    reason: Reason | None
    progress: Progress | None
    prompts: PromptVerdict | None
    frames: FrameVerdict | None
    video: Video | None
    steering: Steering | None
    fingerprint: str
    late_device_s: float
    review: ReviewDecision | None


def job_event(
    source: str,
    kind: EventType,
    job: str,
    request: JobRequest,
    *,
    at_ms: int,
    requested_at_ms: int,
    origin: Origin,
    about: str = "",
    **facts: Unpack[Facts],
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
        reply_topic=request.reply_topic or "",
        batch_id=request.batch_id or "",
        requested_at_ms=requested_at_ms,
        deadline_ms=request.deadline_ms,
        origin=origin,
        **facts,
    )


def plan_event(
    source: str, kind: EventType, plan: Plan, *, at_ms: int, about: str = "", **facts: Unpack[Facts]
) -> JobEvent:
    """`job_event` for stages that have the plan."""
    facts.setdefault("fingerprint", plan.fingerprint)
    return job_event(
        source,
        kind,
        plan.job,
        plan.request,
        at_ms=at_ms,
        requested_at_ms=plan.requested_at_ms,
        origin=plan.origin,
        about=about,
        **facts,
    )


def cleared_event(
    source: str, kind: EventType, cleared: ClearedJob, *, at_ms: int, about: str = "", **facts: Unpack[Facts]
) -> JobEvent:
    """`job_event` for stages that have the cleared request."""
    facts.setdefault("fingerprint", cleared.fingerprint)
    return job_event(
        source,
        kind,
        cleared.job,
        cleared.request,
        at_ms=at_ms,
        requested_at_ms=cleared.requested_at_ms,
        origin=cleared.origin,
        about=about,
        **facts,
    )
