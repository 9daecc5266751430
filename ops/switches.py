"""What operators pause and drain: written to scheduler.switches, where the scheduler reads it."""

from typing import Literal

from ops.levels import read, set_one
from ops.settings import Settings
from schemas.ids import switch_key
from schemas.topics import SCHEDULER_SWITCHES
from schemas.work import Switch

Kind = Literal["lane", "tenant", "pool", "worker"]


def turn(settings: Settings, kind: Kind, name: str, state: Literal["off", "on"], reason: str = "") -> Switch:
    """Set a switch. Raises Transient when the broker does not take it."""
    switch = Switch(kind=kind, name=name, state=state, reason=reason)
    what = f"{kind} {name} could not be switched {state}"
    return set_one(settings, SCHEDULER_SWITCHES, switch_key(kind, name), switch, what)


def switched_off(settings: Settings) -> list[Switch]:
    """What is paused or drained now, by kind and name. Raises Transient when the topic cannot be read."""
    found = [switch for switch in read(settings, SCHEDULER_SWITCHES, Switch).values() if switch.state == "off"]
    return sorted(found, key=lambda switch: (switch.kind, switch.name))


def of_tenants(settings: Settings) -> dict[str, Switch]:
    """By tenant, the last pause or end of one. Raises Transient as `switched_off` does."""
    found = read(settings, SCHEDULER_SWITCHES, Switch).values()
    return {switch.name: switch for switch in found if switch.kind == "tenant"}
