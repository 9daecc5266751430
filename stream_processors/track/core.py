"""Folding events into a job's state. Pure.

Terminal states absorb: whatever comes after the first terminal event changes nothing, so there is exactly one terminal
record per job.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from schemas.events import JobEvent, JobFinished, JobState, Progress, UsageMetered
from schemas.ids import event_id
from schemas.lifecycle import TERMINAL, advance
from schemas.records import Outgoing
from schemas.topics import JOBS_FINISHED, JOBS_STATE, USAGE_METERED

REMEMBERED_IDS = 16


def fold(state: JobState | None, event: JobEvent) -> JobState | None:
    """The state after one event, or None when the event changes nothing (duplicate, late, out of place)."""
    if state is not None and (state.state in TERMINAL or event.id in state.seen):
        return None
    if state is not None and event.type == "job.rejected" and event.source == "moderate":
        # A second request with the id of an accepted job was refused: that is no news about the first.
        return None
    after = advance(state.state if state else None, event.type)
    if after is None:
        return _progressed(state, event)
    before = state or _unknown(event)
    known = before.progress
    return replace(
        before,
        state=after,
        sequence=before.sequence + 1,
        updated_at_ms=max(before.updated_at_ms, event.at_ms),
        lane=event.lane if state is None else before.lane,
        reason=event.reason,
        progress=_settled(event.progress or known) if after in TERMINAL else event.progress or known,
        video=event.video,
        seen=(*before.seen, event.id)[-REMEMBERED_IDS:],
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
    )


def _progressed(state: JobState | None, event: JobEvent) -> JobState | None:
    if state is None or event.type not in ("job.progress", "job.cancel-refused"):
        return None
    return replace(
        state,
        sequence=state.sequence + 1,
        updated_at_ms=max(state.updated_at_ms, event.at_ms),
        progress=event.progress or state.progress,
        reason=event.reason,
        seen=(*state.seen, event.id)[-REMEMBERED_IDS:],
    )


def _settled(progress: Progress | None) -> Progress | None:
    """A finished job waits for nothing."""
    return None if progress is None else replace(progress, running=0, queue_position=None, eta_s=None)


def records(state: JobState, partition: int) -> Sequence[Outgoing]:
    """What a changed state makes known. `partition`: that of the event, so that a job's state stays beside it."""
    out = [Outgoing(JOBS_STATE, state.job, state, partition=partition)]
    if state.state in TERMINAL:
        out += [Outgoing(JOBS_FINISHED, state.job, finished(state)), Outgoing(USAGE_METERED, state.job, usage(state))]
    return out


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
        reason=state.reason,
        progress=state.progress,
        video=state.video,
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
