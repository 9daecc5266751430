"""`reelbus quotas list|set|unset` and `reelbus usage`."""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data_json, paper, say


class Over(StrEnum):
    """What becomes of requests that are over a quota."""

    wait = "wait"
    refuse = "refuse"


class End(StrEnum):
    """Ends whose device time may be given back."""

    rejected = "rejected"
    failed = "failed"
    cancelled = "cancelled"
    expired = "expired"
    none = "none"


Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose quota; * for all that have none of their own.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="What tenants may use.", no_args_is_help=True)
    group.command("list")(connected(list_quotas))
    group.command("set")(connected(set_one))
    group.command("unset")(connected(unset))
    app.add_typer(group, name="quotas")
    app.command()(connected(usage))


def list_quotas(place: Place, as_json: AsJson = False) -> None:
    """List the quotas that hold, and what was used of them today (UTC)."""
    from ops.quotas import standings
    from ops.view.quotas import listed

    found = standings(place.settings)
    for row in found if as_json else ():
        data_json({"quota": row.quota, "own": row.own, "spent_s": row.spent_s})
    if not as_json:
        paper().print(listed(found))


def set_one(
    place: Place,
    tenant: Tenant,
    requests_per_s: Annotated[
        float | None, typer.Option(min=0, help="Requests in the long run, express and standard; 0: no bound.")
    ] = None,
    burst_requests: Annotated[int | None, typer.Option(min=1, help="Requests at once, after a time without.")] = None,
    running_chunks: Annotated[int | None, typer.Option(min=0, help="Chunks with workers at the same time.")] = None,
    queued_jobs: Annotated[int | None, typer.Option(min=0, help="Jobs that are not rendered yet.")] = None,
    device_s_per_day: Annotated[float | None, typer.Option(min=0, help="Device-seconds a day, UTC.")] = None,
    job_device_s: Annotated[float | None, typer.Option(min=0, help="Device-seconds of one job.")] = None,
    over: Annotated[Over | None, typer.Option(help="What becomes of requests that are over.")] = None,
    refund: Annotated[
        list[End] | None, typer.Option(help="Ends whose device time is given back; may be repeated; none: no end.")
    ] = None,
    weight: Annotated[
        float | None, typer.Option(min=0, max=1000, help="Share within a lane; 0: as the limits file says.")
    ] = None,
) -> None:
    """Change what a tenant may use, from now on; what is not given stays as it is. No stage is restarted."""
    from msgspec.structs import replace

    from ops.quotas import quotas, set_quota
    from schemas.quotas import EVERYBODY

    check_tenant(tenant)
    given = {
        "requests_per_s": requests_per_s, "burst_requests": burst_requests, "running_chunks": running_chunks,
        "queued_jobs": queued_jobs, "device_s_per_day": device_s_per_day, "job_device_s": job_device_s,
        "over": over.value if over else None, "weight": weight,
        "refunds": tuple(e.value for e in refund if e is not End.none) if refund else None,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("nothing to set; give at least one option, e.g. --running-chunks 4")
    known = quotas(place.settings)
    quota = set_quota(place.settings, replace(known.get(tenant, known[EVERYBODY]), tenant=tenant, **changes))
    data_json(quota)
    say(f"the quota of {tenant} holds from now on; next: reelbus quotas list")


def unset(place: Place, tenant: Tenant) -> None:
    """Take a tenant's own quota away: that of everybody holds again. With *: the built-in one."""
    from ops.quotas import unset_quota

    check_tenant(tenant)
    unset_quota(place.settings, tenant)
    say(f"{tenant} has no quota of its own any more")


def usage(
    place: Place,
    tenant: Annotated[str, typer.Option(metavar="TENANT", help="Only this one.")] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Jobs let in since then, UTC.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add up what tenants reserved, spent and got back (usage.ledger), beside what was metered (usage.metered)."""
    from ops.usage import used
    from ops.view.quotas import usage_table

    found = used(place.settings, tenant, ms_of(since))
    for row in found if as_json else ():
        data_json({**asdict(row), "charged_s": row.charged_s, "adds_up": row.adds_up})
    if not as_json:
        paper().print(usage_table(found))


def ms_of(since: datetime | None) -> int:
    """ms since the epoch of a moment that was given in UTC; 0 for none."""
    return round(since.replace(tzinfo=UTC).timestamp() * 1_000) if since else 0


def check_tenant(tenant: str) -> None:
    """Raises BadParameter for what is neither a tenant's name nor *."""
    from schemas.ids import TENANT_PATTERN
    from schemas.quotas import EVERYBODY

    if tenant != EVERYBODY and not re.fullmatch(TENANT_PATTERN, tenant):
        right = "a tenant is lower-case letters, digits and dashes, at most 63, or * for everybody (in quotes)"
        raise typer.BadParameter(f"TENANT: found {tenant[:70]!r}; {right}")
