"""`reelbus doctor`."""

from typing import Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper

SIGN = {"ok": "[green]ok[/]    ", "fail": "[bold red]FAIL[/]  ", "absent": "[yellow]absent[/]"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(doctor))


def doctor(
    place: Place, as_json: Annotated[bool, typer.Option("--json", help="One JSON object per check.")] = False
) -> None:
    """Check what a pipeline needs; a line each, with what to do.

    Packages, broker, topics, clock, store, encoders, models, device, local Kafka. Exit code 1 when one fails.
    """
    from rich.markup import escape

    from ops.cli.logs import quiet
    from ops.doctor import examine

    quiet()
    console, failed = paper(), False
    for check in examine(place.settings):
        failed |= check.status == "fail"
        if as_json:
            data_json(check)
        elif console.is_terminal:
            console.print(f"{SIGN[check.status]} {escape(check.name):12} {escape(check.detail)}", soft_wrap=True)
        else:
            data(f"{check.status:6} {check.name:12} {check.detail}")
    if failed:
        raise typer.Exit(1)
