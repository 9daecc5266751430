"""What callers may ask of a job that is under way, and what comes of it. Pure.

Orders may come twice, late, or before the job they are about. Every setting is a register of its own, and of two orders
the one that was asked for later holds (last writer wins; M. Shapiro et al., "Conflict-free replicated data types",
2011): whoever folds the same orders ends in the same place. Of two within one millisecond the one folded last holds:
they lie in one partition, so a replay folds both again in their order.
"""

from typing import Literal, get_args

from msgspec.structs import replace

from schemas.errors import JobRejected
from schemas.request import JobOrder
from schemas.work import Command, Steering

Action = Literal["hold", "resume", "reprioritise", "move_lane", "change_deadline"]
ACTIONS: frozenset[str] = frozenset(get_args(Action))
"""What an order may do to a job besides cancelling it."""
NOTHING = Steering()
"""A job that no order was given for."""
_SETTINGS = {"reprioritise": "priority", "move_lane": "lane", "change_deadline": "deadline_ms"}
_REASONED = ("cancel", "hold")
_NEEDED = {
    "priority": "reprioritise needs a whole number from -10 to 10, higher goes first",
    "lane": "move_lane needs express, standard or bulk",
}


def check(order: JobOrder, now_ms: int = 0) -> None:
    """Raises JobRejected, code invalid_order, that names the field, for an order whose parts do not fit together.

    now_ms: the broker's timestamp of the order; without it a deadline is taken to lie ahead
    """
    for action, field in _SETTINGS.items():
        given = getattr(order, field)
        if given is not None and order.action != action:
            right = f"the action {order.action} takes none; leave it out, or give the action {action}"
            raise JobRejected("invalid_order", f"{field}: found {given}, but {right}", field)
        if given is None and order.action == action and field in _NEEDED:
            raise JobRejected("invalid_order", f"{field}: missing; {_NEEDED[field]}", field)
    if order.reason and order.action not in _REASONED:
        right = f"only {' and '.join(_REASONED)} keep one; leave it out of {order.action}"
        raise JobRejected("invalid_order", f"reason: found {len(order.reason)} characters, but {right}", "reason")
    if order.deadline_ms is not None and order.deadline_ms <= now_ms:
        late = f"{order.deadline_ms} is not after the moment of the order, {now_ms} (ms since 1970, UTC)"
        raise JobRejected("invalid_order", f"deadline_ms: {late}; give a later one, or cancel the job", "deadline_ms")


def of_command(command: Command) -> Steering:
    """What one order asks for. command: its action is one of ACTIONS; NOTHING if a part is missing."""
    at_ms = command.requested_at_ms
    if command.action in ("hold", "resume"):
        held = command.action == "hold"
        return Steering(held=held, held_at_ms=at_ms, held_reason=command.reason if held else "")
    if command.action == "reprioritise" and command.priority is not None:
        return Steering(priority=command.priority, priority_at_ms=at_ms)
    if command.action == "move_lane" and command.lane is not None:
        return Steering(lane=command.lane, lane_at_ms=at_ms)
    if command.action == "change_deadline":
        return Steering(deadline_ms=command.deadline_ms, deadline_at_ms=at_ms)
    return NOTHING


def merged(known: Steering, asked: Steering) -> Steering:
    """What holds after both: of every setting the one that was asked for later, the second if at the same time."""
    out = known
    if asked.held_at_ms and asked.held_at_ms >= known.held_at_ms:
        out = replace(out, held=asked.held, held_at_ms=asked.held_at_ms, held_reason=asked.held_reason)
    if asked.priority_at_ms and asked.priority_at_ms >= known.priority_at_ms:
        out = replace(out, priority=asked.priority, priority_at_ms=asked.priority_at_ms)
    if asked.lane_at_ms and asked.lane_at_ms >= known.lane_at_ms:
        out = replace(out, lane=asked.lane, lane_at_ms=asked.lane_at_ms)
    if asked.deadline_at_ms and asked.deadline_at_ms >= known.deadline_at_ms:
        out = replace(out, deadline_ms=asked.deadline_ms, deadline_at_ms=asked.deadline_at_ms)
    return out


def put_off(steering: Steering, now_ms: int) -> bool:
    """Whether an order took the deadline away or put it into the future."""
    later = steering.deadline_ms is None or steering.deadline_ms >= now_ms
    return steering.deadline_at_ms > 0 and later
