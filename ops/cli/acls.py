"""`reelbus topics acls plan`, `apply`, `check`: who may do what on the cluster."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, say
from schemas.errors import Fatal


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Access control lists of stages, operators and tenants.", no_args_is_help=True)
    group.command("plan")(connected(plan))
    group.command("apply")(connected(apply))
    group.command("check")(connected(check))
    app.add_typer(group, name="acls")


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per grant.")]


def plan(place: Place, as_json: AsJson = False) -> None:
    """Print which grants are missing, which of our principals have too many, and who else reaches our topics.

    Exit code 1 when anything is missing or too many. Needs a principal that may describe the cluster.
    """
    changes = _changes(place)
    _print(changes, as_json)
    if any(change.action != "foreign" for change in changes):
        raise typer.Exit(1)
    say("grants are as they should be")


def apply(
    place: Place,
    revoke: Annotated[bool, typer.Option("--revoke", help="Also take away what our principals have too many.")] = False,
    as_json: AsJson = False,
) -> None:
    """Grant what is missing. Makes no users and no passwords. Exit code 1 when grants too many are left."""
    from ops import access_admin

    changes = _changes(place)
    _print(changes, as_json)
    access_admin.apply(place.settings, changes, revoke=revoke)
    given = sum(change.action == "grant" for change in changes)
    extra = sum(change.action == "revoke" for change in changes)
    say(f"{given} grants made, {extra if revoke else 0} taken away")
    if extra and not revoke:
        say(f"{extra} grants too many are left: --revoke takes them away")
        raise typer.Exit(1)


def check(
    place: Place, stage: Annotated[str, typer.Argument(metavar="STAGE", help="Name of the stage, e.g. track.")]
) -> None:
    """With a stage's own credentials: ask the broker whether they are enough for it. Exit code 1 when they are not.

    Topics and groups are asked about; transactional ids and beginnings of names cannot be.
    """
    from ops import access, access_admin, tenants
    from ops.cli.logs import quiet
    from ops.stages import STAGES

    if stage not in STAGES:
        raise typer.BadParameter(f"no stage {stage!r}; stages are {', '.join(STAGES)}")
    quiet()
    settings = place.settings
    file = tenants.load(settings.tenants)[0] if settings.tenants else None
    lacking = access_admin.missing(settings, access.stage_grants(STAGES[stage], settings.prefix, file))
    if lacking:
        raise Fatal(access_admin.complaint(settings, stage, lacking))
    say(f"{stage} has what can be asked about")


def _changes(place: Place) -> Sequence[Any]:
    from ops import access_admin
    from ops.cli.logs import quiet

    quiet()
    return access_admin.plan(place.settings)


def _print(changes: Sequence[Any], as_json: bool) -> None:
    for change in changes:
        if as_json:
            data_json(change)
        else:
            data(f"{change.action}: {change.grant.sentence()}")
