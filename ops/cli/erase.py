"""`reelbus erase`: what was made for a person, and what the callers said of that person, is taken away."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.deletion import take_away
from ops.cli.output import data, say
from ops.cli.quotas import check_tenant

if TYPE_CHECKING:
    from ops.erasure import Subject
    from producers.client import Operator
    from schemas.events import JobState

LOOK_EVERY_S = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(erase))


def erase(
    place: Place,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose jobs.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail, not told to the caller. Name nobody.")],
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only jobs whose metadata say so; may be repeated."),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="ID", help="Only jobs of this batch.")] = "",
    job: Annotated[list[str] | None, typer.Option(metavar="JOB_ID", help="Only this job; may be repeated.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All jobs of the tenant.")] = False,
    wait_s: Annotated[float, typer.Option(min=0, help="How long to wait for jobs that are cancelled first.")] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which jobs it would be.")] = False,
) -> None:
    """Erase jobs: those that run are cancelled, published files deleted, metadata and webhooks taken out of the state.

    What lies in Kafka otherwise goes with its retention, chunks with the next `reelbus gc` after chunk_retention_h.
    """
    from ops.cli.logs import quiet
    from ops.erasure import jobs_of, last_trace_ms
    from ops.view.units import moment
    from producers.client import Operator
    from schemas.lifecycle import ERASED

    quiet()
    subject = _subject(tenant, metadata or [], batch, job or [], every)
    with Operator(place.settings) as operator:
        states = {state.job: state for state in operator.states(follow=False)}
        found = list(jobs_of(subject, states.values()))
        if dry_run:
            for state in found:
                data(state.job)
        else:
            take_away(place, _ended(operator, found, wait_s), ERASED.code, reason)
    say(f"{len(found)} jobs {'would be' if dry_run else 'were'} erased")
    if found and not dry_run:
        until = moment(last_trace_ms(time.time_ns() // 1_000_000))
        say(f"requests and results that lie in Kafka are gone by {until} with the default retention, chunks within "
            f"{place.settings.chunk_retention_h} h by `reelbus gc`")  # fmt: skip


def _subject(tenant: str, metadata: list[str], batch: str, jobs: list[str], every: bool) -> "Subject":
    from ops.erasure import Subject

    check_tenant(tenant)
    if tenant == "*":
        raise typer.BadParameter("TENANT: found '*'; name one tenant")
    pairs = {}
    for text in metadata:
        name, given, value = text.partition("=")
        if not given or not name:
            raise typer.BadParameter(f"--metadata: found {text[:80]!r}; expected NAME=VALUE, e.g. user=4711")
        pairs[name] = value
    if not (pairs or batch or jobs or every):
        raise typer.BadParameter("say which jobs: --metadata NAME=VALUE, --batch ID or --job JOB_ID, or --all of them")
    return Subject(tenant, pairs, batch, tuple(jobs))


def _ended(operator: "Operator", found: "list[JobState]", wait_s: float) -> "list[JobState]":
    """The last states of jobs; those that go on are cancelled first. Raises Transient when one does not end in time."""
    from schemas.errors import Transient
    from schemas.lifecycle import ERASED, TERMINAL

    known = {state.job: state for state in found}
    live = [job for job, state in known.items() if state.state not in TERMINAL]
    if live:
        operator.cancel_many(live, ERASED.message)
        say(f"{len(live)} jobs go on and are cancelled first")
    until_s = time.monotonic() + wait_s
    while live := [job for job in live if known[job].state not in TERMINAL]:
        if time.monotonic() > until_s:
            raise Transient(f"nothing is erased yet: {len(live)} jobs, {live[0]} among them, go on; run it again")
        time.sleep(LOOK_EVERY_S)
        known |= {state.job: state for state in operator.states(live, follow=False)}
    return list(known.values())
