"""Quotas of tenants: written to tenants.quotas, where the scheduler reads them; and what tenants have used."""

import time
from dataclasses import dataclass

from msgspec.structs import replace

from ops.bus import table
from ops.levels import put, read, set_one
from ops.settings import Settings
from schemas.codec import decode
from schemas.quotas import EVERYBODY, Account, Quota, day_of
from schemas.topics import DISPATCH_STATE, TENANTS_QUOTAS


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant's quota, and what of it is used. own: it was set for this tenant, not for everybody."""

    quota: Quota
    own: bool
    spent_s: float


def set_quota(settings: Settings, quota: Quota) -> Quota:
    """Set the quota of a tenant or of everybody. Raises Transient when the broker does not take it."""
    return set_one(settings, TENANTS_QUOTAS, quota.tenant, quota, f"the quota of {quota.tenant} could not be set")


def unset_quota(settings: Settings, tenant: str) -> None:
    """Take a tenant's own quota away, or everybody's. Raises Transient when the broker does not take it."""
    put(settings, TENANTS_QUOTAS, tenant, None, f"the quota of {tenant} could not be taken away")


def quotas(settings: Settings) -> dict[str, Quota]:
    """By tenant, that of everybody at "*" among them. Raises Transient when the topic cannot be read."""
    known = read(settings, TENANTS_QUOTAS, Quota)
    return {EVERYBODY: Quota(tenant=EVERYBODY)} | {key: quota for key, quota in known.items() if quota.tenant == key}


def standings(settings: Settings) -> list[Standing]:
    """Everybody's quota first, then that of each tenant that has one or has used something today."""
    known, today = quotas(settings), day_of(time.time_ns() // 1_000_000)
    spent: dict[str, float] = {}
    for key, raw in table.load(settings, DISPATCH_STATE).items():
        if key.endswith("#account"):
            account = decode(Account, raw)
            spent[account.tenant] = account.spent_s if account.day == today else 0.0
    everybody = known.pop(EVERYBODY)
    rows = [Standing(everybody, True, sum(spent.values()))]
    for tenant in sorted(known.keys() | {t for t, spent_s in spent.items() if spent_s}):
        quota = known.get(tenant) or replace(everybody, tenant=tenant)
        rows.append(Standing(quota, tenant in known, spent.get(tenant, 0.0)))
    return rows
