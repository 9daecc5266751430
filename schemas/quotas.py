"""What tenants may use, what they have used today, and the ledger of it. Pure.

Device time is kept in whole milliseconds, as workers report it, so that sums are exact.
"""

from math import ceil
from typing import Annotated, Literal

from msgspec import Meta

from schemas.errors import InvalidMessage
from schemas.request import Lane, Record

EVERYBODY = "*"
"""Key of the quota of those tenants that have none of their own."""
DAY_MS = 86_400_000
Bound = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
RefundedEnd = Literal["rejected", "failed", "cancelled", "expired"]


class Quota(Record, frozen=True, kw_only=True):
    """What a tenant may use (topic tenants.quotas, compacted; the key is the tenant, or * for all that have none of
    their own). A bound of 0 is none. The last record of a key holds, from the moment that the scheduler reads it."""

    tenant: Annotated[str, Meta(pattern=r"^(\*|[a-z0-9][a-z0-9-]{0,62})\Z")]
    """Whose quota it is; * for all that have none of their own."""
    requests_per_s: Bound = 10.0
    """Requests in the long run, lanes express and standard together. Bulk jobs are not rated: they wait in line."""
    burst_requests: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 600
    """Requests at once, after a time without any."""
    running_chunks: Count = 0
    """Chunks that are with workers at the same time. What is over always waits."""
    queued_jobs: Count = 0
    """Jobs that are not rendered yet."""
    device_s_per_day: Bound = 0.0
    """Device-seconds from midnight to midnight, UTC."""
    job_device_s: Bound = 0.0
    """Expected device-seconds of one job. A larger one is always refused."""
    over: Literal["wait", "refuse"] = "wait"
    """What becomes of requests that are over: they wait, or are refused and told when to ask again."""
    refunds: tuple[RefundedEnd, ...] = ("failed",)
    """Ends whose device time is given back to the tenant. What was reserved and not used always is."""
    weight: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    """Share within a lane; 0: as the limits file says."""
    by: str = ""
    """Who set it."""
    at_ms: int = 0
    """When, by the clock of who set it."""


class Account(Record, frozen=True, kw_only=True):
    """What the scheduler remembers of a tenant besides its jobs (topic dispatch.state, key "<tenant>#account")."""

    tenant: str
    """Whose it is."""
    day: int = 0
    """Days since the epoch, UTC, that spent_s is about."""
    spent_s: float = 0.0
    """Device-seconds of that day."""
    rated_until_us: int = 0
    """When the requests that were let in are paid for at the tenant's rate, microseconds since the epoch: the
    theoretical arrival time of GCRA."""


class LedgerEntry(Record, frozen=True, kw_only=True):
    """One change of a tenant's account (topic usage.ledger). Written in the transaction that it is about, so exactly
    once. Of a job that is over, reserved_s adds up to 0 and spent_s to what usage.metered says."""

    id: str
    """Names this entry."""
    kind: Literal["reserved", "spent", "settled"]
    """reserved: the job was let in. spent: a worker reported device time. settled: the job is over."""
    tenant: str
    """Who pays."""
    job: str
    """tenant/job_id."""
    account: str = ""
    """The job's project, or the key that signed it."""
    model: str = ""
    """Name from the model registry."""
    pool: str = ""
    """Pool of workers."""
    lane: Lane = "standard"
    """Class of service."""
    reserved_s: float = 0.0
    """Device-seconds set aside; below 0: given back."""
    spent_s: float = 0.0
    """Device-seconds used."""
    refunded_s: float = 0.0
    """Device-seconds that are not charged, of those that were used."""
    chunk: int = -1
    """For spent: position of the chunk in the plan."""
    at_ms: int = 0
    """When."""


def account_key(tenant: str) -> str:
    """Key of an account in dispatch.state."""
    return f"{tenant}#account"


def check(key: str, quota: Quota) -> None:
    """Raises InvalidMessage for a quota at another key than its own."""
    if key != quota.tenant:
        raise InvalidMessage(f'key: found "{key[:80]}"; expected "{quota.tenant}", as tenant says')


def day_of(at_ms: int) -> int:
    """Days since the epoch, UTC."""
    return at_ms // DAY_MS


def next_day_ms(at_ms: int) -> int:
    """The next midnight, UTC."""
    return (day_of(at_ms) + 1) * DAY_MS


def conforms(quota: Quota, rated_until_us: int, at_ms: int) -> tuple[int, int]:
    """When a request of this moment may go on at the tenant's rate, ms, and `rated_until_us` with it counted.

    A token bucket as the generic cell rate algorithm (ITU-T I.371, 1993): one number instead of tokens and a time.
    """
    if not quota.requests_per_s:
        return at_ms, rated_until_us
    interval_us = max(1, round(1_000_000 / quota.requests_per_s))
    due_us = max(rated_until_us, 1_000 * at_ms)
    start_us = due_us - (quota.burst_requests - 1) * interval_us
    return max(at_ms, ceil(start_us / 1_000)), due_us + interval_us
