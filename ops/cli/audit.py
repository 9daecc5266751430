"""`reelbus audit verify|list|tenants`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper, say
from ops.cli.quotas import AsJson, ms_of

if TYPE_CHECKING:
    from ops.conduct import Conduct
    from schemas.audit import AuditEntry, Head


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="What was let in, refused, published and deleted.", no_args_is_help=True)
    group.command("verify")(connected(verify))
    group.command("list")(connected(list_entries))
    group.command("tenants")(connected(tenants))
    app.add_typer(group, name="audit")


def verify(
    place: Place,
    since: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Heads that were noted before: they must still be there.")
    ] = None,
    note: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Note the heads in this file, to be kept somewhere else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow every chain: nothing was changed, removed or put in between. Exit code 1 if one breaks."""
    from ops.bus import audit

    checks = audit.verify(place.settings, _noted(since) if since else {})
    broken = 0
    for partition, check in sorted(checks.items()):
        broken += len(check.broken)
        if as_json:
            data_json({
                "partition": partition, "entries": check.entries, "first_sequence": check.first_sequence,
                "head": check.head, "broken": check.broken,
            })  # fmt: skip
            continue
        held = f"{check.first_sequence} to {check.head.sequence}, head {check.head.sha256}"
        data(f"partition {partition}: {held if check.entries else 'empty'}")
        for fault in check.broken:
            data(f"partition {partition}, offset {fault.offset}: BROKEN: {fault.why}")
    if note is not None:
        import msgspec

        note.write_bytes(msgspec.json.encode({str(p): c.head for p, c in checks.items()}) + b"\n")
        say(f"the heads are noted in {note}; next time: reelbus audit verify --since {note}")
    if broken:
        raise typer.Exit(1)


def list_entries(
    place: Place,
    tenant: Annotated[str, typer.Option(metavar="TENANT", help="Only of this tenant.")] = "",
    job: Annotated[str, typer.Option(metavar="JOB", help="Only of this job: tenant/job_id.")] = "",
    kind: Annotated[str, typer.Option(metavar="KIND", help="Only of this kind, e.g. refused.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the entries, the oldest first."""
    from typing import get_args

    from ops.bus import audit
    from ops.view.table import plain_table
    from ops.view.units import moment
    from schemas.audit import AuditKind

    if kind and kind not in get_args(AuditKind):
        raise typer.BadParameter(f"--kind: found {kind!r}; kinds are {', '.join(get_args(AuditKind))}")
    found = [
        entry
        for _, _, entry in audit.entries(place.settings)
        if entry is not None and entry.tenant == (tenant or entry.tenant) and entry.job == (job or entry.job)
        and entry.kind == (kind or entry.kind)
    ]  # fmt: skip
    found.sort(key=lambda entry: entry.at_ms)
    if as_json:
        for entry in found:
            data_json(entry)
        return
    table = plain_table("when", "what", "job", "by", "why", "key", "signed by")
    for entry in found:
        why = " ".join(filter(None, (entry.code, entry.field, entry.category, entry.why))) or entry.label
        who = entry.by or entry.source
        table.add_row(moment(entry.at_ms), entry.kind, entry.job, who, why, entry.key_id, _signer(entry))
    paper().print(table)


def _signer(entry: "AuditEntry") -> str:
    """The key that signed what was published: the name on its certificate and the beginning of its hash."""
    if entry.kind != "published":
        return ""
    if entry.certificate_sha256 == "none":
        return "nobody"
    return f"{entry.certificate_name} {entry.certificate_sha256[:12]}".strip() or "not known"


def tenants(
    place: Place,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Requests since then, UTC.")
    ] = None,
    over: Annotated[
        float | None, typer.Option(metavar="SHARE", min=0, max=1, help="Only who is above; exit code 1 if anybody is.")
    ] = None,
    least: Annotated[int, typer.Option(metavar="N", min=1, help="With --over: only who had so many refused.")] = 1,
    again: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only who tried like a refused one N times; exit code 1 if anybody did."),
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="With --over or --again: pause those tenants.")] = False,
    as_json: AsJson = False,
) -> None:
    """Of how many requests moderation refused prompt or frames, and how often the like came again, by tenant."""
    if over is None and least > 1:
        raise typer.BadParameter("--least says whom --over means; give --over SHARE too")
    if over is None and again is None and pause:
        raise typer.BadParameter("--pause: whom? give --over SHARE or --again N too")
    from ops.bus import audit
    from ops.conduct import conduct
    from ops.switches import of_tenants
    from ops.view.table import plain_table
    from ops.view.units import moment

    since_ms = ms_of(since)
    entries = (entry for _, _, entry in audit.entries(place.settings) if entry is not None)
    switches = of_tenants(place.settings) if pause else {}
    forgiven = {tenant: switch.at_ms for tenant, switch in switches.items() if switch.state == "on"}
    found = conduct(entries, since_ms, forgiven)
    asked = over is not None or again is not None
    reasons = {one.tenant: _too_much(one, over, least, again) for one in found}
    shown = [one for one in found if not asked or reasons[one.tenant]]
    numbers = ("accepted", "refused", "by moderation", "share", "again refused", "again let in")
    table = plain_table("tenant", *numbers, "last", numbers=numbers)
    for one in shown:
        if as_json:
            names = ("tenant", "accepted", "refused", "refused_content", "again", "let_in_again")
            data_json({**{name: getattr(one, name) for name in names}, "share": round(one.share, 4)})
        last = moment(one.refused_at_ms) if one.refused_at_ms else "-"
        counts, tries = (one.accepted, one.refused, one.refused_content), (one.again, one.let_in_again)
        table.add_row(one.tenant, *map(str, counts), f"{one.share:.1%}", *map(str, tries), last)
    if not as_json:
        paper().print(table)
    if asked and shown:
        if pause:
            # Those that are paused already keep the reason that they have.
            paused = {tenant for tenant, switch in switches.items() if switch.state == "off"}
            _pause(place, {one.tenant: reasons[one.tenant] for one in shown if one.tenant not in paused})
        else:
            say("next: --pause, or reelbus pause tenant NAME, stops what a tenant has in line")
        raise typer.Exit(1)


def _too_much(one: "Conduct", over: float | None, least: int, again: int | None) -> str:
    """What a tenant did too often; "" for nothing."""
    if over is not None and one.share > over and one.refused_content >= least:
        return f"moderation refused more than {over:.0%} of its requests"
    if again is not None and one.again + one.let_in_again >= again:
        return f"tried {again} times or more what moderation had refused, in other spellings or words"
    return ""


def _pause(place: Place, reasons: dict[str, str]) -> None:
    from ops.switches import turn

    for tenant, reason in reasons.items():
        turn(place.settings, "tenant", tenant, "off", reason)
        say(f"tenant {tenant} is paused; next: reelbus unpause tenant {tenant}")


def _noted(file: Path) -> "dict[int, Head]":
    import msgspec

    from schemas.audit import Head

    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[int, Head])
    except (OSError, msgspec.DecodeError) as exc:
        right = "give a file that `reelbus audit verify --note FILE` wrote"
        raise typer.BadParameter(f"--since: cannot read {file}: {exc}; {right}") from None
