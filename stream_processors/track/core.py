"""Folding events into a job's state. Pure.

Terminal states absorb: whatever comes after the first terminal event changes nothing, so there is exactly one terminal
record per job. Only a deletion is still said aloud, and device time that was reported late is still metered.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from schemas.events import EventType, JobEvent, JobState, Progress, Reason, Timeline
from schemas.ids import event_id
from schemas.lifecycle import ENDS, ERASED, TERMINAL, advance
from schemas.records import Outgoing
from schemas.steering import NOTHING, merged
from schemas.topics import JOBS_FINISHED, JOBS_STATE, USAGE_METERED
from stream_processors.track.telling import (
    admission,
    asked_again,
    called_off,
    finished,
    late_usage,
    let_go,
    of_another_request,
    reply,
    said,
    second_request,
    too_late,
    usage,
)

REMEMBERED_IDS = 16
_REMARKS: frozenset[EventType] = frozenset(
    (
        "job.progress", "job.cancel-refused", "job.steered", "job.order-refused",
        "job.review-wanted", "job.review-approved",
    )
)  # fmt: skip
"""Events that say something of a job and leave its state as it is."""
_MOMENTS: dict[EventType, str] = {
    "job.accepted": "accepted_at_ms",
    "job.planned": "planned_at_ms",
    "job.queued": "queued_at_ms",
    "job.started": "started_at_ms",
    "job.assembling": "assembling_at_ms",
}


def take(state: JobState | None, event: JobEvent, partition: int) -> tuple[JobState | None, Sequence[Outgoing]]:
    """The state after an event (None: unchanged) and the records that say so.

    partition: that of the event, so that a job's state stays beside it
    """
    if event.type == "job.metered":
        return _metered(state, event, partition)
    if state is not None and (told := asked_again(state, event) or second_request(state, event)) is not None:
        # The first request goes on, or has ended as it has. Who asks again is told again, with the same id.
        return None, [said(told), *called_off(state, event)]
    if state is not None and event.id in state.seen:
        return None, ()
    if state is not None and (told := too_late(state, event)) is not None:
        return None, (said(told),)
    other = state is not None and of_another_request(state, event)
    after = None if other else fold(state, event)
    if after is None:
        return None, [*let_go(state, state, event), *admission(state, event)] if state is not None else ()
    out = [Outgoing(JOBS_STATE, after.job, after, partition=partition)]
    if after.state in TERMINAL and event.type != "job.deleted":
        out += [Outgoing(JOBS_FINISHED, after.job, finished(after)), Outgoing(USAGE_METERED, after.job, usage(after))]
    if (told := reply(state, after, event)) is not None:
        out.append(said(told))
    return after, [*out, *let_go(state, after, event), *admission(after, event)]


def _metered(state: JobState | None, event: JobEvent, partition: int) -> tuple[JobState | None, Sequence[Outgoing]]:
    """Device time beside the job's own account. The event says it in all, so one that is repeated or out of order
    meters nothing twice; of a job that ended long ago no less than of one that goes on."""
    if state is None or event.late_device_s <= state.late_device_s:
        return None, ()
    after = replace(state, sequence=state.sequence + 1, late_device_s=event.late_device_s)
    metered = late_usage(state, after, event.at_ms)
    return after, [
        Outgoing(JOBS_STATE, after.job, after, partition=partition),
        Outgoing(USAGE_METERED, after.job, metered),
    ]


def instead(event: JobEvent, message: str) -> JobEvent | None:
    """What stands for an event that cannot be used: when it was to end its job, the job ends as failed, with `message`
    as reason. None for all other events: what comes after them says enough."""
    if event.type not in ENDS:
        return None
    reason = Reason(code="internal_error", message=message)
    kept = replace(event, progress=None, prompts=None, frames=None, video=None)
    return replace(kept, id=event_id("job.failed", event.job, "given up"), type="job.failed", reason=reason)


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
        deadline_ms=_deadline_ms(before, event),
        fingerprint=before.fingerprint or event.fingerprint,
        reason=event.reason,
        progress=_settled(event.progress or known) if ended else event.progress or known,
        prompts=event.prompts or before.prompts,
        frames=event.frames or before.frames,
        video=event.video,
        timeline=replace(before.timeline, **{moment: at_ms}) if first_time else before.timeline,
        seen=_remembered(before, event),
    )


def _deadline_ms(state: JobState, event: JobEvent) -> int | None:
    """The deadline that holds: what was ordered, or else what the request says."""
    if state.steering is not None and state.steering.deadline_at_ms:
        return state.steering.deadline_ms
    return event.deadline_ms if state.deadline_ms is None else state.deadline_ms


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
        deadline_ms=event.deadline_ms,
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
    if state is None or event.type not in _REMARKS:
        return None
    steering = state.steering
    if event.steering is not None:
        steering = merged(steering or NOTHING, event.steering)
    # Without a fingerprint it was said of a job that still waits in Kafka, in the lane that was asked for.
    moved = event.type == "job.steered" and event.fingerprint and steering is not None and steering.lane_at_ms
    return replace(
        state,
        sequence=state.sequence + 1,
        lane=steering.lane if steering is not None and moved else state.lane,
        deadline_ms=_deadline_ms(replace(state, steering=steering), event),
        steering=steering,
        updated_at_ms=max(state.updated_at_ms, event.at_ms),
        progress=event.progress or state.progress,
        prompts=event.prompts or state.prompts,
        reason=event.reason,
        seen=_remembered(state, event),
    )


def _deleted(state: JobState, event: JobEvent) -> JobState | None:
    """A finished job whose files are gone keeps its row, without what they were and what its caller said of it."""
    if event.type != "job.deleted" or state.state == "deleted":
        return None
    erased = event.reason is not None and event.reason.code == ERASED.code
    return replace(
        state,
        state="deleted",
        sequence=state.sequence + 1,
        updated_at_ms=max(state.updated_at_ms, event.at_ms),
        reason=ERASED if erased else event.reason,
        metadata={},
        webhook=None,
        video=None,
        batch_id="" if erased else state.batch_id,
        seen=_remembered(state, event),
    )


def _settled(progress: Progress | None) -> Progress | None:
    """A finished job waits for nothing."""
    return None if progress is None else replace(progress, running=0, queue_position=None, eta_s=None)
