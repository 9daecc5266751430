"""`reelbus review list|show|approve|refuse`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper, say
from ops.cli.quotas import AsJson

if TYPE_CHECKING:
    from schemas.reviews import ReviewCase

Job = Annotated[str, typer.Argument(metavar="JOB", help="job id, or tenant/job id.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail, not shown to the caller.")]
Case = Annotated[
    str, typer.Option("--case", metavar="NAME", help="What was looked at, as `show` says: eight hex digits.")
]
By = Annotated[str, typer.Option(metavar="NAME", help="Who decides, if not the user who gives the command.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Texts and frames that moderation leaves to a person.", no_args_is_help=True)
    group.command("list")(connected(list_cases))
    for command in (show, approve, refuse):
        group.command()(connected(command))
    app.add_typer(group, name="review")


def list_cases(
    place: Place,
    tenant: Annotated[str, typer.Option(metavar="TENANT", help="Only of this tenant.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the jobs that wait for a person, the oldest first."""
    from ops.reviews import open_cases
    from ops.view.reviews import listed

    found = [case for case in open_cases(place.settings) if case.tenant == (tenant or case.tenant)]
    for case in found if as_json else ():
        data_json(case)
    if not as_json:
        paper().print(listed(found))


def show(
    place: Place,
    job: Job,
    frames: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Fetch the chunks that wait and pictures of them to this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is to be looked at of a job."""
    from ops.reviews import fetch
    from ops.storage.open import open_store
    from ops.view.reviews import shown
    from schemas.reviews import name_of

    case = _case(place, job)
    if as_json:
        data_json(case)
    else:
        say(f"{case.job}: {case.provider}")
        for table in shown(case):
            paper().print(table)
    if frames is not None:
        store = open_store(place.settings)
        for chunk in case.chunks:
            for file in fetch(store, case.job, chunk, frames):
                data(str(file))
    said = f"--case {name_of(case)} --reason '...'"
    say(f"next: reelbus review approve {job} {said}, or reelbus review refuse {job} {said}")


def approve(place: Place, job: Job, case: Case, reason: Reason, by: By = "") -> None:
    """Let the texts or frames that were shown pass; what came in since is to be looked at first."""
    _decide(place, job, case, "approve", reason, by)


def refuse(place: Place, job: Job, case: Case, reason: Reason, by: By = "") -> None:
    """Refuse the texts or frames that were shown: the job ends as rejected, with prompt_refused or frames_refused."""
    _decide(place, job, case, "refuse", reason, by)


def _decide(place: Place, job: str, name: str, verdict: Literal["approve", "refuse"], reason: str, by: str) -> None:
    from ops.levels import who
    from ops.reviews import decide
    from schemas.errors import Fatal
    from schemas.reviews import name_of

    by = by.strip() or who()
    for option, text, longest in (("--reason", reason.strip(), 1000), ("--by", by, 100)):
        if not 0 < len(text) <= longest:
            right = f"expected 1 to {longest}, for whoever reads the audit trail"
            raise typer.BadParameter(f"{option}: found {len(text)} characters; {right}")
    found = _case(place, job)
    if name != name_of(found):
        raise Fatal(f"case {name} of {job} is not what waits now; look again: reelbus review show {job}")
    data_json(decide(place.settings, found, verdict, reason.strip(), by))
    say(f"told; the first answer counts, and what became of it shows: reelbus watch {job}, reelbus audit list")


def _case(place: Place, job: str) -> "ReviewCase":
    """Raises Fatal when the job waits for nobody."""
    from ops.reviews import open_cases
    from producers.client.core import key_of
    from schemas.errors import Fatal

    for case in open_cases(place.settings):
        if case.job == key_of(job):
            return case
    raise Fatal(f"job {job} does not wait for a review; see: reelbus review list")
