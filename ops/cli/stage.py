"""`reelbus run STAGE`: one stage in the foreground."""

from enum import StrEnum
from typing import Annotated

import typer

from ops.cli.connection import Place, connected


class LogLevel(StrEnum):
    """Least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(connected(run))


def run(
    place: Place,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="Name of the stage, e.g. dispatch.")],
    log_level: Annotated[LogLevel, typer.Option(help="Least severity that is logged.")] = LogLevel.INFO,
) -> None:
    """Run one stage until SIGTERM or Ctrl-C. Logs go to stderr, one line per record."""
    from ops import schema_registry, stages
    from ops.cli.logs import set_up

    entry = stages.STAGES.get(stage)
    if entry is None:
        raise typer.BadParameter(f"no stage {stage!r}; stages are {', '.join(stages.STAGES)}")
    set_up(log_level)
    # Now, so that a registry that is down or lacks a schema is noticed before any record is read.
    touched = {topic.record.__name__ for topic in (*entry.reads, *entry.writes) if topic.record is not None}
    schema_registry.install(place.settings, sorted(touched))
    stages.load(entry.entry)(place.settings)
