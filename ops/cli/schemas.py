"""`reelbus schemas`: list, show, write, check, push."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper, say
from ops.settings import PACKAGE_ROOT
from schemas.errors import Fatal

if TYPE_CHECKING:
    from ops.schema_files import Version


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Avro schemas of the records, and a registry of your own.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    group.command()(write)
    group.command()(check)
    group.command()(connected(push))
    app.add_typer(group, name="schemas")


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def list_(as_json: AsJson = False) -> None:
    """Every record with its newest version, its id in the file registry, and the topics that carry it."""
    from rich.table import Table

    from ops import schema_files
    from ops.schema_registry import subject_of
    from schemas.topics import LIVE_TOPICS

    table = Table("record", "version", "id", "subject", "topics", box=None)
    for record, versions in schema_files.committed().items():
        newest = versions[-1]
        topics = [t.entity for t in LIVE_TOPICS if t.record is not None and t.record.__name__ == record]
        subject = subject_of(newest.schema)
        if as_json:
            row = {"record": record, "version": newest.number, "id": newest.id, "subject": subject, "topics": topics}
            data_json(row)
        else:
            table.add_row(record, str(newest.number), str(newest.id), subject, ", ".join(topics))
    if not as_json:
        paper().print(table)


def show(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="Name of the record, e.g. JobRequest.")],
    version: Annotated[int | None, typer.Option(min=1, help="Version; the newest if left out.")] = None,
) -> None:
    """Print a schema (.avsc)."""
    from ops.schemas_admin import text_of

    data(text_of(_version(record, version).schema).rstrip("\n"))


def _version(record: str, number: int | None) -> "Version":
    from ops import schema_files

    known = schema_files.committed()
    if record not in known:
        raise typer.BadParameter(f"no record {record!r}; records are {', '.join(known)}")
    versions = known[record]
    if number is not None and number > len(versions):
        raise typer.BadParameter(f"{record} has the versions 1 to {len(versions)}, not {number}")
    return versions[-1 if number is None else number - 1]


def write() -> None:
    """Development: bring the .avsc files in line with the typed structs; a changed record gets a new version."""
    from ops import schemas_admin

    _checkout()
    for name in (written := schemas_admin.write()):
        data(name)
    say(f"{len(written)} new versions; `reelbus schemas check` says whether they may be" if written else "no change")


def check(
    against: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Also: no version that is committed in this git revision was edited."),
    ] = None,
) -> None:
    """The gate: files fit together, structs say the same, and all versions can read each other. Exit 1 otherwise."""
    count = 0
    for fault in _faults(against):
        data(fault)
        count += 1
    if count:
        raise typer.Exit(1)
    say("schemas are compatible and as the structs say")


def _faults(against: str | None) -> Iterator[str]:
    from ops import schema_files, schema_gate

    yield from schema_files.faults()
    yield from schema_files.stale()
    for versions in schema_files.committed().values():
        yield from schema_gate.check([version.schema for version in versions])
    if against is not None:
        yield from schema_files.changed_since(against, _checkout())


def _checkout() -> Path:
    if not (PACKAGE_ROOT / "pyproject.toml").is_file():
        raise Fatal(f"{PACKAGE_ROOT} is an installed package; this is for a checkout of reelbus")
    return PACKAGE_ROOT


def push(place: Place, as_json: AsJson = False) -> None:
    """Register every committed version at the registry that REELBUS_SCHEMA_REGISTRY names. Safe to repeat."""
    from ops import schema_files, schema_registry
    from schemas import catalog

    registry = catalog.in_use()
    if not isinstance(registry, schema_registry.Registry):
        raise Fatal("no registry to push to: REELBUS_SCHEMA_REGISTRY is empty, so the file registry is in use")
    schemas = [version.schema for versions in schema_files.committed().values() for version in versions]
    made = 0
    for subject, number, new in schema_registry.push(registry, schemas):
        made += new
        if as_json:
            data_json({"subject": subject, "id": number, "new": new})
        else:
            data(f"{subject}: {'registered' if new else 'there already'}, id {number}")
    say(f"{made} of {len(schemas)} schemas were new to {registry.rest.url}")
