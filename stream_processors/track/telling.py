"""What is said about a job: replies to its caller, its terminal record, what it used. Pure."""

from collections.abc import Sequence

from schemas.events import (
    Cost,
    EventType,
    JobEvent,
    JobFinished,
    JobReply,
    JobState,
    Progress,
    Reason,
    ReplyType,
    UsageMetered,
)
from schemas.ids import event_id
from schemas.lifecycle import TERMINAL
from schemas.records import Outgoing
from schemas.steering import NOTHING, merged
from schemas.topics import JOBS_CONTROL, JOBS_REPLIES
from schemas.work import Command

_TOLD: dict[EventType, ReplyType] = {
    "job.accepted": "accepted",
    "job.rejected": "rejected",
    "job.published": "finished",
    "job.failed": "finished",
    "job.cancelled": "finished",
    "job.expired": "finished",
    "job.cancel-refused": "cancel-refused",
    "job.deleted": "deleted",
    "job.steered": "steered",
    "job.order-refused": "order-refused",
}


UNREAD = "a person was to read its texts first, and a stage of an older version lost sight of that; send it again"
"""Why a job is called off that would be rendered unread."""


def reply(before: JobState | None, after: JobState, event: JobEvent) -> JobReply | None:
    """What the caller is told about a changed state; None when it is not worth a record (progress)."""
    if event.type == "job.started" and (before is None or before.timeline.started_at_ms == 0):
        return _told(after, event, "started")
    kind = _TOLD.get(event.type)
    if kind is None:
        return None
    ended = after.state in TERMINAL and kind in ("finished", "rejected")
    return _told(after, event, kind, reason=after.reason, result=finished(after) if ended else None)


def second_request(state: JobState, event: JobEvent) -> JobReply | None:
    """The refusal of another request under the id of a known job, which is no news about the first."""
    if event.source != "moderate":
        return None
    if event.type == "job.rejected":
        if _same(state, event):
            # What was accepted and is refused now, for its deadline or a new policy: the job goes on all the same.
            return _told(state, event, "accepted")
        return _told(state, event, "rejected", reason=event.reason)
    if event.type == "job.accepted" and event.fingerprint != state.fingerprint:
        job_id = state.job.partition("/")[2]
        message = f'job_id: "{job_id}" was used before for another request; give every job an id of its own'
        reason = Reason(code="idempotency_conflict", message=message, field="job_id")
        return _told(state, event, "rejected", reason=reason)
    return None


def of_another_request(state: JobState, event: JobEvent) -> bool:
    """What a stage says of another request under the id of this job; its sender was told of the conflict."""
    named = bool(event.fingerprint and state.fingerprint)
    return event.source != "moderate" and named and event.fingerprint != state.fingerprint


def admission(state: JobState, event: JobEvent) -> Sequence[Outgoing]:
    """The answer to dispatch, which has taken a request in: whether it is the one that made the job.

    Two requests under one id may come to dispatch in another order than to track, and only one order is right. dispatch
    makes no video before it has this answer; of a job that has ended `let_go` tells it.
    """
    if event.source != "dispatch" or event.type != "job.queued" or not event.fingerprint or state.state in TERMINAL:
        return ()
    other = of_another_request(state, event)
    unread = not other and _unread(state, event)
    command = Command(
        job=state.job,
        action="withdraw" if other else "cancel" if unread else "admit",
        fingerprint=event.fingerprint,
        reason="another request owns this id" if other else UNREAD if unread else "",
        requested_at_ms=event.at_ms,
    )
    return (Outgoing(JOBS_CONTROL, state.job, command),)


def _unread(state: JobState, event: JobEvent) -> bool:
    """Was this job left to a person, and has dispatch taken it in without knowing so? Then a stage of an older version
    has dropped the mark on the way, and nobody would be asked."""
    return state.prompts is not None and state.prompts.verdict == "review" and event.prompts is None


def asked_again(state: JobState, event: JobEvent) -> JobReply | None:
    """The end of a job, told again to who sends the same request again: nothing is made twice, nobody waits in vain.

    It has the id of the first telling, for those who had that.
    """
    if event.source != "moderate" or state.state not in TERMINAL:
        return None
    refused_again = event.type == "job.rejected" and event.id in state.seen
    if not refused_again and not _same(state, event):
        return None
    if state.state == "deleted":
        return _told(state, event, "deleted", reason=state.reason)
    kind: ReplyType = "rejected" if state.state == "rejected" else "finished"
    return _told(state, event, kind, reason=state.reason, result=finished(state))


def too_late(state: JobState, event: JobEvent) -> JobReply | None:
    """The answer to an order for a job that has ended, which dispatch may have forgotten, or never have seen. What was
    ordered before the end and is told late was told then."""
    if state.state not in TERMINAL or event.type not in ("job.steered", "job.order-refused"):
        return None
    known = state.steering or NOTHING
    if event.type == "job.steered" and (event.steering is None or merged(known, event.steering) == known):
        return None
    reason = Reason(code="job_ended", message=f"the job is {state.state} already; an order changes nothing of it")
    return _told(state, event, "order-refused", reason=reason)


def _same(state: JobState, event: JobEvent) -> bool:
    """Is what moderate speaks of the request that made the job? A refusal of one that could not be read is of none."""
    if event.type not in ("job.accepted", "job.rejected"):
        return False
    return event.fingerprint == state.fingerprint and (bool(event.fingerprint) or event.type == "job.accepted")


def let_go(before: JobState | None, after: JobState, event: JobEvent) -> Sequence[Outgoing]:
    """dispatch is told to drop a job that has ended and that it may still hold: what it says of such a job shows that
    it does, and an end that another stage reports it does not hear. mux's own release follows a video."""
    if after.state not in TERMINAL or event.type in ("job.published", "job.deleted"):
        return ()
    if event.source == "dispatch":
        holds = event.type in ("job.queued", "job.started", "job.assembling") and event.id not in after.seen
    else:
        holds = before is not None and before.state in ("queued", "rendering", "assembling")
    if not holds:
        return ()
    command = Command(job=after.job, action="release", reason=f"the job is {after.state}", requested_at_ms=event.at_ms)
    return (Outgoing(JOBS_CONTROL, after.job, command),)


def called_off(state: JobState, event: JobEvent) -> Sequence[Outgoing]:
    """What moderate let through under the id of an ended job is stopped before it costs anything.

    dispatch would take it for a new job: one that was refused at the door it never saw, the others it forgets.
    """
    if event.type != "job.accepted" or state.state not in TERMINAL:
        return ()
    reason = f"a job of this id is {state.state} already"
    command = Command(job=state.job, action="cancel", reason=reason, requested_at_ms=event.at_ms)
    return (Outgoing(JOBS_CONTROL, state.job, command),)


def _told(
    state: JobState, event: JobEvent, kind: ReplyType, reason: Reason | None = None, result: JobFinished | None = None
) -> JobReply:
    tenant, _, job_id = state.job.partition("/")
    asked = event if event.source == "moderate" and event.type in ("job.accepted", "job.rejected") else state
    about = "end" if result is not None else kind if kind in ("accepted", "started", "deleted") else event.id
    return JobReply(
        id=event_id("reply", state.job, about),
        type=kind,
        tenant=tenant,
        job_id=job_id,
        job=state.job,
        sequence=state.sequence,
        at_ms=event.at_ms,
        state=state.state,
        batch_id=asked.batch_id,
        metadata=asked.metadata,
        reason=reason,
        result=result,
        reply_topic=asked.reply_topic,
        origin=asked.origin,
        steering=state.steering if kind == "steered" else None,
    )


def said(told: JobReply) -> Outgoing:
    """A reply as a record."""
    return Outgoing(JOBS_REPLIES, told.job, told)


def finished(state: JobState) -> JobFinished:
    """The terminal record."""
    tenant, _, job_id = state.job.partition("/")
    return JobFinished(
        id=event_id("finished", state.job),
        job=state.job,
        job_id=job_id,
        tenant=tenant,
        state=state.state,
        lane=state.lane,
        model=state.model,
        requested_at_ms=state.requested_at_ms,
        finished_at_ms=state.updated_at_ms,
        sequence=state.sequence,
        metadata=state.metadata,
        webhook=state.webhook,
        reply_topic=state.reply_topic,
        batch_id=state.batch_id,
        reason=state.reason,
        cost=_cost(state.progress),
        prompts=state.prompts,
        frames=state.frames,
        video=state.video,
        timeline=state.timeline,
        origin=state.origin,
    )


def _cost(progress: Progress | None) -> Cost | None:
    if progress is None:
        return None
    return Cost(device_s=progress.device_s, chunks_rendered=progress.rendered, chunks_reused=progress.reused)


def late_usage(before: JobState, after: JobState, at_ms: int) -> UsageMetered:
    """What was spent on the job beside its own account since this was last metered."""
    return UsageMetered(
        id=event_id("usage", after.job, f"{after.late_device_s:.3f}"),
        job=after.job,
        tenant=after.job.partition("/")[0],
        model=after.model,
        device_s=round(after.late_device_s - before.late_device_s, 3),
        chunks_rendered=0,
        chunks_reused=0,
        at_ms=at_ms,
    )


def usage(state: JobState) -> UsageMetered:
    """What the job used, finished or not."""
    progress = state.progress or Progress(chunks=0)
    return UsageMetered(
        id=event_id("usage", state.job),
        job=state.job,
        tenant=state.job.partition("/")[0],
        model=state.model,
        device_s=progress.device_s,
        chunks_rendered=progress.rendered,
        chunks_reused=progress.reused,
        at_ms=state.updated_at_ms,
    )
