"""`reelbus export asyncapi|connect|flink|spark`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, say

KINDS = {
    "asyncapi": "The contract of all topics: AsyncAPI 3.1, and a page for people.",
    "connect": "Kafka Connect: sinks into JDBC, S3 and files.",
    "flink": "Flink SQL: a CREATE TABLE for each topic that you may read.",
    "spark": "Spark: a Python module for each topic that you may read.",
}
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the files; default ./<kind>.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Write what other systems need to read the topics.", no_args_is_help=True)
    for kind, about in KINDS.items():
        group.command(kind, help=f"{about} Files that are there are written over.")(connected(_command(kind)))
    app.add_typer(group, name="export")


def _command(kind: str) -> Callable[[Place, Path | None], None]:
    def export(place: Place, out: Out = None) -> None:
        from ops.exports.files import KINDS as MAKERS
        from ops.exports.files import write
        from ops.exports.tables import DEFAULT, Target

        _, make = MAKERS[kind]
        registry = place.settings.schema_registry or DEFAULT.schema_registry
        target = Target(place.settings.prefix, place.settings.bootstrap_servers, registry)
        folder = out or Path(kind)
        made = {folder / name: text for name, text in make(target).items()}
        changed = write(made)
        for path in made:
            data(str(path))
        say(f"{len(changed)} of {len(made)} files written, the others are as they should be")

    return export
