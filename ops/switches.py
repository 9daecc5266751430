"""What operators pause and drain: written to scheduler.switches, where the scheduler reads it."""

import time
from typing import Literal

from ops.bus import table
from ops.levels import put, who
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.ids import switch_key
from schemas.topics import SCHEDULER_SWITCHES
from schemas.work import Switch

Kind = Literal["lane", "tenant", "pool", "worker"]


def turn(settings: Settings, kind: Kind, name: str, state: Literal["off", "on"], reason: str = "") -> Switch:
    """Set a switch. Raises Transient when the broker does not take it."""
    switch = Switch(
        kind=kind, name=name, state=state, reason=reason, by=who(), at_ms=time.time_ns() // 1_000_000
    )  # fmt: skip
    put(settings, SCHEDULER_SWITCHES, switch_key(kind, name), switch, f"{kind} {name} could not be switched {state}")
    return switch


def switched_off(settings: Settings) -> list[Switch]:
    """What is paused or drained now, by kind and name. Raises Transient when the topic cannot be read."""
    found = []
    for raw in table.load(settings, SCHEDULER_SWITCHES).values():
        try:
            switch = decode(Switch, raw)
        except InvalidMessage:
            continue  # the scheduler passes it over as well
        if switch.state == "off":
            found.append(switch)
    return sorted(found, key=lambda switch: (switch.kind, switch.name))
