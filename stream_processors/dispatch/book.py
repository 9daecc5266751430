"""The scheduler's book: which jobs live, which are over, and which chunks are out. Pure.

Every change returns the records that keep it, so a scheduler that is killed goes on exactly where it was.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Literal

from msgspec.structs import replace

from schemas.chunks import BatchKey, batch_key
from schemas.events import EventType, Reason
from schemas.plan import ChunkSpec, Plan
from schemas.prompts import PromptVerdict
from schemas.quotas import EVERYBODY, Quota
from schemas.records import Outgoing
from schemas.reports import Facts
from schemas.reviews import ReviewDecision
from schemas.steering import NOTHING, merged
from schemas.topics import DISPATCH_STATE
from schemas.work import FrameVerdict, SchedulerRow, Steering, Switch
from stream_processors.dispatch.accounts import Accounts
from stream_processors.dispatch.awaited import Awaited, steered
from stream_processors.dispatch.backlog import Backlog
from stream_processors.dispatch.cases import closed, texts_wanted
from stream_processors.dispatch.chunks_out import ChunksOut
from stream_processors.dispatch.costs import Learning
from stream_processors.dispatch.ended import Ended, event, metered, row_key, same_account
from stream_processors.dispatch.job import Job, new_job
from stream_processors.dispatch.quotas import Quotas
from stream_processors.dispatch.switches import Switches
from stream_processors.dispatch.windows import Windows
from stream_processors.dispatch.withdrawing import take_over, wanting, withdrawal


def _phase(code: str) -> Literal["done", "cancelled"]:
    return "cancelled" if code == "cancelled" else "done"


def plan_key(job: str) -> str:
    """Key of a job's plan in dispatch.state."""
    return f"{job}#plan"


def rival_key(plan: Plan) -> str:
    """Key of another request's plan under the id of a live job in dispatch.state."""
    return f"{plan.job}#{plan.fingerprint}#plan"


def queued(job: Job, now_ms: int, again: bool = False) -> Outgoing:
    """The event that tells that a request was taken in, and asks track whether it is the one that owns the id."""
    job.asked_at_ms = now_ms
    mark = job.plan.fingerprint
    about = f"{mark} {now_ms}" if again else mark
    return event(job.plan, "job.queued", now_ms, about=about, prompts=job.plan.prompts, progress=job.progress())


class Book:
    def __init__(self, backlog: Backlog, quotas: Quotas | None = None) -> None:
        self.backlog = backlog
        self.accounts = Accounts(quotas or Quotas())
        self.costs = Learning()
        self.switches = Switches()
        self.jobs: dict[str, Job] = {}
        self.ended = Ended()
        self.awaited = Awaited()
        self.changed: dict[str, None] = {}
        """Jobs whose chunks may have become ready to hand out, in the order of what happened."""
        self.out = ChunksOut(self.accounts, self.changed)
        self._windows = Windows(backlog)
        self._early: list[tuple[int, str]] = []
        """Heap of when jobs may go on that get no chunk before."""

    def restore(self, plans: Iterable[Plan], rows: Iterable[SchedulerRow]) -> None:
        """Take over the state that a predecessor wrote."""
        by_job: dict[str, dict[str, Plan]] = {}
        for plan in plans:
            by_job.setdefault(plan.job, {})[plan.fingerprint] = plan
        rows = sorted(rows, key=lambda r: r.at_ms)
        self.ended.restore(row for row in rows if row.phase in ("done", "cancelled"))
        self.awaited.restore(row for row in rows if row.phase == "awaited")
        for row in rows:
            if row.phase in ("active", "assembling") and row.fingerprint in by_job.get(row.job, ()):
                plan = by_job[row.job].pop(row.fingerprint)
                job = self.jobs[row.job] = Job(plan, row, rivals=list(by_job[row.job].values()))
                self._join_in(job)
                for index, chunk in enumerate(row.chunks):
                    if chunk.state == "d":
                        self.out.sent(job, index)
                self.changed[job.key] = None
                self._keep(job)

    def active(self) -> list[Job]:
        """Jobs that still want chunks."""
        return [job for job in self.jobs.values() if job.row.phase == "active"]

    def switch(self, key: str, switch: Switch | None) -> None:
        """The last record of a switch: all that wait are looked at anew."""
        if self.switches.put(key, switch):
            self.changed |= dict.fromkeys(self.jobs)

    def quota(self, key: str, quota: Quota | None) -> None:
        """A tenant may use more or less, or has another weight, from now on."""
        self.accounts.put(key, quota)
        for job in self.jobs.values():
            if key in (EVERYBODY, job.tenant):
                job.weight = self._weight(job)

    def _weight(self, job: Job) -> float:
        return self.accounts.quota(job.tenant).weight or job.placement.weight

    def follow(self, job: Job) -> Job:
        """A job that is new here follows what operators say, and its tenant's quota."""
        job.switches, job.halts, job.weight = self.switches, self.accounts.halts, self._weight(job)
        return job

    def _join_in(self, job: Job) -> None:
        if self.follow(job).row.not_before_ms:
            self._wait(job)

    def put_off(self, job: Job, pause_ms: int, now_ms: int) -> None:
        """A job gets no chunk for so long. 0: it goes on at once."""
        if pause_ms:
            job.row = replace(job.row, not_before_ms=now_ms + pause_ms)
            self._wait(job)

    def _wait(self, job: Job) -> None:
        job.early = True
        heappush(self._early, (job.row.not_before_ms, job.key))

    def let_go_on(self, now_ms: int) -> None:
        """Jobs that were not to get a chunk before now."""
        while self._early and self._early[0][0] <= now_ms:
            job = self.jobs.get(heappop(self._early)[1])
            if job is not None and job.row.not_before_ms <= now_ms:
                job.early = False
                self.changed[job.key] = None

    def open(
        self,
        plan: Plan,
        now_ms: int,
        rivals: Iterable[Plan] = (),
        again: bool = False,
        steering: Steering = NOTHING,
        not_before_ms: int = 0,
    ) -> list[Outgoing]:
        """A job that was not known. again: track has been asked about it before, when it was parked. steering: what was
        ordered of the one whose place it takes. not_before_ms: when its first chunk may go out; 0: at once."""
        waited, claimed = self.awaited.claim(plan.job)
        job = self.jobs[plan.job] = new_job(plan, now_ms, merged(steering, waited))
        job.rivals = list(rivals)
        if (before := self.ended.rows.pop(plan.job, None)) is not None:
            job.row = same_account(before, job.row)
        job.row = replace(job.row, not_before_ms=not_before_ms)
        self._join_in(job)
        reserved = self.accounts.opened(job, self.needs_s(plan, job.specs), now_ms)
        kept = [*claimed, *reserved, Outgoing(DISPATCH_STATE, plan_key(job.key), plan), self.saved(job)]
        told = [] if job.row.steering == NOTHING else [steered(job, now_ms)]
        asked = texts_wanted(job, now_ms) if job.texts_in_review else []
        return [*kept, queued(job, now_ms, again), *told, *asked]

    def needs_s(self, plan: Plan, specs: Sequence[ChunkSpec]) -> float:
        """Expected device-seconds of a new job. specs: of its chunks."""
        placement = plan.placement
        assert placement is not None
        return self.costs.table.all_s(placement.pool, specs, placement.chunk_cost_s, plan.render.clip_frames)

    def refuse(self, plan: Plan, reason: Reason, now_ms: int) -> list[Outgoing]:
        """A job that a quota does not let in. Nothing is kept of it: track knows that it has ended."""
        return [*self.awaited.claim(plan.job)[1], event(plan, "job.rejected", now_ms, reason=reason)]

    def join(self, job: Job, plan: Plan) -> list[Outgoing]:
        """A plan under the id of a live job. Another request's is kept until track has said whose the id is."""
        if job.row.admitted or plan.fingerprint in (p.fingerprint for p in (job.plan, *job.rivals)):
            return []
        job.rivals.append(plan)
        self._windows.follow(job, lives=self.jobs.get(job.key) is job)
        return [Outgoing(DISPATCH_STATE, rival_key(plan), plan)]

    def admit(self, job: Job) -> list[Outgoing]:
        """The id is this request's: the others are forgotten. The row is still to be saved."""
        job.row = replace(job.row, admitted=True)
        return self._without_rivals(job)

    def withdraw(self, job: Job, now_ms: int) -> list[Outgoing]:
        """The id is not this request's: it was never here, and the next one has its turn. What it has cost is told
        beside the account of the one that owns the id."""
        lost_s = job.progress().device_s
        if not any(chunk.attempt for chunk in job.row.chunks) and not job.row.counted:
            self._drop(job)
            gone = [*self.accounts.settled(job, "withdrawn", now_ms), *closed(job)]
            return [*gone, Outgoing(DISPATCH_STATE, row_key(job.key), None), *self._succeed(job, now_ms)]
        job.row = replace(job.row, late_device_s=round(job.row.late_device_s + lost_s, 3))
        return [*([metered(job.row, now_ms)] if lost_s else []), *self.close(job, now_ms)]

    def _succeed(self, job: Job, now_ms: int) -> list[Outgoing]:
        """What is left of a dropped job: its plan goes, a rival takes its place, and with it what was ordered."""
        if not job.rivals:
            return [Outgoing(DISPATCH_STATE, plan_key(job.key), None)]
        heir, *others = job.rivals
        return [
            Outgoing(DISPATCH_STATE, rival_key(heir), None),
            *self.open(heir, now_ms, others, steering=job.row.steering),
        ]

    def _without_rivals(self, job: Job) -> list[Outgoing]:
        gone = [Outgoing(DISPATCH_STATE, rival_key(rival), None) for rival in job.rivals]
        job.rivals.clear()
        self._windows.follow(job, lives=self.jobs.get(job.key) is job)
        return gone

    def _drop(self, job: Job) -> dict[int, str]:
        """Forget a live job. Returns its chunks that are out, each with the job that its task names."""
        out = self.out.all_landed(job)
        del self.jobs[job.key]
        self._windows.follow(job, lives=self.jobs.get(job.key) is job)
        self.accounts.follow(job, active=False)
        return out

    def _let_go(self, job: Job, out: dict[int, str], now_ms: int) -> list[Outgoing]:
        """Chunks that were out for a job that is dropped go on for another one that waits for them, or are withdrawn.
        A job that will want one later finds it in the store."""
        told: list[Outgoing] = []
        for index, named in out.items():
            others = wanting(self.jobs.values(), job.tenant, job.ids[index])
            if not others:
                told.append(withdrawal(job, index, named, now_ms))
            for heir, at in others:
                if at in heir.waiting() and not heir.stopped:
                    told += take_over(heir, at, job.chunk(index).at_ms, now_ms)
                    self.out.sent(heir, at, named)
                    told.append(self.saved(heir))
                    break
        return told

    def _keep(self, job: Job) -> None:
        """What is known of a job follows its row."""
        self._windows.follow(job, lives=self.jobs.get(job.key) is job)
        self.accounts.follow(job, active=job.row.phase == "active")
        index = next((i for i, chunk in enumerate(job.row.chunks) if chunk.state != "r"), 0)
        render, placement = job.plan.render, job.placement
        job.chunk_cost_s = self.costs.table.expected_s(
            placement.pool, job.specs[index], placement.chunk_cost_s, render.clip_frames
        )

    def next_chunk(self, job: Job, kind: BatchKey | None = None) -> int | None:
        """The first chunk of a live job, of this kind or of any, that may be rendered now and that no other job is
        having rendered. A job that has only such chunks is in line for them, and among `changed` when one lands. None
        of one that is stopped."""
        key = job.key
        if self.jobs.get(key) is not job or job.row.phase != "active" or job.stopped:
            return None
        if job.tenant in self.accounts.blocked:
            return None
        for index in job.waiting():
            fits = kind is None or batch_key(job.specs[index]) == kind
            if fits and self.out.holder(job.ids[index], key) == key:
                return index
        for index in job.waiting():
            self.out.await_landing(job, index)
        return None

    def saved(self, job: Job) -> Outgoing:
        """The record that keeps a live job's progress: made whenever a row changes."""
        self.changed[job.key] = None
        self._keep(job)
        return Outgoing(DISPATCH_STATE, row_key(job.key), job.row)

    def end(
        self,
        job: Job,
        kind: EventType,
        now_ms: int,
        reason: Reason,
        frames: FrameVerdict | None = None,
        by_order: bool = False,
        review: ReviewDecision | None = None,
        prompts: PromptVerdict | None = None,
    ) -> list[Outgoing]:
        """The scheduler ends a job: says so, and keeps only why. by_order: an order that names the id ends
        whatever lies under it; all else ends one request. review: what a person said of its texts or frames."""
        mark = "" if by_order else job.row.fingerprint
        facts: Facts = {"reason": reason, "progress": job.progress(), "frames": frames, "review": review}
        facts |= {"prompts": prompts, "fingerprint": mark}
        said = event(job.plan, kind, now_ms, **facts)
        return [said, *self.close(job, now_ms, reason, by_order, kind)]

    def close(
        self,
        job: Job,
        now_ms: int,
        reason: Reason | None = None,
        by_order: bool = False,
        kind: EventType = "job.published",
    ) -> list[Outgoing]:
        """Drop a live job whose end has been said. reason: None when somebody else said it. by_order: as for `end`.
        kind: how it ended."""
        chunks_out = self._drop(job)
        settled = self.accounts.settled(job, kind.removeprefix("job."), now_ms)
        code, message = (reason.code, reason.message) if reason else ("", "")
        mark = "" if by_order else job.row.fingerprint
        reviewed = closed(job)
        over = replace(job.row, phase=_phase(code), at_ms=now_ms, chunks=(), review_at_ms=0)
        row = replace(over, reason_code=code, reason=message, fingerprint=mark)
        out = [*settled, *reviewed, self.ended.remember(row)]
        if by_order:
            out += self._without_rivals(job)
        return [*out, *self._succeed(job, now_ms), *self._let_go(job, chunks_out, now_ms)]

    def close_unseen(self, job: str, now_ms: int, reason: Reason) -> list[Outgoing]:
        """End a job that is not here yet: its plan may lie in Kafka, or never come."""
        code, message = reason.code, reason.message
        row = SchedulerRow(job=job, phase=_phase(code), fingerprint="", at_ms=now_ms, reason_code=code, reason=message)
        return [*self.awaited.claim(job)[1], self.ended.remember(row), *self.ended.said(job, now_ms)]
