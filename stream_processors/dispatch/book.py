"""The scheduler's book: which jobs live, which are over, and which chunks are out. Pure.

Every change returns the records that keep it, so a scheduler that is killed goes on exactly where it was.
"""

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from schemas.events import EventType, Reason
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.topics import DISPATCH_STATE
from schemas.work import FrameVerdict, SchedulerRow
from stream_processors.dispatch.ended import Ended, event, row_key
from stream_processors.dispatch.job import Job, new_job


def _phase(code: str) -> Literal["done", "cancelled"]:
    return "cancelled" if code == "cancelled" else "done"


def plan_key(job: str) -> str:
    """Key of a job's plan in dispatch.state."""
    return f"{job}#plan"


class Book:
    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.ended = Ended()
        self.in_flight: dict[str, str] = {}
        """Chunk id -> the job that has it dispatched: another job that wants it waits, and then reuses it."""

    def restore(self, plans: Iterable[Plan], rows: Iterable[SchedulerRow]) -> None:
        """Take over the state that a predecessor wrote."""
        by_job = {plan.job: plan for plan in plans}
        rows = sorted(rows, key=lambda r: r.at_ms)
        self.ended.restore(row for row in rows if row.phase in ("done", "cancelled"))
        for row in rows:
            if row.phase in ("active", "assembling") and row.job in by_job:
                job = self.jobs[row.job] = Job(by_job[row.job], row)
                for index, chunk in enumerate(row.chunks):
                    if chunk.state == "d":
                        self.in_flight[job.ids[index]] = job.key

    def active(self) -> list[Job]:
        """Jobs that still want chunks."""
        return [job for job in self.jobs.values() if job.row.phase == "active"]

    def open(self, plan: Plan, now_ms: int) -> tuple[Job, list[Outgoing]]:
        """A job that was not known, and what keeps it."""
        job = self.jobs[plan.job] = new_job(plan, now_ms)
        return job, [Outgoing(DISPATCH_STATE, plan_key(job.key), plan), self.saved(job)]

    def saved(self, job: Job) -> Outgoing:
        """The record that keeps a live job's progress."""
        return Outgoing(DISPATCH_STATE, row_key(job.key), job.row)

    def landed(self, job: Job, index: int) -> None:
        """A chunk is out no more: another job that wants it may have it."""
        if self.in_flight.get(job.ids[index]) == job.key:
            del self.in_flight[job.ids[index]]

    def end(
        self, job: Job, kind: EventType, now_ms: int, reason: Reason, frames: FrameVerdict | None = None
    ) -> list[Outgoing]:
        """The scheduler ends a job: says so, and keeps only why."""
        said = event(job.plan, kind, now_ms, reason=reason, progress=job.progress(), frames=frames)
        return [said, *self.close(job, now_ms, reason)]

    def close(self, job: Job, now_ms: int, reason: Reason | None = None) -> list[Outgoing]:
        """Drop a live job whose end has been said. reason: None when somebody else said it."""
        for index in range(len(job.ids)):
            self.landed(job, index)
        del self.jobs[job.key]
        code, message = (reason.code, reason.message) if reason else ("", "")
        row = replace(job.row, phase=_phase(code), at_ms=now_ms, chunks=(), reason_code=code, reason=message)
        return [Outgoing(DISPATCH_STATE, plan_key(job.key), None), self.ended.remember(row)]

    def close_unseen(self, job: str, now_ms: int, reason: Reason) -> list[Outgoing]:
        """End a job that is not here yet: its plan may lie in Kafka, or never come."""
        code, message = reason.code, reason.message
        row = SchedulerRow(job=job, phase=_phase(code), fingerprint="", at_ms=now_ms, reason_code=code, reason=message)
        return [self.ended.remember(row), *self.ended.said(job, now_ms)]
