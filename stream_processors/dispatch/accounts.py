"""What tenants have out, spent today and reserved; who gets no chunk because of it; and the ledger. Pure.

Device time is counted in whole milliseconds. What is reserved follows from the rows of live jobs and what is out from
their chunks, so only the day's sum and the rate are kept besides (`Account`).
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from schemas.events import Reason
from schemas.ids import event_id
from schemas.plan import Plan
from schemas.quotas import DAY_MS, Account, LedgerEntry, Quota, account_key, day_of
from schemas.records import Outgoing
from schemas.topics import DISPATCH_STATE, USAGE_LEDGER
from schemas.work import ChunkRendered, SchedulerRow
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.quotas import Admitted, Halt, Quotas, Request, judge


def milli(seconds: float) -> int:
    """Seconds in whole milliseconds."""
    return round(seconds * 1_000)


def spent_ms(row: SchedulerRow) -> int:
    """Device time of a job in all."""
    return sum(milli(c.device_s) for c in row.chunks) + milli(row.late_device_s)


class Accounts:
    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._accounts: dict[str, Account] = {}
        self._changed: dict[str, None] = {}
        self._day = 0
        self._out: dict[str, tuple[str, int]] = {}
        """Chunks that are with workers: tenant, and device time that they should take, ms."""
        self._running: Counter[str] = Counter()
        self._running_ms: Counter[str] = Counter()
        self._held: dict[str, tuple[str, int]] = {}
        """What of a live job's reservation it has not used yet, by job: tenant, ms."""
        self._held_ms: Counter[str] = Counter()
        self._jobs: Counter[str] = Counter()
        self.blocked: set[str] = set()
        """Tenants that get no chunk now."""
        self.halts: dict[str, Halt] = {}
        """Those of them that get none for the rest of the day."""
        self.freed: set[str] = set()
        """Tenants that were blocked and are not any more; emptied by who has looked."""

    def restore(self, account: Account) -> None:
        """Take over what a predecessor wrote."""
        self._accounts[account.tenant] = account

    def put(self, key: str, quota: Quota | None) -> None:
        """A quota was set or taken away."""
        self._quotas.put(key, quota)
        for tenant in {*self._running, *self._jobs, *self.blocked, *self._accounts}:
            self._look(tenant)

    def quota(self, tenant: str) -> Quota:
        """What holds for a tenant."""
        return self._quotas.of(tenant)

    def running(self, tenant: str) -> int:
        """Chunks of a tenant that are with workers."""
        return self._running[tenant]

    def reserved_s(self, tenant: str) -> float:
        """What live jobs of a tenant have reserved and not used yet."""
        return self._held_ms[tenant] / 1_000

    # ---- letting in ------------------------------------------------------------------------------------------------

    def admit(
        self,
        plan: Plan,
        needs_s: Callable[[], float],
        parked: int,
        soonest_s: Callable[[], float | None],
        now_ms: int,
    ) -> int | Reason:
        """When the first chunk of a new job may go out, 0: at once; or why the job is refused. parked: jobs of its
        tenant that wait beyond the windows. needs_s, soonest_s: as in `quotas.Request`, asked for where they count."""
        self.turn_of_day(now_ms)
        tenant = plan.request.tenant
        quota, account = self._quotas.of(tenant), self._account(tenant)
        queued = self._jobs[tenant] + parked
        crowded = quota.queued_jobs and queued >= quota.queued_jobs
        request = Request(
            lane=plan.request.lane,
            at_ms=plan.requested_at_ms,
            needs_s=needs_s() if quota.job_device_s or quota.device_s_per_day else 0.0,
            queued=queued,
            committed_s=account.spent_s + self.reserved_s(tenant),
            rated_until_us=account.rated_until_us,
            soonest_s=soonest_s() if crowded else None,
        )
        answer = judge(quota, request, now_ms)
        if not isinstance(answer, Admitted):
            return answer
        if answer.rated_until_us != account.rated_until_us:
            self._keep(replace(account, rated_until_us=answer.rated_until_us))
        late = answer.not_before_ms > max(now_ms, plan.requested_at_ms)
        return answer.not_before_ms if late else 0

    # ---- the life of a job -----------------------------------------------------------------------------------------

    def opened(self, job: Job, needs_s: float, now_ms: int) -> list[Outgoing]:
        """Set aside what a job should need. Its row is changed, and still to be saved."""
        job.row = replace(job.row, reserved_s=milli(needs_s) / 1_000)
        return [self._entry("reserved", job, now_ms, reserved_s=job.row.reserved_s)]

    def follow(self, job: Job, active: bool) -> None:
        """What is known of a live job follows its row. active: it still wants chunks."""
        tenant = job.tenant
        before = self._held.pop(job.key, None)
        if before is not None:
            self._held_ms[tenant] -= before[1]
            self._jobs[tenant] -= 1
        if active:
            left_ms = max(0, milli(job.row.reserved_s) - spent_ms(job.row))
            self._held[job.key] = tenant, left_ms
            self._held_ms[tenant] += left_ms
            self._jobs[tenant] += 1
        if not self._jobs[tenant]:
            del self._jobs[tenant], self._held_ms[tenant]

    def spent(self, row: SchedulerRow, rendered: ChunkRendered, job: Job | None, now_ms: int) -> Outgoing:
        """A worker reported device time, for the first time. row: of the job that it is for; job: while that lives."""
        self.turn_of_day(now_ms)
        tenant = row.job.partition("/")[0]
        account = self._account(tenant)
        total_ms = milli(account.spent_s) + milli(rendered.device_s)
        self._keep(replace(account, spent_s=total_ms / 1_000))
        self._look(tenant)
        entry = LedgerEntry(
            id=event_id("ledger", "spent", row.job, str(row.counted[-1])),
            kind="spent",
            tenant=tenant,
            job=row.job,
            account=job.account if job is not None else "",
            model=job.plan.request.model if job is not None else "",
            pool=rendered.pool,
            lane=job.lane if job is not None else "standard",
            spent_s=rendered.device_s,
            refunded_s=rendered.device_s if row.refunded else 0.0,
            chunk=rendered.index,
            at_ms=now_ms,
        )
        return Outgoing(USAGE_LEDGER, row.job, entry)

    def settled(self, job: Job, end: str, now_ms: int) -> list[Outgoing]:
        """A job is over: what it had reserved is free again, and what it has used is given back where the quota says
        so. Its row is changed. end: the event's, without "job."."""
        if end in self._quotas.of(job.tenant).refunds:
            job.row = replace(job.row, refunded=True)
        back_s = spent_ms(job.row) / 1_000 if job.row.refunded else 0.0
        if not job.row.reserved_s and not back_s:
            return []
        return [self._entry("settled", job, now_ms, reserved_s=-job.row.reserved_s, refunded_s=back_s)]

    @staticmethod
    def _entry(kind: Literal["reserved", "settled"], job: Job, now_ms: int, **amounts: Any) -> Outgoing:
        entry = LedgerEntry(
            id=event_id("ledger", kind, job.key, f"{job.plan.fingerprint} {now_ms}"),
            kind=kind,
            tenant=job.tenant,
            job=job.key,
            account=job.account,
            model=job.plan.request.model,
            pool=job.placement.pool,
            lane=job.lane,
            at_ms=now_ms,
            **amounts,
        )
        return Outgoing(USAGE_LEDGER, job.key, entry)

    # ---- chunks ----------------------------------------------------------------------------------------------------

    def sent(self, chunk_id: str, tenant: str, cost_s: float) -> None:
        """A chunk is with a worker."""
        self._out[chunk_id] = tenant, milli(cost_s)
        self._running[tenant] += 1
        self._running_ms[tenant] += milli(cost_s)
        self._look(tenant)

    def landed(self, chunk_id: str) -> None:
        """It is not any more."""
        tenant, cost_ms = self._out.pop(chunk_id)
        self._running[tenant] -= 1
        self._running_ms[tenant] -= cost_ms
        if not self._running[tenant]:
            del self._running[tenant], self._running_ms[tenant]
        self._look(tenant)

    # ---- time ------------------------------------------------------------------------------------------------------

    def turn_of_day(self, now_ms: int) -> None:
        """At midnight, UTC, everybody starts anew; who was not here since the day before is forgotten."""
        if self._day != (day := day_of(now_ms)):
            self._day = day
            for tenant in [t for t, a in self._accounts.items() if a.day < day - 1 and t not in self._jobs]:
                del self._accounts[tenant]
                self._changed[tenant] = None
            for tenant in {*self.blocked, *self._accounts}:
                self._look(tenant)

    def rows(self) -> list[Outgoing]:
        """The rows that have changed since the last call."""
        changed, self._changed = self._changed, {}
        return [Outgoing(DISPATCH_STATE, account_key(t), self._accounts.get(t)) for t in changed]

    def _account(self, tenant: str) -> Account:
        """As of today."""
        known = self._accounts.get(tenant)
        if known is None:
            return Account(tenant=tenant, day=self._day)
        return known if known.day == self._day else replace(known, day=self._day, spent_s=0.0)

    def _keep(self, account: Account) -> None:
        self._accounts[account.tenant] = account
        self._changed[account.tenant] = None

    def _look(self, tenant: str) -> None:
        """Is this tenant at one of its bounds?"""
        quota = self._quotas.of(tenant)
        self.halts.pop(tenant, None)
        full = bool(quota.running_chunks) and self._running[tenant] >= quota.running_chunks
        if quota.device_s_per_day:
            spent_s = self._account(tenant).spent_s
            if spent_s >= quota.device_s_per_day:
                why = f"tenant {tenant} has used its {quota.device_s_per_day:g} device-seconds of today"
                self.halts[tenant] = Halt(why, (self._day + 1) * DAY_MS)
            full = full or spent_s + self._running_ms[tenant] / 1_000 >= quota.device_s_per_day
        if full:
            self.blocked.add(tenant)
            self.freed.discard(tenant)
        elif tenant in self.blocked:
            self.blocked.remove(tenant)
            self.freed.add(tenant)
