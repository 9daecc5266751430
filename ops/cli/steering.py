"""`reelbus hold`, `resume`, `reprioritise`, `move-lane`, `deadline`: orders for a job that is under way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.jobs import LaneName, send_order

Name = Annotated[str, typer.Argument(metavar="JOB", help="Job id, or tenant/job_id.")]
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (hold, resume, reprioritise, move_lane, deadline):
        app.command()(connected(command))


def hold(
    place: Place, job: Name, reason: Annotated[str, typer.Option(help="Shown while the job is held.")] = ""
) -> None:
    """Hold a job: no further chunk until `resume`. What renders is finished; its deadline still counts."""
    send_order(place, job, "hold", lambda client: client.hold(job, reason))


def resume(place: Place, job: Name) -> None:
    """Let a held job go on where it was."""
    send_order(place, job, "resume", lambda client: client.resume(job))


def reprioritise(
    place: Place,
    job: Name,
    priority: Annotated[int, typer.Option(min=-10, max=10, help="Higher goes first among the tenant's jobs.")],
) -> None:
    """Change a job's priority within its tenant and lane, from its next chunk on."""
    send_order(place, job, "reprioritise", lambda client: client.reprioritise(job, priority))


def move_lane(place: Place, job: Name, lane: Annotated[LaneName, typer.Option(help="Class of service.")]) -> None:
    """Serve a job in another lane, from its next chunk on."""
    send_order(place, job, "move", lambda client: client.move_lane(job, lane.value))


def deadline(
    place: Place,
    job: Name,
    at: Annotated[
        str, typer.Option(metavar="WHEN", help="2026-12-01T18:00Z, in 90min (s, min, h, d) as +90min, or none.")
    ],
) -> None:
    """Change a job's deadline, or take it away."""
    until_ms = when(at, datetime.now(UTC))
    send_order(place, job, "change the deadline of", lambda client: client.change_deadline(job, until_ms))


def when(text: str, now: datetime) -> int | None:
    """'none', '+90min' or an ISO 8601 moment (UTC if it names no zone) as ms since the epoch; None for none."""
    if text == "none":
        return None
    if (after := re.fullmatch(r"\+(\d{1,6})(s|min|h|d)", text)) is not None:
        moment = now + timedelta(**{_UNITS[after[2]]: int(after[1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            right = "expected none, +90min (s, min, h, d), or a moment like 2026-12-01T18:00Z"
            raise typer.BadParameter(f"--at {text!r}: {right}") from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= now:
        raise typer.BadParameter(f"--at {text!r}: this is past; give a later moment, or `reelbus cancel` the job")
    return round(moment.timestamp() * 1000)
