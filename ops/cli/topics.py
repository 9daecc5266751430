"""`reelbus topics plan` and `reelbus topics apply`."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, say

MADE_BY_APPLY = ("create", "add-partitions", "set-config")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    help_text = "Compare the cluster's topics with the table, and apply it."
    group = typer.Typer(help=help_text, no_args_is_help=True)
    group.command("plan")(connected(plan))
    group.command("apply")(connected(apply))
    app.add_typer(group, name="topics")


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per change.")]
Replication = Annotated[
    int | None, typer.Option(min=1, help="Replication factor of new topics; default the number of brokers, at most 3.")
]


def plan(place: Place, replication: Replication = None, as_json: AsJson = False) -> None:
    """Print what `apply` would change, and what it would not. Exit code 1 when the two differ."""
    changes = _changes(place, replication)
    _print(changes, as_json)
    if any(change.action != "unknown" for change in changes):
        raise typer.Exit(1)
    say("topics are as they should be")


def apply(place: Place, replication: Replication = None, as_json: AsJson = False) -> None:
    """Create missing topics, add partitions, set configuration. Exit code 1 when something cannot be changed safely."""
    from ops import topics_admin

    changes = _changes(place, replication)
    _print(changes, as_json)
    topics_admin.apply(place.settings, changes)
    made = sum(change.action in MADE_BY_APPLY for change in changes)
    say(f"{made} changes made" if made else "nothing to change")
    if any(change.action == "refused" for change in changes):
        raise typer.Exit(1)


def _changes(place: Place, replication: int | None) -> Sequence[Any]:
    from ops import topics_admin
    from ops.cli.logs import quiet

    quiet()
    return topics_admin.plan(place.settings, replication=replication)


def _print(changes: Sequence[Any], as_json: bool) -> None:
    for change in changes:
        if as_json:
            data_json(change)
        else:
            data(f"{change.action} {change.topic}: {change.detail}")
