"""`reelbus topics plan`, `apply`, `drift`, `export`: the cluster's topics and the tables of the code."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from ops.cli import acls
from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, say

MADE_BY_APPLY = ("create", "add-partitions", "set-config")


class Format(StrEnum):
    """What `export` writes."""

    strimzi = "strimzi"
    acls = "acls"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    help_text = "Compare the cluster's topics with the table, and apply it."
    group = typer.Typer(help=help_text, no_args_is_help=True)
    group.command("plan")(connected(plan))
    group.command("apply")(connected(apply))
    group.command("drift")(connected(drift))
    group.command("export")(connected(export))
    acls.register(group)
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


def drift(
    place: Place,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Expected replication factor; default the number of brokers, at most 3.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report every difference from the tables: topics, settings made by hand, replicas, grants. Exit code 1 if any."""
    from ops import topics_drift
    from ops.cli.logs import quiet

    quiet()
    found = topics_drift.topics(place.settings, replication)
    access, why_not = topics_drift.access(place.settings)
    for one in (*found, *access):
        if as_json:
            data_json(one)
        else:
            data(f"{one.kind} {one.what}: {one.detail}")
    if why_not:
        say(f"grants were not compared: {why_not}")
    if found or access:
        raise typer.Exit(1)
    say("no drift" if not why_not else "no drift of topics")


def export(
    place: Place,
    to: Annotated[
        Format,
        typer.Option(
            "--format", help="strimzi: KafkaTopic and KafkaUser; acls: kafka-acls.sh commands; json: both as data."
        ),
    ] = Format.strimzi,
    replication: Annotated[int, typer.Option(min=1, help="Replication factor of the topics (not for acls).")] = 3,
    cluster: Annotated[str, typer.Option(metavar="NAME", help="Name of the Kafka resource (strimzi only).")] = "kafka",
) -> None:
    """Print topics and grants, for the prefix and the tenants file of the settings. Asks no broker."""
    from ops import access_admin, topics_admin, topics_export

    topics, granted = topics_admin.wanted_of(place.settings, replication), access_admin.wanted(place.settings)
    match to:
        case Format.strimzi:
            manifests = topics_export.kafka_topics(topics, replication, cluster)
            text = topics_export.yaml([*manifests, *topics_export.kafka_users(granted, cluster)])
        case Format.acls:
            text = topics_export.acl_commands(granted)
        case Format.json:
            text = topics_export.as_json(topics, replication, granted)
    data(text.rstrip("\n"))


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
