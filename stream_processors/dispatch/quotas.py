"""Who may use how much: the quotas that hold, and what a new request has to hear of them. Pure.

A level, not an event, as switches are: the last record of every tenant on tenants.quotas is what holds.
"""

from dataclasses import dataclass
from typing import NamedTuple

from schemas.events import Reason
from schemas.quotas import EVERYBODY, Quota, conforms, next_day_ms
from schemas.request import Lane

ASK_AGAIN_S = 60.0
"""Told to who has too many jobs in line, when nobody knows when one of them is done."""
NO_BOUNDS = Quota(tenant=EVERYBODY, requests_per_s=0)


class Quotas:
    """default: for tenants without one of their own, as long as no record says another."""

    def __init__(self, default: Quota = NO_BOUNDS) -> None:
        self._default = default
        self._quotas: dict[str, Quota] = {}

    def put(self, key: str, quota: Quota | None) -> None:
        """Take in the last record of a key, None for a tombstone."""
        if quota is None:
            self._quotas.pop(key, None)
        else:
            self._quotas[key] = quota

    def of(self, tenant: str) -> Quota:
        """What holds for a tenant."""
        return self._quotas.get(tenant) or self._quotas.get(EVERYBODY) or self._default


class Halt(NamedTuple):
    """A tenant that gets nothing more today."""

    why: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Request:
    """A new job, as far as quotas go. needs_s: expected device-seconds. queued: jobs that its tenant has in line.
    committed_s: what its tenant has spent today and reserved. soonest_s: until one of those in line is done, if known.
    """

    lane: Lane
    at_ms: int
    needs_s: float
    queued: int
    committed_s: float
    rated_until_us: int
    soonest_s: float | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job may join. not_before_ms: when its first chunk may go out. rated_until_us: as in Account."""

    not_before_ms: int
    rated_until_us: int


def judge(quota: Quota, request: Request, now_ms: int) -> Admitted | Reason:
    """Let a job in, at once or later, or say why not and when to ask again."""
    refuse = quota.over == "refuse"
    if quota.job_device_s and request.needs_s > quota.job_device_s:
        needs = f"about {request.needs_s:.1f} device-seconds; the limit of the tenant is {quota.job_device_s:g} a job"
        return Reason(
            code="job_too_large", message=f"the job needs {needs}; make it shorter, smaller or with fewer fps"
        )
    if refuse and quota.queued_jobs and request.queued >= quota.queued_jobs:
        message = f"the tenant has {request.queued} jobs in line; the limit is {quota.queued_jobs}"
        return _later(
            code="too_many_queued",
            message=message,
            after_s=ASK_AGAIN_S if request.soonest_s is None else request.soonest_s,
        )
    if refuse and quota.device_s_per_day and request.committed_s + request.needs_s > quota.device_s_per_day:
        needs = f"{request.committed_s:.1f} device-seconds of today, and the job needs about {request.needs_s:.1f}"
        message = f"the tenant has spent or reserved {needs}; the limit is {quota.device_s_per_day:g} a day (UTC)"
        return _later(code="daily_quota", message=message, after_s=(next_day_ms(now_ms) - now_ms) / 1_000)
    if request.lane == "bulk":
        return Admitted(request.at_ms, request.rated_until_us)
    from_ms, rated_until_us = conforms(quota, request.rated_until_us, request.at_ms)
    if refuse and from_ms > request.at_ms:
        message = f"the tenant may send {quota.requests_per_s:g} requests a second, {quota.burst_requests} at once"
        return _later(code="rate_limited", message=message, after_s=(from_ms - request.at_ms) / 1_000)
    return Admitted(from_ms, rated_until_us)


def _later(*, code: str, message: str, after_s: float) -> Reason:
    after_s = max(0.1, round(after_s, 1))
    told = f"{message}; send it again in {after_s:g} s, with a new job_id"
    return Reason(code=code, message=told, retry_after_s=after_s)
