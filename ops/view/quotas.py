"""Quotas and usage as tables. Pure."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ops.quotas import Standing
from ops.usage import Usage
from ops.view.table import plain_table
from schemas.quotas import EVERYBODY


def _bound(value: float) -> str:
    return f"{value:g}" if value else "-"


def listed(standings: Sequence[Standing]) -> Table:
    """One row per quota."""
    numbers = ("requests/s", "at once", "chunks", "jobs", "device-s/day", "device-s/job", "used today")
    table = plain_table("tenant", *numbers, "over", "weight", numbers=(*numbers, "weight"))
    for row in standings:
        quota = row.quota
        name = "everybody" if quota.tenant == EVERYBODY else quota.tenant if row.own else f"{quota.tenant} (as all)"
        table.add_row(
            Text(name), _bound(quota.requests_per_s), f"{quota.burst_requests}" if quota.requests_per_s else "-",
            _bound(quota.running_chunks), _bound(quota.queued_jobs), _bound(quota.device_s_per_day),
            _bound(quota.job_device_s), f"{row.spent_s:.1f}", quota.over, _bound(quota.weight),
        )  # fmt: skip
    return table


def usage_table(usages: Sequence[Usage]) -> Table | Text:
    """One row per tenant, in device-seconds."""
    if not usages:
        return Text("nothing was used")
    numbers = ("jobs", "open", "reserved", "spent", "refunded", "charged", "metered")
    table = plain_table("tenant", *numbers, "adds up", numbers=numbers)
    for usage in usages:
        amounts = (usage.reserved_s, usage.spent_s, usage.refunded_s, usage.charged_s, usage.metered_s)
        row = (str(usage.jobs), str(usage.open_jobs), *(f"{amount:.3f}" for amount in amounts))
        table.add_row(Text(usage.tenant), *row, "yes" if usage.adds_up else "not yet")
    return table
