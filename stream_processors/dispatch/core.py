"""The scheduler: what to do about each record, and what to hand out now. Pure: time comes in, records to write go out.

Every method returns the records to write in one transaction with the offsets of what was read. A row is written
whenever it changed, so a scheduler that is killed goes on exactly where it was.
"""

from collections.abc import Iterable

from schemas import quotas as quota_rules
from schemas.chunks import chunk_specs
from schemas.errors import InvalidMessage
from schemas.events import Reason
from schemas.ids import switch_key
from schemas.lifecycle import expiry_reason
from schemas.plan import Plan
from schemas.quotas import Account, Quota
from schemas.records import Outgoing
from schemas.request import Lane
from schemas.reviews import ReviewDecision
from schemas.steering import ACTIONS
from schemas.topics import PLANS_PARKED
from schemas.work import ChunkInspected, Command, LearntCost, ParkedLine, SchedulerRow, Switch, WorkerState
from stream_processors.dispatch.accounts import Accounts
from stream_processors.dispatch.assembly import Assembly
from stream_processors.dispatch.backlog import Backlog, line_of
from stream_processors.dispatch.book import Book, queued
from stream_processors.dispatch.calling_off import CallingOff
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.estimates import Estimates
from stream_processors.dispatch.handing import Handing
from stream_processors.dispatch.job import Job, check_plan, new_job
from stream_processors.dispatch.orders import Orders
from stream_processors.dispatch.quotas import Quotas
from stream_processors.dispatch.results import Results
from stream_processors.dispatch.telling import worth_telling

REPORT_EVERY_MS = 1_000
ASK_AGAIN_MS = 30_000
"""A job that waits for nothing but track's word is asked about again."""


WINDOW_JOBS = 200
"""Live jobs of a pool and lane in memory; more where its workers can hold more. The rest waits in Kafka."""


class Scheduler:
    """timeout_ms: a job whose chunks go out and never come back for this long is given up; 0: never.
    buckets: partitions of plans.parked. window_jobs: live jobs of a pool and lane that are kept in memory.
    report_every_ms: how often it looks for what is overdue and tells positions.
    estimating: whether it reckons and tells positions and finishes at all; nothing is decided by them.
    quotas: None: no tenant has any."""

    def __init__(
        self,
        lane_weights: dict[Lane, float],
        timeout_ms: int = 0,
        buckets: int = PLANS_PARKED.partitions,
        window_jobs: int = WINDOW_JOBS,
        report_every_ms: int = REPORT_EVERY_MS,
        estimating: bool = True,
        quotas: Quotas | None = None,
    ) -> None:
        self.backlog = Backlog(buckets, window_jobs)
        self._book = Book(self.backlog, quotas)
        self._handing = Handing(self._book, lane_weights)
        self._assembly = Assembly(self._book)
        self._orders = Orders(self._book)
        self._calling_off = CallingOff(self._book)
        self._results = Results(self._book, self._handing.workers, self._assembly)
        self._estimates = Estimates(self._book, self._handing)
        self._lane_weights = lane_weights
        self._timeout_ms = timeout_ms
        self._report_every_ms, self._estimating = report_every_ms, estimating
        self._next_report_ms = 0

    @property
    def jobs(self) -> dict[str, Job]:
        """Live jobs."""
        return self._book.jobs

    @property
    def accounts(self) -> Accounts:
        """What tenants have out, spent and reserved."""
        return self._book.accounts

    @property
    def finished(self) -> dict[str, SchedulerRow]:
        """Short rows of jobs that are done or cancelled, oldest first."""
        return self._book.ended.rows

    def restore(
        self,
        plans: Iterable[Plan],
        rows: Iterable[SchedulerRow],
        parked: Iterable[ParkedLine] = (),
        accounts: Iterable[Account] = (),
    ) -> None:
        """Take over the state that a predecessor wrote."""
        for account in accounts:
            self._book.accounts.restore(account)
        self._book.restore(plans, rows)
        self.backlog.restore(parked)

    def restore_costs(self, learnt: Iterable[LearntCost]) -> None:
        """Take over what a predecessor learnt. Before `restore`: jobs are priced with it."""
        for kind in learnt:
            self._book.costs.restore(kind)

    # ---- records in ------------------------------------------------------------------------------------------------

    def on_plan(self, plan: Plan, now_ms: int) -> list[Outgoing]:
        """A job joins. A job that is known changes nothing; one that has ended is told its end again. Raises
        InvalidMessage for a plan that can never be carried out."""
        check_plan(plan)
        if (known := self._known(plan, now_ms)) is not None:
            return known
        admitted = self._admit(plan, now_ms)
        if isinstance(admitted, Reason):
            return self._book.refuse(plan, admitted, now_ms)
        self._estimates.arrivals.note(plan, now_ms)
        line = line_of(plan)
        if self.backlog.must_wait(line):
            waits = self._book.follow(new_job(plan, now_ms))
            ahead = None if waits.stopped else self.backlog.ahead(line)
            eta_s = None if waits.stopped else self._estimates.of_parked(plan, line, now_ms)
            progress = waits.progress(ahead, eta_s)
            told = event(plan, "job.queued", now_ms, about=plan.fingerprint, prompts=plan.prompts, progress=progress)
            return [self.backlog.park(plan), told]
        return self._book.open(plan, now_ms, not_before_ms=admitted)

    def _admit(self, plan: Plan, now_ms: int) -> int | Reason:
        """When a new job may begin, by its tenant's quota; or why it is refused."""
        tenant = plan.request.tenant

        def needs_s() -> float:
            return self._book.needs_s(plan, chunk_specs(plan))

        def soonest_s() -> float | None:
            told_ms = (job.told_finish_ms for job in self.jobs.values() if job.tenant == tenant)
            return min(((at_ms - now_ms) / 1_000 for at_ms in told_ms if at_ms is not None), default=None)

        parked = self.backlog.parked_of(tenant)
        return self._book.accounts.admit(plan, needs_s, parked, soonest_s, now_ms)

    def on_parked(self, plan: Plan, now_ms: int) -> list[Outgoing]:
        """A job that was parked has its turn. Raises InvalidMessage as `on_plan` does."""
        check_plan(plan)
        self.backlog.taken(plan)
        known = self._known(plan, now_ms)
        return self._book.open(plan, now_ms, again=True) if known is None else known

    def _known(self, plan: Plan, now_ms: int) -> list[Outgoing] | None:
        """What there is to say of a job that is here already, or over; None of another."""
        if (job := self.jobs.get(plan.job)) is not None:
            return self._book.join(job, plan)
        if self._book.ended.speaks_for(plan.job, plan.fingerprint):
            return self._book.ended.said(plan.job, now_ms, plan)
        return None

    def on_inspected(self, inspected: ChunkInspected, now_ms: int) -> list[Outgoing]:
        """A chunk came back. What it cost is counted once, whatever became of its job. Beside that late, repeated and
        foreign results change nothing, except that a job that has the same chunk out takes them for its own."""
        return self._results.take(inspected, now_ms)

    def on_control(self, control: Command, now_ms: int) -> list[Outgoing]:
        """Cancel and other orders by the user, expire by track, redo and release by mux; release by track for a job
        that it knows to be over, admit and withdraw for one that it was asked about."""
        job = self.jobs.get(control.job)
        if control.action == "cancel":
            return self._calling_off.cancel(control, job, now_ms)
        if control.action == "expire":
            return self._calling_off.expire(control, job, now_ms)
        if control.action in ACTIONS:
            return self._orders.take(control, now_ms)
        if job is None:
            return []
        if control.action in ("admit", "withdraw"):
            return self._whose(control, job, now_ms)
        if control.action == "release" and control.mux_attempt == 0:
            return self._book.close(job, now_ms, by_order=True)
        return self._assembly.answer(job, control, now_ms)

    def on_review(self, decision: ReviewDecision, now_ms: int) -> list[Outgoing]:
        """A person has looked at texts or frames that moderation was in doubt of."""
        return self._results.reviewed(decision, now_ms)

    def on_worker(self, state: WorkerState, now_ms: int) -> None:
        """A worker's announcement: nothing is written, `tick` acts on it."""
        self._handing.workers.hear(state, now_ms)

    def on_switch(self, key: str, switch: Switch | None) -> None:
        """What an operator has switched off or on; nothing is written. Jobs that are stopped say so at the next report.

        Raises InvalidMessage for a key that is not the switch's own."""
        if switch is not None and key != (right := switch_key(switch.kind, switch.name)):
            raise InvalidMessage(f'key: found "{key[:80]}"; expected "{right}", as kind and name say')
        self._book.switch(key, switch)
        self._handing.workers.switched()

    def on_quota(self, key: str, quota: Quota | None) -> None:
        """What a tenant may use from now on; nothing is written. Raises InvalidMessage for a key that is not the
        quota's own."""
        if quota is not None:
            quota_rules.check(key, quota)
        self._book.quota(key, quota)

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Outgoing]:
        """What is due now: deadlines, lost chunks, lost mux tasks, chunks for idle workers, reports."""
        out: list[Outgoing] = []
        self._book.accounts.turn_of_day(now_ms)
        self._book.let_go_on(now_ms)
        if now_ms >= self._next_report_ms:
            self._next_report_ms = now_ms + self._report_every_ms
            self._handing.workers.forget_silent(now_ms)
            self.backlog.slots = self._handing.workers.slots()
            for job in list(self.jobs.values()):
                out += self._overdue(job, now_ms)
            if self._estimating:
                out += self._reports(now_ms)
            out += self._book.costs.tell(now_ms)
            out += self._book.ended.forget_old(now_ms)
            out += self._book.awaited.forget_old(now_ms)
        out += self._handing.hand_out(now_ms)
        return out + self.backlog.rows() + self._book.accounts.rows()

    def _overdue(self, job: Job, now_ms: int) -> list[Outgoing]:
        if job.row.phase == "assembling":
            return self._assembly.overdue(job, now_ms)
        deadline_ms = job.deadline_ms
        if deadline_ms is not None and deadline_ms < now_ms:
            return self._book.end(job, "job.expired", now_ms, expiry_reason("deadline_passed"))
        if self._timeout_ms and job.goes_in_circles(now_ms - self._timeout_ms):
            return self._book.end(job, "job.expired", now_ms, expiry_reason("no_progress"))
        if job.complete:  # and not admitted yet: the question or the answer may be lost, with a table that was restored
            return [queued(job, now_ms, again=True)] if now_ms - job.asked_at_ms > ASK_AGAIN_MS else []
        return self._handing.ask_again(job, now_ms)

    def _reports(self, now_ms: int) -> list[Outgoing]:
        """Where jobs stand, told when it has changed."""
        out: list[Outgoing] = []
        for job, position, finish_ms in self._estimates.all(now_ms):
            if (progress := worth_telling(job, position, finish_ms, now_ms)) is not None:
                out.append(event(job.plan, "job.progress", now_ms, about=str(now_ms), progress=progress))
        return out

    # ---- what happens to a job -------------------------------------------------------------------------------------

    def _whose(self, control: Command, job: Job, now_ms: int) -> list[Outgoing]:
        """track's answer to `job.queued`."""
        if job.row.admitted or control.fingerprint != job.row.fingerprint:
            return []
        if control.action == "withdraw":
            return self._book.withdraw(job, now_ms)
        return [*self._book.admit(job), *self._results.onward(job, now_ms)]

    def refuse(self, plan: Plan, reason: Reason, now_ms: int) -> list[Outgoing]:
        """A plan that cannot be taken in: its job fails, unless an earlier plan of it was."""
        if plan.job in self.jobs or self._book.ended.speaks_for(plan.job, plan.fingerprint):
            return []
        return [event(plan, "job.failed", now_ms, reason=reason)]

    def abandon(self, key: str, reason: Reason, now_ms: int) -> list[Outgoing]:
        """A record of this job cannot be used: a live job fails, rather than wait for ever."""
        job = self.jobs.get(key)
        return [] if job is None else self._book.end(job, "job.failed", now_ms, reason)
