"""`reelbus pause`, `unpause`, `drain`, `undrain`, `switches`: what operators keep from getting chunks."""

import re
from enum import StrEnum
from typing import Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data_json, paper, say


class Kind(StrEnum):
    """What can be paused."""

    LANE = "lane"
    TENANT = "tenant"
    POOL = "pool"


What = Annotated[Kind, typer.Argument(help="What is paused: lane, tenant or pool.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Which one, e.g. bulk, acme, cuda.")]
Worker = Annotated[str, typer.Argument(metavar="WORKER", help="Its id, as `reelbus watch` shows it.")]
Reason = Annotated[str, typer.Option(help="Why; shown by `switches` and `watch`.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (pause, unpause, drain, undrain, switches):
        app.command()(connected(command))


def pause(place: Place, kind: What, name: Name, reason: Reason = "") -> None:
    """Hand out no further chunk of a lane, tenant or pool. What renders is finished; others take the room."""
    from ops.switches import turn

    _check(kind, name)
    turn(place.settings, kind.value, name, "off", reason)
    say(f"{kind} {name} is paused; next: reelbus unpause {kind} {name}")


def unpause(place: Place, kind: What, name: Name) -> None:
    """Let a paused lane, tenant or pool go on."""
    from ops.switches import turn

    _check(kind, name)
    turn(place.settings, kind.value, name, "on")
    say(f"{kind} {name} goes on")


def drain(place: Place, worker: Worker, reason: Reason = "") -> None:
    """Give a worker nothing more. What it has is finished; it stays, idle, until `undrain`, or until it is stopped."""
    from ops.switches import turn

    _check_name(worker, "WORKER")
    turn(place.settings, "worker", worker, "off", reason)
    say(f"worker {worker} gets nothing more; next: reelbus watch")


def undrain(place: Place, worker: Worker) -> None:
    """Give a drained worker chunks again."""
    from ops.switches import turn

    _check_name(worker, "WORKER")
    turn(place.settings, "worker", worker, "on")
    say(f"worker {worker} gets chunks again")


def switches(
    place: Place, as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False
) -> None:
    """List what is paused and drained."""
    from ops.switches import switched_off
    from ops.view.switches import listed

    found = switched_off(place.settings)
    for switch in found if as_json else ():
        data_json(switch)
    if not as_json:
        paper().print(listed(found))


def _check(kind: Kind, name: str) -> None:
    """Raises BadParameter for a lane or pool that does not exist, or a name that no tenant can have."""
    from schemas.ids import TENANT_PATTERN
    from schemas.request import LANES
    from schemas.topics import POOLS

    known = {Kind.LANE: LANES, Kind.POOL: POOLS}.get(kind)
    if known is not None and name not in known:
        raise typer.BadParameter(f"NAME: found {name!r}; {kind}s are {', '.join(known)}")
    if kind is Kind.TENANT and not re.fullmatch(TENANT_PATTERN, name):
        raise typer.BadParameter(f"NAME: found {name!r}; a tenant is lower-case letters, digits and dashes")


def _check_name(text: str, what: str) -> None:
    if not re.fullmatch(r"[\x21-\x7e]{1,249}", text):
        raise typer.BadParameter(f"{what}: found {text[:40]!r}; expected 1 to 249 visible characters without spaces")
