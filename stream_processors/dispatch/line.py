"""Jobs in line: of a lane's tenants and their accounts by virtual time, of an account's jobs by their order. Pure.

Heaps whose entries may be out of date, checked when they come to the top. Virtual time only grows, so an old entry
comes to the top too early, never too late. A decision costs O(log n); a change of a job is at most one more entry.
Several lines over parts of one lane's jobs share what was served.
"""

from collections.abc import Callable, Set
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple

from stream_processors.dispatch.fairness import Shares
from stream_processors.dispatch.job import Job, Order

TURNS = 8
"""One in so many turns of an account is its oldest job's,"""
AGED_MS = 600_000
"""if that has waited for longer than this: deadlines and priorities cannot hold it up for ever."""
MOST_TENANTS = 10_000

Age = tuple[int, str]
"""When a job was asked for, and its key."""
Place = tuple[float, str, float, str, bool, Age | Order]
"""Where a job stands in its lane, the first one smallest: tenant, account, and in that by age (False) or order."""


class Found(NamedTuple):
    job: Job
    chunk: int
    """The one that it wants."""
    aged: bool
    """It goes because of its age."""


class AccountShares(Shares):
    """Of one tenant's accounts, with the turns that each had since one went by age."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: dict[str, int] = {}

    def age_counts(self, account: str) -> bool:
        """Is the next turn of this account its oldest job's?"""
        return self._turns.get(account, 0) >= TURNS - 1

    def count(self, account: str, aged: bool) -> None:
        """It had a turn."""
        self._turns[account] = 0 if aged else self._turns.get(account, 0) + 1


class LaneTable:
    """What the lines of a lane share: its jobs, and what its tenants and their accounts were served. blocked: tenants
    that get no chunk now."""

    def __init__(self, blocked: Set[str] = frozenset()) -> None:
        self.blocked = blocked
        self.jobs: dict[str, Job] = {}
        self.tenants = Shares()
        self.accounts: dict[str, AccountShares] = {}

    def accounts_of(self, tenant: str) -> AccountShares:
        shares = self.accounts.get(tenant)
        if shares is None:
            shares = self.accounts[tenant] = AccountShares()
        return shares

    def place(self, found: Found) -> Place:
        """Where a job that was just found stands."""
        job, account = found.job, found.job.account
        in_account = (False, (job.plan.requested_at_ms, job.key)) if found.aged else (True, job.order())
        virtual_s = self.accounts_of(job.tenant).virtual_s(account)
        return (self.tenants.virtual_s(job.tenant), job.tenant, virtual_s, account, *in_account)

    def charge(self, job: Job, cost_s: float, in_turn: bool, aged: bool) -> None:
        """Book a chunk of this job."""
        tenant, account, placement = job.tenant, job.account, job.placement
        self.tenants.charge(tenant, cost_s, job.weight, in_turn)
        accounts = self.accounts_of(tenant)
        accounts.charge(account, cost_s, placement.account_weight, in_turn)
        accounts.count(account, aged)
        if len(self.accounts) > MOST_TENANTS:
            live = {job.tenant for job in self.jobs.values()}
            self.accounts = {t: shares for t, shares in self.accounts.items() if t in live}


class _Heaps:
    """Jobs of one account."""

    __slots__ = ("ages", "orders")

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.ages: list[Age] = []


class Line:
    """wants: the chunk that a job of this line wants now, or None. whole: all jobs of the lane are in it, so one that
    it finds to want nothing is dropped from the table."""

    def __init__(self, table: LaneTable, wants: Callable[[Job], int | None], whole: bool = False) -> None:
        self._table = table
        self._wants = wants
        self._whole = whole
        self._tenants: list[tuple[float, str]] = []
        """Heap of (virtual time, tenant)."""
        self._accounts: dict[str, list[tuple[float, str]]] = {}
        """Heap of (virtual time, account) of each tenant that is among `_tenants`."""
        self._heaps: dict[tuple[str, str], _Heaps] = {}
        """Of each account that is among `_accounts`."""
        self._orders: dict[str, Order] = {}
        """What counts of a job in this line; entries of the heaps that say otherwise are old."""
        self._entries = 0
        self._aside: dict[str, None] = {}
        """Tenants that are not among `_tenants`, because they were blocked when they came to the top."""

    def readmit(self, tenant: str) -> None:
        """A tenant that was blocked is not any more."""
        if tenant in self._aside:
            del self._aside[tenant]
            heappush(self._tenants, (self._table.tenants.virtual_s(tenant), tenant))

    def put(self, job: Job, key: str, order: Order) -> None:
        """A job that is new, or that changed."""
        known = self._orders.get(key)
        if known == order:
            return
        self._orders[key] = order
        self._enter(job, order, new=known is None)
        if self._entries > 4 * len(self._table.jobs) + 64:
            self._clean()

    def _enter(self, job: Job, order: Order, new: bool) -> None:
        tenant, account = job.tenant, job.account
        if tenant not in self._accounts:
            self._accounts[tenant] = []
            heappush(self._tenants, (self._table.tenants.virtual_s(tenant), tenant))
        heaps = self._heaps.get((tenant, account))
        if heaps is None:
            heaps = self._heaps[tenant, account] = _Heaps()
            virtual_s = self._table.accounts_of(tenant).virtual_s(account)
            heappush(self._accounts[tenant], (virtual_s, account))
        heappush(heaps.orders, order)
        self._entries += 1
        if new:
            heappush(heaps.ages, (order[-2], order[-1]))
            self._entries += 1

    def _clean(self) -> None:
        """Drop what is out of date, wherever it lies: jobs may go without ever having come to the top."""
        jobs = self._table.jobs
        self._orders = {key: order for key, order in self._orders.items() if key in jobs}
        self._tenants, self._accounts, self._heaps, self._aside, self._entries = [], {}, {}, {}, 0
        for key, order in self._orders.items():
            self._enter(jobs[key], order, new=True)

    def first(self, now_ms: int) -> Found | None:
        """First job of the first account of the first tenant that has one."""
        tenants, shares, blocked = self._tenants, self._table.tenants, self._table.blocked
        while tenants:
            virtual_s, tenant = tenants[0]
            if tenant in blocked:
                heappop(tenants)
                self._aside[tenant] = None
            elif (present_s := shares.virtual_s(tenant)) != virtual_s:
                heapreplace(tenants, (present_s, tenant))
            elif (found := self._of_tenant(tenant, now_ms)) is not None:
                return found
            else:
                heappop(tenants)
                del self._accounts[tenant]
        return None

    def _of_tenant(self, tenant: str, now_ms: int) -> Found | None:
        accounts = self._accounts[tenant]
        shares = self._table.accounts_of(tenant)
        while accounts:
            virtual_s, account = accounts[0]
            # One account has nobody to be compared with, so its entry may stay out of date.
            if len(accounts) > 1 and (present_s := shares.virtual_s(account)) != virtual_s:
                heapreplace(accounts, (present_s, account))
                continue
            heaps = self._heaps[tenant, account]
            found = self._oldest(heaps.ages, now_ms) if shares.age_counts(account) else None
            if found is None:
                found = self._in_order(heaps.orders)
            if found is not None:
                return found
            heappop(accounts)
            del self._heaps[tenant, account]
        return None

    def _in_order(self, orders: list[Order]) -> Found | None:
        while orders:
            order = orders[0]
            key = order[-1]
            if self._orders.get(key) == order and (found := self._wanted(key, aged=False)) is not None:
                return found
            heappop(orders)
            self._entries -= 1
        return None

    def _oldest(self, ages: list[Age], now_ms: int) -> Found | None:
        """The oldest job, if it is old enough."""
        while ages and now_ms - ages[0][0] > AGED_MS:
            if (found := self._wanted(ages[0][1], aged=True)) is not None:
                return found
            heappop(ages)
            self._entries -= 1
        return None

    def _wanted(self, key: str, aged: bool) -> Found | None:
        """A job of this line and the chunk that it wants; one that wants none leaves the line until it is put again."""
        job = self._table.jobs.get(key)
        if job is not None and (chunk := self._wants(job)) is not None and key in self._orders:
            return Found(job, chunk, aged)
        if self._orders.pop(key, None) is not None and self._whole:
            self._table.jobs.pop(key, None)
        return None
