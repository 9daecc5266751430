"""What operators pause and drain: written to scheduler.switches, where the scheduler reads it."""

import getpass
import time
from typing import Literal

from ops.bus import clients, table
from ops.bus.sending import Outbox
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.ids import switch_key
from schemas.records import Outgoing
from schemas.topics import SCHEDULER_SWITCHES
from schemas.work import Switch

Kind = Literal["lane", "tenant", "pool", "worker"]
SEND_TIMEOUT_S = 30.0


def turn(settings: Settings, kind: Kind, name: str, state: Literal["off", "on"], reason: str = "") -> Switch:
    """Set a switch. Raises Transient when the broker does not take it."""
    switch = Switch(
        kind=kind, name=name, state=state, reason=reason, by=_who(), at_ms=time.time_ns() // 1_000_000
    )  # fmt: skip
    outbox = Outbox(clients.producer(settings), settings.prefix, "ops")
    outbox.send([Outgoing(SCHEDULER_SWITCHES, switch_key(kind, name), switch)])
    if outbox.producer.flush(SEND_TIMEOUT_S) or outbox.failures:
        why = outbox.failures[0] if outbox.failures else "no acknowledgement"
        raise Transient(f"{kind} {name} could not be switched {state} ({why}); give the command again")
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


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        return ""
