"""`reelbus run STAGE`: one stage in the foreground."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from schemas.errors import Fatal, Transient

if TYPE_CHECKING:
    from ops.settings import Settings
    from ops.stages import Stage


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
    if place.settings.kafka.get("security.protocol", "plaintext").lower() != "plaintext":
        _check_grants(place.settings, entry)
    with watched(place.settings, stage):
        stages.load(entry.entry)(place.settings)


@contextmanager
def watched(settings: "Settings", stage: str) -> Iterator[None]:
    """Watchdog and health endpoints while the stage runs, and stacks in its log on SIGUSR1. Raises SettingsError or
    Fatal for a wrong address."""
    import faulthandler
    import logging
    import signal
    import sys

    from ops.bus.health import HealthServer
    from ops.bus.pulse import PULSE
    from ops.bus.watchdog import Watchdog
    from ops.settings import parse_address

    faulthandler.register(signal.SIGUSR1, sys.__stderr__ or 2, all_threads=True)
    with ExitStack() as more:
        watchdog = more.enter_context(Watchdog(settings, stage))
        if settings.health_address:
            address = parse_address(settings.health_address)
            server = more.enter_context(HealthServer(address, stage, PULSE, watchdog))
            logging.getLogger(__name__).info("health: http://%s:%d/livez and /readyz", *server.address)
        yield


def _check_grants(settings: "Settings", stage: "Stage") -> None:
    """Say all that is missing at once. Some clients would wait for ever for a grant, without a word.

    Raises Fatal. What cannot be asked about now shows itself when it is used.
    """
    import logging

    from ops import access, access_admin, tenants

    file = tenants.load(settings.tenants)[0] if settings.tenants else None
    try:
        lacking = access_admin.missing(settings, access.stage_grants(stage, settings.prefix, file))
    except Transient as exc:
        logging.getLogger(__name__).warning("grants are not checked: %s", exc)
        return
    if lacking:
        raise Fatal(access_admin.complaint(settings, stage.name, lacking))
