"""What tenants used, added up from the ledger, and held against what was metered."""

from collections.abc import Iterable
from dataclasses import dataclass

from ops.bus import table
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import UsageMetered
from schemas.quotas import LedgerEntry
from schemas.topics import USAGE_LEDGER, USAGE_METERED


@dataclass(slots=True)
class Usage:
    """One tenant's, in device-seconds. jobs: let in. reserved_s: of jobs that are not over. metered_s: as usage.metered
    says, which tells a job's use when it is over."""

    tenant: str
    jobs: int = 0
    open_jobs: int = 0
    reserved_s: float = 0.0
    spent_s: float = 0.0
    refunded_s: float = 0.0
    open_spent_s: float = 0.0
    """Of spent_s, what jobs that are not over have used."""
    metered_s: float = 0.0

    @property
    def charged_s(self) -> float:
        """What is to be paid for."""
        return round(self.spent_s - self.refunded_s, 3)

    @property
    def adds_up(self) -> bool:
        """Is what was spent by jobs that are over what was metered?"""
        return round(self.spent_s - self.open_spent_s, 3) == self.metered_s


def used(settings: Settings, tenant: str = "", since_ms: int = 0) -> list[Usage]:
    """By tenant. since_ms: jobs that were let in since then. Raises Transient when a topic cannot be read."""
    entries = (decode(LedgerEntry, raw) for _, raw in table.scan(settings, USAGE_LEDGER) if raw is not None)
    metered = (decode(UsageMetered, raw) for _, raw in table.scan(settings, USAGE_METERED) if raw is not None)
    return add_up(entries, metered, tenant, since_ms)


def add_up(
    entries: Iterable[LedgerEntry], metered: Iterable[UsageMetered], tenant: str = "", since_ms: int = 0
) -> list[Usage]:
    """The sums. A job that was let in before since_ms is left out as a whole. Entries of a job come in their order;
    jobs of which the beginning is not there any more count from where it is."""
    open_jobs: dict[str, float] = {}
    counted: dict[str, str] = {}
    usages: dict[str, Usage] = {}
    for entry in entries:
        if tenant and entry.tenant != tenant:
            continue
        if entry.job not in counted and entry.at_ms < since_ms:
            counted[entry.job] = ""
        usage = usages.setdefault(counted.setdefault(entry.job, entry.tenant), Usage(entry.tenant))
        if entry.kind == "reserved":
            usage.jobs += 1
            open_jobs[entry.job] = 0.0
        if entry.job in open_jobs:
            open_jobs[entry.job] = round(open_jobs[entry.job] + entry.spent_s, 3)
        if entry.kind == "settled":
            open_jobs.pop(entry.job, None)
        usage.reserved_s = round(usage.reserved_s + entry.reserved_s, 3)
        usage.spent_s = round(usage.spent_s + entry.spent_s, 3)
        usage.refunded_s = round(usage.refunded_s + entry.refunded_s, 3)
    for job, spent_s in open_jobs.items():
        usage = usages[counted[job]]
        usage.open_jobs += 1
        usage.open_spent_s = round(usage.open_spent_s + spent_s, 3)
    for record in metered:
        if counted.get(record.job):
            usage = usages[counted[record.job]]
            usage.metered_s = round(usage.metered_s + record.device_s, 3)
    usages.pop("", None)
    return [usages[name] for name in sorted(usages)]
