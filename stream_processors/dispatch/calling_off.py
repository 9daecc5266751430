"""Ends that are asked for: a cancel by the caller, and what track knows to be overdue. Pure."""

from schemas.events import Reason
from schemas.lifecycle import expiry_reason
from schemas.records import Outgoing
from schemas.steering import put_off
from schemas.work import Command
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.ended import bare_event, event
from stream_processors.dispatch.job import Job


class CallingOff:
    def __init__(self, book: Book) -> None:
        self._book = book

    def cancel(self, control: Command, job: Job | None, now_ms: int) -> list[Outgoing]:
        """By the caller. job: as it is here; None: not among the living."""
        reason = Reason(code="cancelled", message=control.reason or "cancelled by request")
        if job is None:
            return self._end_unseen(control.job, now_ms, reason)
        if job.row.phase == "assembling":
            message = "too late to cancel: all chunks are rendered and the video is being assembled"
            refused = Reason(code="cancel_too_late", message=message)
            return [event(job.plan, "job.cancel-refused", now_ms, reason=refused)]
        return self._book.end(job, "job.cancelled", now_ms, reason, by_order=True)

    def expire(self, control: Command, job: Job | None, now_ms: int) -> list[Outgoing]:
        """track's word counts for a deadline, unless one was ordered since that it has not heard of; whether a job
        makes progress is known here, and so is whether one that is not here may be parked. A job that is being
        assembled is finished, late or not."""
        code = control.reason.partition(":")[0]
        if job is None:
            tenant = control.job.partition("/")[0]
            if code == "no_progress" and self._book.backlog.parked_of(tenant):
                return [bare_event("job.progress", control.job, now_ms, about=f"asked {now_ms}")]
            awaited = self._book.awaited.rows.get(control.job)
            if code == "deadline_passed" and awaited is not None and put_off(awaited.steering, now_ms):
                return []
            return self._end_unseen(control.job, now_ms, expiry_reason(code))
        late = code == "deadline_passed" and not put_off(job.row.steering, now_ms)
        if job.row.phase == "active" and late:
            return self._book.end(job, "job.expired", now_ms, expiry_reason(code), by_order=True)
        return [event(job.plan, "job.progress", now_ms, about=f"asked {now_ms}", progress=job.progress())]

    def _end_unseen(self, job: str, now_ms: int, reason: Reason) -> list[Outgoing]:
        """End a job that is not among the living: one that has ended says so again. If track never confirmed that one,
        another request of the id may be on its way, and is meant as well."""
        said = self._book.ended.said(job, now_ms) if job in self._book.ended.rows else []
        if self._book.ended.speaks_for(job):
            return said
        return [*said, *self._book.close_unseen(job, now_ms, reason)]
