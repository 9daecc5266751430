"""Jobs that are over for the scheduler: remembered for a while, and able to say their end again. Pure.

An end is a state, not a moment: whoever asks about such a job (a late plan, a cancel, an order to expire it) is told
the end that it has, with the id that the event had: a telling that was lost heals, a repeated one changes nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Unpack

from msgspec.structs import replace

from schemas.events import EventType, JobEvent, Reason
from schemas.ids import event_id
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.reports import Facts, plan_event
from schemas.topics import DISPATCH_STATE, JOBS_EVENTS
from schemas.work import SchedulerRow

FORGET_MS = 24 * 3_600_000
"""How long a finished job is remembered, so that a late or repeated plan changes nothing. A plan that comes still later
is called off by track, which forgets nothing."""

KINDS: dict[str, EventType] = {
    "cancelled": "job.cancelled",
    "deadline_passed": "job.expired",
    "no_progress": "job.expired",
    "prompt_refused": "job.rejected",
    "frames_refused": "job.rejected",
    "render_failed": "job.failed",
    "chunks_lost": "job.failed",
    "assembly_lost": "job.failed",
    "internal_error": "job.failed",
}
"""The event that says an end of the scheduler's making, by reason code."""


def same_account(before: SchedulerRow, row: SchedulerRow) -> SchedulerRow:
    """A row that comes after another one of the same id: what was counted once stays counted."""
    return replace(row, counted=before.counted, late_device_s=before.late_device_s)


def row_key(job: str) -> str:
    """Key of a job's row in dispatch.state."""
    return f"{job}#progress"


def event(plan: Plan, kind: EventType, now_ms: int, about: str = "", **facts: Unpack[Facts]) -> Outgoing:
    """An event about a job whose plan is here."""
    return Outgoing(JOBS_EVENTS, plan.job, plan_event("dispatch", kind, plan, at_ms=now_ms, about=about, **facts))


def bare_event(kind: EventType, job: str, now_ms: int, about: str = "", **facts: Unpack[Facts]) -> Outgoing:
    """An event about a job whose plan is not here."""
    made = JobEvent(id=event_id(kind, job, about), source="dispatch", type=kind, job=job, at_ms=now_ms, **facts)
    return Outgoing(JOBS_EVENTS, job, made)


def metered(row: SchedulerRow, now_ms: int) -> Outgoing:
    """The event that tells what was spent beside the job's account. It speaks of whatever lies under the id."""
    total_s = row.late_device_s
    return bare_event("job.metered", row.job, now_ms, about=f"{total_s:.3f}", late_device_s=total_s)


class Ended:
    """Short rows of jobs that are done or cancelled, oldest first."""

    def __init__(self) -> None:
        self.rows: dict[str, SchedulerRow] = {}

    def restore(self, rows: Iterable[SchedulerRow]) -> None:
        """Take over rows that a predecessor wrote, oldest first."""
        self.rows.update((row.job, row) for row in rows)

    def remember(self, row: SchedulerRow) -> Outgoing:
        """The record that keeps the row of a job that is over now."""
        before = self.rows.pop(row.job, None)  # or it would keep the place of what it was before
        self.rows[row.job] = row if before is None else same_account(before, row)
        return self.amend(self.rows[row.job])

    def amend(self, row: SchedulerRow) -> Outgoing:
        """The record that keeps what has changed of a job that is over; it is remembered no longer for that."""
        self.rows[row.job] = row
        return Outgoing(DISPATCH_STATE, row_key(row.job), row)

    def said(self, job: str, now_ms: int, plan: Plan | None = None) -> list[Outgoing]:
        """The end of a job as it is said now; nothing when it is not for the scheduler to say, as of a job that the
        muxer is done with."""
        row = self.rows[job]
        # A row of an older version knows only that the job was cancelled.
        code = row.reason_code or ("cancelled" if row.phase == "cancelled" else "")
        if code not in KINDS:
            return []
        kind, reason = KINDS[code], Reason(code=code, message=row.reason or "cancelled by request")
        if plan is not None:
            return [event(plan, kind, now_ms, reason=reason, fingerprint=row.fingerprint)]
        return [bare_event(kind, job, now_ms, reason=reason, fingerprint=row.fingerprint)]

    def speaks_for(self, job: str, fingerprint: str = "") -> bool:
        """Is the end of this request known, or, without a fingerprint, that of all requests of the id? One that track
        never confirmed ended for itself alone."""
        row = self.rows.get(job)
        return row is not None and (row.admitted or row.fingerprint in ("", fingerprint))

    def forget_old(self, now_ms: int) -> Iterator[Outgoing]:
        """Drop what has been remembered for long enough."""
        while self.rows and (oldest := next(iter(self.rows.values()))).at_ms + FORGET_MS < now_ms:
            del self.rows[oldest.job]
            yield Outgoing(DISPATCH_STATE, row_key(oldest.job), None)
