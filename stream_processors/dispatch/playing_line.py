"""The jobs of a lane as they are played: tenants and their accounts by virtual time, jobs by their order. Pure.

The same order as `line`, without what that needs to follow a scheduler at work: here nothing ends or changes but by
being served.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from stream_processors.dispatch.job import Order

if TYPE_CHECKING:
    from stream_processors.dispatch.playing_parts import Item


@dataclass(slots=True, eq=False)
class _Account:
    virtual_s: float
    weight: float
    jobs: "list[tuple[Order, int, Item]]" = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Tenant:
    virtual_s: float
    weight: float
    accounts: dict[str, _Account] = field(default_factory=dict)
    heap: list[tuple[float, str]] = field(default_factory=list)
    """Accounts that have jobs."""
    floor_s: float = 0.0
    queued: bool = False
    """It stands in the lane's heap; perhaps held there."""
    held: bool = False


class Sharing:
    """virtual_s: of a tenant, or of one of its accounts, as it is now."""

    def __init__(self, virtual_s: Callable[[str, str | None], float]) -> None:
        self._virtual_s = virtual_s
        self._tenants: dict[str, _Tenant] = {}
        self._heap: list[tuple[float, str]] = []
        """Tenants that have jobs. One that is held is taken out when its turn comes."""
        self._floor_s = 0.0
        self._numbers = 0

    def weigh(self, tenant: str, account: str, weight: float, account_weight: float) -> None:
        """An account that may get jobs. One that is known stays as it is."""
        if tenant not in self._tenants:
            self._tenants[tenant] = _Tenant(self._virtual_s(tenant, None), weight)
        accounts = self._tenants[tenant].accounts
        if account not in accounts:
            accounts[account] = _Account(self._virtual_s(tenant, account), account_weight)

    def put(self, item: "Item") -> None:
        """A job with a chunk that may be rendered, and that is not in line."""
        tenant = self._tenants[item.tenant]
        account = tenant.accounts[item.account]
        if not account.jobs:
            account.virtual_s = max(account.virtual_s, tenant.floor_s)
            heappush(tenant.heap, (account.virtual_s, item.account))
        self._numbers += 1
        heappush(account.jobs, (item.order, self._numbers, item))
        self._queue(item.tenant)

    def hold(self, tenant: str) -> None:
        """It gets nothing until it is let go."""
        if tenant in self._tenants:
            self._tenants[tenant].held = True

    def let_go(self, tenant: str) -> None:
        """It may be served again, from where the others are now."""
        if tenant in self._tenants:
            self._tenants[tenant].held = False
            self._queue(tenant)

    def _queue(self, name: str) -> None:
        tenant = self._tenants[name]
        if tenant.heap and not tenant.queued and not tenant.held:
            tenant.virtual_s, tenant.queued = max(tenant.virtual_s, self._floor_s), True
            heappush(self._heap, (tenant.virtual_s, name))

    def head(self) -> "Item | None":
        """Whose turn it is."""
        while self._heap:
            tenant = self._tenants[self._heap[0][1]]
            if not tenant.held:
                return tenant.accounts[tenant.heap[0][1]].jobs[0][2]
            heappop(self._heap)
            tenant.queued = False
        return None

    def served(self, item: "Item", cost_s: float) -> None:
        """The head got a piece."""
        tenant = self._tenants[item.tenant]
        account = tenant.accounts[item.account]
        begins = item.begun()
        if begins or not item.ready:
            heappop(account.jobs)
            item.queued = False
            if item.ready:
                self._numbers += 1
                item.queued = True
                heappush(account.jobs, (item.order, self._numbers, item))
        heappop(tenant.heap)
        tenant.floor_s = account.virtual_s
        account.virtual_s += cost_s / account.weight
        if account.jobs:
            heappush(tenant.heap, (account.virtual_s, item.account))
        heappop(self._heap)
        tenant.queued = False
        self._floor_s = tenant.virtual_s
        tenant.virtual_s += cost_s / tenant.weight
        self._queue(item.tenant)
