"""The scheduler: what to do about each record, and what to hand out now. Pure: time comes in, records to write go out.

Every method returns the records to write in one transaction with the offsets of what was read. A row is written
whenever it changed, so a scheduler that is killed goes on exactly where it was.
"""

from collections.abc import Iterable
from typing import Literal, Unpack

from msgspec.structs import replace

from schemas.errors import InvalidMessage
from schemas.events import EventType, JobEvent, Reason
from schemas.ids import event_id
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.reports import Facts, plan_event
from schemas.request import Lane
from schemas.topics import CHUNKS, DISPATCH_STATE, JOBS_EVENTS, MUX_TASKS
from schemas.work import (
    ChunkInspected,
    ChunkTask,
    Command,
    FrameVerdict,
    MuxTask,
    ReadyChunk,
    SchedulerRow,
    WorkerState,
)
from stream_processors.dispatch.choice import Shares, Waiting
from stream_processors.dispatch.job import Job, new_job
from stream_processors.dispatch.positions import estimate
from stream_processors.dispatch.workers import Workers

Ended = Literal["done", "cancelled"]

MAX_FAILURES = 3
"""Times that workers may report a chunk as failed before its job fails."""
MAX_MUX_ATTEMPTS = 5
LOST_FIRST_MS, LOST_LAST_MS = 30_000, 300_000
"""A dispatched chunk that no live worker holds is asked for again after this long, doubled each time."""
REPORT_EVERY_MS = 1_000
FORGET_MS = 24 * 3_600_000
"""How long a finished job is remembered, so that a late or repeated plan changes nothing."""


def plan_key(job: str) -> str:
    return f"{job}#plan"


def row_key(job: str) -> str:
    return f"{job}#progress"


def _check(plan: Plan) -> None:
    """What prioritise and split never write, and what would stop the scheduler for everybody if it came."""
    if plan.placement is None or plan.placement.pool not in CHUNKS:
        raise InvalidMessage(f"placement: missing or for an unknown pool; known are {', '.join(CHUNKS)}")
    if plan.placement.weight <= 0 or plan.placement.chunk_cost_s <= 0:
        raise InvalidMessage("placement: weight and chunk_cost_s must be above 0")
    if not plan.chunks:
        raise InvalidMessage("chunks: empty")
    for index, span in enumerate(plan.chunks):
        if not 0 <= span.shot < len(plan.request.shots) or not -1 <= span.after < index:
            raise InvalidMessage(f"chunks[{index}]: shot {span.shot} or predecessor {span.after} does not exist")


class Scheduler:
    def __init__(self, lane_weights: dict[Lane, float]) -> None:
        self.jobs: dict[str, Job] = {}
        self.finished: dict[str, SchedulerRow] = {}
        """Short rows of jobs that are done or cancelled, oldest first."""
        self.workers = Workers()
        self._lane_weights = lane_weights
        self._shares = Shares(lane_weights)
        self._in_flight: dict[str, str] = {}
        """Chunk id -> the job that has it dispatched: another job that wants it waits, and then reuses it."""
        self._next_report_ms = 0

    # ---- recovery --------------------------------------------------------------------------------------------------

    def restore(self, plans: Iterable[Plan], rows: Iterable[SchedulerRow]) -> None:
        """Take over the state that a predecessor wrote."""
        by_job = {plan.job: plan for plan in plans}
        for row in sorted(rows, key=lambda r: r.at_ms):
            if row.phase in ("done", "cancelled"):
                self.finished[row.job] = row
            elif row.job in by_job:
                job = self.jobs[row.job] = Job(by_job[row.job], row)
                for index, chunk in enumerate(row.chunks):
                    if chunk.state == "d":
                        self._in_flight[job.ids[index]] = job.key

    def live(self, lane: Lane) -> int:
        """Jobs of a lane that still want chunks: what the reading window is measured by."""
        return sum(j.plan.request.lane == lane and j.row.phase == "active" for j in self.jobs.values())

    # ---- records in ------------------------------------------------------------------------------------------------

    def on_plan(self, plan: Plan, now_ms: int) -> list[Outgoing]:
        """A job joins. A job that is known, finished or cancelled already changes nothing. Raises InvalidMessage for a
        plan that can never be carried out."""
        _check(plan)
        if plan.job in self.jobs:
            return []
        if (row := self.finished.get(plan.job)) is not None:
            return [self._event(plan, "job.cancelled", now_ms)] if row.phase == "cancelled" else []
        job = new_job(plan, now_ms)
        self.jobs[job.key] = job
        saved = Outgoing(DISPATCH_STATE, plan_key(job.key), plan)
        return [saved, self._save(job), self._event(plan, "job.queued", now_ms, progress=job.progress())]

    def on_inspected(self, inspected: ChunkInspected, now_ms: int) -> list[Outgoing]:
        """A chunk came back. Late, repeated and foreign results change nothing."""
        rendered = inspected.rendered
        self.workers.finished(rendered.chunk_id)
        job = self.jobs.get(rendered.job)
        if job is None or not 0 <= rendered.index < len(job.ids) or job.ids[rendered.index] != rendered.chunk_id:
            return []
        chunk = job.chunk(rendered.index)
        if job.row.phase != "active" or chunk.state == "r":
            return []
        self._landed(job, rendered.index)
        if rendered.status == "failed" or rendered.object is None:
            return self._chunk_failed(job, rendered.index, rendered.error, now_ms)
        if inspected.verdict is None or inspected.verdict.verdict != "allow":
            category = inspected.verdict.category if inspected.verdict else "unjudged"
            message = f"frames of chunk {rendered.index} were refused by moderation ({category})"
            reason = Reason(code="frames_refused", message=message)
            return self._end(job, "job.rejected", now_ms, reason, frames=inspected.verdict)
        job.set_chunk(
            rendered.index,
            state="r",
            sha256=rendered.object.sha256,
            size_bytes=rendered.object.size_bytes,
            device_s=chunk.device_s + rendered.device_s,
            reused=rendered.status == "reused" and chunk.device_s == 0,
            frames_checked=inspected.verdict.frames_checked,
            score=inspected.verdict.score,
        )
        job.row = replace(job.row, moderator=inspected.verdict.provider)
        return self._to_mux(job, now_ms) if job.complete else [self._save(job)]

    def on_control(self, control: Command, now_ms: int) -> list[Outgoing]:
        """Cancel by the user; redo and release by mux."""
        job = self.jobs.get(control.job)
        if control.action == "cancel":
            return self._cancel(control, job, now_ms)
        if job is None or control.mux_attempt < 1 or job.row.mux_attempt != control.mux_attempt:
            return []
        if control.action == "release":
            return self._forget(job, "done", now_ms)
        return self._redo(job, control, now_ms)

    def on_worker(self, state: WorkerState, now_ms: int) -> None:
        """A worker's announcement: nothing is written, `tick` acts on it."""
        self.workers.hear(state, now_ms)

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Outgoing]:
        """What is due now: deadlines, lost chunks, chunks for idle workers, reports."""
        out: list[Outgoing] = []
        if now_ms >= self._next_report_ms:
            self._next_report_ms = now_ms + REPORT_EVERY_MS
            self.workers.forget_silent(now_ms)
            for job in [j for j in self.jobs.values() if j.row.phase == "active"]:
                out += self._overdue(job, now_ms)
            out += self._reports(now_ms)
            out += self._forget_old(now_ms)
        return out + self._hand_out(now_ms)

    def _overdue(self, job: Job, now_ms: int) -> list[Outgoing]:
        deadline_ms = job.plan.request.deadline_ms
        if deadline_ms is not None and deadline_ms < now_ms:
            reason = Reason(code="deadline_passed", message="the deadline passed before the video was rendered")
            return self._end(job, "job.expired", now_ms, reason)
        return self._ask_again(job, now_ms)

    def _hand_out(self, now_ms: int) -> list[Outgoing]:
        out: list[Outgoing] = []
        for pool in sorted(self.workers.pools()):
            if self.workers.idle(pool) is None:
                continue
            able = (j for j in self.jobs.values() if j.row.phase == "active" and j.placement.pool == pool)
            waiting = Waiting(j for j in able if self._next_chunk(j) is not None)
            while waiting and (worker := self.workers.idle(pool)) is not None:
                job = self._shares.pick(waiting)
                if (index := self._next_chunk(job)) is None:
                    waiting.remove(job)
                    continue
                self._shares.charge(job)
                partitions = worker.state.partitions
                partition = partitions[len(worker.sent) % len(partitions)]
                worker.sent[job.ids[index]] = now_ms
                out += self._send(job, index, partition, now_ms)
        return out

    def _next_chunk(self, job: Job) -> int | None:
        """The first chunk of a job that may be rendered now and that no other job is having rendered."""
        return next((i for i in job.waiting() if self._in_flight.get(job.ids[i], job.key) == job.key), None)

    def _send(self, job: Job, index: int, partition: int, now_ms: int) -> list[Outgoing]:
        out: list[Outgoing] = []
        attempt = job.chunk(index).attempt + 1
        first = all(c.attempt == 0 for c in job.row.chunks)
        job.set_chunk(index, state="d", attempt=attempt, at_ms=now_ms)
        self._in_flight[job.ids[index]] = job.key
        if first:
            job.row = replace(job.row, started_at_ms=now_ms)
            out.append(self._event(job.plan, "job.started", now_ms, progress=job.progress()))
        task = ChunkTask(
            job=job.key,
            index=index,
            attempt=attempt,
            chunk_id=job.ids[index],
            spec=job.specs[index],
            lane=job.plan.request.lane,
            pool=job.placement.pool,
            dispatched_at_ms=now_ms,
        )
        out.append(Outgoing(CHUNKS[job.placement.pool], job.key, task, partition=partition))
        return [*out, self._save(job)]

    def _ask_again(self, job: Job, now_ms: int) -> list[Outgoing]:
        lost = []
        for index, chunk in enumerate(job.row.chunks):
            patience_ms = min(LOST_FIRST_MS * 2 ** max(0, chunk.attempt - 1), LOST_LAST_MS)
            if chunk.state == "d" and now_ms - chunk.at_ms > patience_ms and not self.workers.holds(job.ids[index]):
                lost.append(index)
        for index in lost:
            self._landed(job, index)
            job.set_chunk(index, state="w")
        return [self._save(job)] if lost else []

    def _reports(self, now_ms: int) -> list[Outgoing]:
        out: list[Outgoing] = []
        active = [j for j in self.jobs.values() if j.row.phase == "active"]
        devices = {pool: self.workers.count(pool) for pool in self.workers.pools()}
        for job, position, eta_s in estimate(active, self._shares.tenants, self._lane_weights, devices):
            progress = job.progress(position, eta_s)
            if job.reported is None or replace(job.reported, eta_s=None) != replace(progress, eta_s=None):
                job.reported, job.reported_at_ms = progress, now_ms
                out.append(self._event(job.plan, "job.progress", now_ms, about=str(now_ms), progress=progress))
        return out

    def _forget_old(self, now_ms: int) -> list[Outgoing]:
        out: list[Outgoing] = []
        while self.finished and (oldest := next(iter(self.finished.values()))).at_ms + FORGET_MS < now_ms:
            del self.finished[oldest.job]
            out.append(Outgoing(DISPATCH_STATE, row_key(oldest.job), None))
        return out

    # ---- what happens to a job -------------------------------------------------------------------------------------

    def _chunk_failed(self, job: Job, index: int, error: str, now_ms: int) -> list[Outgoing]:
        failures = job.chunk(index).failures + 1
        if failures >= MAX_FAILURES:
            message = f"chunk {index} could not be rendered in {failures} tries: {error}"
            return self._end(job, "job.failed", now_ms, Reason(code="render_failed", message=message))
        job.set_chunk(index, state="w", failures=failures)
        after = job.plan.chunks[index].after
        if error.startswith("given chunk missing") and after >= 0 and job.chunk(after).state == "r":
            job.set_chunk(after, state="w")
        return [self._save(job)]

    def _to_mux(self, job: Job, now_ms: int) -> list[Outgoing]:
        attempt = job.row.mux_attempt + 1
        job.row = replace(job.row, phase="assembling", at_ms=now_ms, mux_attempt=attempt)
        ready = tuple(ReadyChunk(c.sha256, c.size_bytes) for c in job.row.chunks)
        task = MuxTask(plan=job.plan, ready=ready, attempt=attempt, frames=job.frame_verdict())
        event = self._event(job.plan, "job.assembling", now_ms, about=str(attempt), progress=job.progress())
        return [self._save(job), Outgoing(MUX_TASKS, job.key, task), event]

    def _redo(self, job: Job, control: Command, now_ms: int) -> list[Outgoing]:
        if not 0 <= control.chunk < len(job.ids) or job.row.phase not in ("active", "assembling"):
            return []
        if job.row.mux_attempt >= MAX_MUX_ATTEMPTS:
            message = f"chunk {control.chunk} was lost {job.row.mux_attempt} times: {control.reason}"
            return self._end(job, "job.failed", now_ms, Reason(code="chunks_lost", message=message))
        out: list[Outgoing] = []
        if job.row.phase == "assembling":
            job.row = replace(job.row, phase="active", at_ms=now_ms)
            about = f"redo {control.mux_attempt}"
            out.append(self._event(job.plan, "job.started", now_ms, about=about, progress=job.progress()))
        if job.chunk(control.chunk).state == "r":
            job.set_chunk(control.chunk, state="w")
        return [*out, self._save(job)]

    def _cancel(self, control: Command, job: Job | None, now_ms: int) -> list[Outgoing]:
        if job is not None and job.row.phase == "assembling":
            message = "too late to cancel: all chunks are rendered and the video is being assembled"
            reason = Reason(code="cancel_too_late", message=message)
            return [self._event(job.plan, "job.cancel-refused", now_ms, reason=reason)]
        if job is not None:
            reason = Reason(code="cancelled", message=control.reason or "cancelled by request")
            return self._end(job, "job.cancelled", now_ms, reason, phase="cancelled")
        if control.job in self.finished:
            return []
        # Not here yet: it may wait in Kafka. Remember the cancel for when its plan comes.
        row = SchedulerRow(job=control.job, phase="cancelled", fingerprint="", at_ms=now_ms)
        self.finished[control.job] = row
        event = JobEvent(
            id=event_id("job.cancelled", control.job, ""),
            source="dispatch",
            type="job.cancelled",
            job=control.job,
            at_ms=now_ms,
            reason=Reason(code="cancelled", message=control.reason or "cancelled by request"),
        )
        return [Outgoing(DISPATCH_STATE, row_key(control.job), row), Outgoing(JOBS_EVENTS, control.job, event)]

    def refuse(self, plan: Plan, reason: Reason, now_ms: int) -> list[Outgoing]:
        """A plan that cannot be taken in: its job fails, unless an earlier plan of it was."""
        if plan.job in self.jobs or plan.job in self.finished:
            return []
        return [self._event(plan, "job.failed", now_ms, reason=reason)]

    def abandon(self, key: str, reason: Reason, now_ms: int) -> list[Outgoing]:
        """A record of this job cannot be used: a live job fails, rather than wait for ever."""
        job = self.jobs.get(key)
        return [] if job is None else self._end(job, "job.failed", now_ms, reason)

    def _end(
        self,
        job: Job,
        kind: EventType,
        now_ms: int,
        reason: Reason,
        phase: Ended = "done",
        frames: FrameVerdict | None = None,
    ) -> list[Outgoing]:
        event = self._event(job.plan, kind, now_ms, reason=reason, progress=job.progress(), frames=frames)
        return [event, *self._forget(job, phase, now_ms)]

    def _forget(self, job: Job, phase: Ended, now_ms: int) -> list[Outgoing]:
        for index in range(len(job.ids)):
            self._landed(job, index)
        del self.jobs[job.key]
        row = replace(job.row, phase=phase, at_ms=now_ms, chunks=())
        self.finished[job.key] = row
        return [Outgoing(DISPATCH_STATE, plan_key(job.key), None), Outgoing(DISPATCH_STATE, row_key(job.key), row)]

    def _landed(self, job: Job, index: int) -> None:
        if self._in_flight.get(job.ids[index]) == job.key:
            del self._in_flight[job.ids[index]]

    def _save(self, job: Job) -> Outgoing:
        return Outgoing(DISPATCH_STATE, row_key(job.key), job.row)

    def _event(self, plan: Plan, kind: EventType, now_ms: int, about: str = "", **facts: Unpack[Facts]) -> Outgoing:
        event = plan_event("dispatch", kind, plan, at_ms=now_ms, about=about, **facts)
        return Outgoing(JOBS_EVENTS, plan.job, event)
