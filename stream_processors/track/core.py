"""Folding events into a job's state, and what is said about it. Pure.

Terminal states absorb: whatever comes after the first terminal event changes nothing, so there is exactly one terminal
record per job. Only a deletion is still said aloud.
"""

from collections.abc import Sequence

from msgspec.structs import replace

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
    Timeline,
    UsageMetered,
)
from schemas.ids import event_id
from schemas.lifecycle import TERMINAL, advance
from schemas.records import Outgoing
from schemas.topics import JOBS_CONTROL, JOBS_FINISHED, JOBS_REPLIES, JOBS_STATE, USAGE_METERED
from schemas.work import Command

REMEMBERED_IDS = 16
_MOMENTS: dict[EventType, str] = {
    "job.accepted": "accepted_at_ms",
    "job.planned": "planned_at_ms",
    "job.queued": "queued_at_ms",
    "job.started": "started_at_ms",
    "job.assembling": "assembling_at_ms",
}
_TOLD: dict[EventType, ReplyType] = {
    "job.accepted": "accepted",
    "job.rejected": "rejected",
    "job.published": "finished",
    "job.failed": "finished",
    "job.cancelled": "finished",
    "job.expired": "finished",
    "job.cancel-refused": "cancel-refused",
    "job.deleted": "deleted",
}


def take(state: JobState | None, event: JobEvent, partition: int) -> tuple[JobState | None, Sequence[Outgoing]]:
    """The state after an event (None: unchanged) and the records that say so.

    partition: that of the event, so that a job's state stays beside it
    """
    if state is not None and (told := _asked_again(state, event)) is not None:
        return None, [_reply(told), *_called_off(state, event)]
    if state is not None and (refusal := _second_request(state, event)) is not None:
        # The first request goes on. Who asks for the second one again is told again, with the same id.
        return None, [_reply(refusal), *_called_off(state, event)]
    if state is not None and event.id in state.seen:
        return None, ()
    after = fold(state, event)
    if after is None:
        return None, ()
    out = [Outgoing(JOBS_STATE, after.job, after, partition=partition)]
    if after.state in TERMINAL and event.type != "job.deleted":
        out += [Outgoing(JOBS_FINISHED, after.job, finished(after)), Outgoing(USAGE_METERED, after.job, usage(after))]
    if (told := reply(state, after, event)) is not None:
        out.append(_reply(told))
    return after, out


def fold(state: JobState | None, event: JobEvent) -> JobState | None:
    """The state after one event, or None when the event changes nothing (late, out of place)."""
    if state is not None and state.state in TERMINAL:
        return _deleted(state, event)
    after = advance(state.state if state else None, event.type)
    if after is None:
        return _progressed(state, event)
    before = state or _unknown(event)
    known = before.progress
    ended = after in TERMINAL
    moment = "finished_at_ms" if ended else _MOMENTS[event.type]
    at_ms = max(before.updated_at_ms, event.at_ms)
    first_time = getattr(before.timeline, moment) == 0
    return replace(
        before,
        state=after,
        sequence=before.sequence + 1,
        updated_at_ms=at_ms,
        fingerprint=before.fingerprint or event.fingerprint,
        reason=event.reason,
        progress=_settled(event.progress or known) if ended else event.progress or known,
        prompts=event.prompts or before.prompts,
        frames=event.frames or before.frames,
        video=event.video,
        timeline=replace(before.timeline, **{moment: at_ms}) if first_time else before.timeline,
        seen=_remembered(before, event),
    )


def _unknown(event: JobEvent) -> JobState:
    """The state of a job before its first event."""
    return JobState(
        job=event.job,
        state="accepted",
        sequence=0,
        lane=event.lane,
        model=event.model,
        requested_at_ms=event.requested_at_ms,
        updated_at_ms=event.at_ms,
        metadata=event.metadata,
        webhook=event.webhook,
        reply_topic=event.reply_topic,
        batch_id=event.batch_id,
        timeline=Timeline(requested_at_ms=event.requested_at_ms),
        origin=event.origin,
    )


def _remembered(state: JobState, event: JobEvent) -> tuple[str, ...]:
    return (*state.seen, event.id)[-REMEMBERED_IDS:]


def _progressed(state: JobState | None, event: JobEvent) -> JobState | None:
    if state is None or event.type not in ("job.progress", "job.cancel-refused"):
        return None
    return replace(
        state,
        sequence=state.sequence + 1,
        updated_at_ms=max(state.updated_at_ms, event.at_ms),
        progress=event.progress or state.progress,
        reason=event.reason,
        seen=_remembered(state, event),
    )


def _deleted(state: JobState, event: JobEvent) -> JobState | None:
    """A finished job whose files are gone keeps its row, without what they were."""
    if event.type != "job.deleted" or state.state == "deleted":
        return None
    return replace(
        state,
        state="deleted",
        sequence=state.sequence + 1,
        updated_at_ms=max(state.updated_at_ms, event.at_ms),
        reason=event.reason,
        metadata={},
        video=None,
        seen=_remembered(state, event),
    )


def _settled(progress: Progress | None) -> Progress | None:
    """A finished job waits for nothing."""
    return None if progress is None else replace(progress, running=0, queue_position=None, eta_s=None)


def _second_request(state: JobState, event: JobEvent) -> JobReply | None:
    """The refusal of another request under the id of a known job, which is no news about the first."""
    if event.source != "moderate":
        return None
    if event.type == "job.rejected":
        return _told(state, event, "rejected", reason=event.reason)
    if event.type == "job.accepted" and event.fingerprint != state.fingerprint:
        job_id = state.job.partition("/")[2]
        message = f'job_id: "{job_id}" was used before for another request; give every job an id of its own'
        reason = Reason(code="idempotency_conflict", message=message, field="job_id")
        return _told(state, event, "rejected", reason=reason)
    return None


def _asked_again(state: JobState, event: JobEvent) -> JobReply | None:
    """The end of a job, told again to who sends the same request again: nothing is made twice, nobody waits in vain.

    It has the id of the first telling, for those who had that.
    """
    if event.source != "moderate" or state.state not in TERMINAL:
        return None
    refused_again = event.type == "job.rejected" and event.id in state.seen
    if not refused_again and not (event.type == "job.accepted" and event.fingerprint == state.fingerprint):
        return None
    if state.state == "deleted":
        return _told(state, event, "deleted", reason=state.reason)
    kind: ReplyType = "rejected" if state.state == "rejected" else "finished"
    return _told(state, event, kind, reason=state.reason, result=finished(state))


def _called_off(state: JobState, event: JobEvent) -> Sequence[Outgoing]:
    """What moderate let through under the id of an ended job is stopped before it costs anything.

    dispatch would take it for a new job: one that was refused at the door it never saw, the others it forgets.
    """
    if event.type != "job.accepted" or state.state not in TERMINAL:
        return ()
    reason = f"a job of this id is {state.state} already"
    command = Command(job=state.job, action="cancel", reason=reason, requested_at_ms=event.at_ms)
    return (Outgoing(JOBS_CONTROL, state.job, command),)


def reply(before: JobState | None, after: JobState, event: JobEvent) -> JobReply | None:
    """What the caller is told about a changed state; None when it is not worth a record (progress)."""
    if event.type == "job.started" and (before is None or before.timeline.started_at_ms == 0):
        return _told(after, event, "started")
    kind = _TOLD.get(event.type)
    if kind is None:
        return None
    ended = after.state in TERMINAL and kind in ("finished", "rejected")
    return _told(after, event, kind, reason=after.reason, result=finished(after) if ended else None)


def _told(
    state: JobState, event: JobEvent, kind: ReplyType, reason: Reason | None = None, result: JobFinished | None = None
) -> JobReply:
    tenant, _, job_id = state.job.partition("/")
    asked = event if event.source == "moderate" else state
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
    )


def _reply(told: JobReply) -> Outgoing:
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
