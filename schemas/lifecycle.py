"""The life of a job, as a table. Only `track` walks it; the diagram in docs/reference/events.md shows it.

Two rules: an event that is not in the table for a state changes nothing, and nothing leaves a terminal state, except
that what was completed may be deleted.
"""

from schemas.events import EventType, State

TERMINAL: frozenset[State] = frozenset(("completed", "rejected", "failed", "cancelled", "expired", "deleted"))

ENDS: dict[EventType, State] = {
    "job.published": "completed",
    "job.rejected": "rejected",
    "job.failed": "failed",
    "job.cancelled": "cancelled",
    "job.expired": "expired",
}
"""Events that end a job, and as what."""
_LIVE: tuple[State | None, ...] = (None, "accepted", "planned", "queued", "rendering", "assembling")

NEXT: dict[tuple[State | None, EventType], State] = {
    # Stages report side by side, so an early event may come late: every step may be skipped, none may go back ...
    **{(s, "job.accepted"): "accepted" for s in _LIVE[:1]},
    **{(s, "job.planned"): "planned" for s in _LIVE[:2]},
    **{(s, "job.queued"): "queued" for s in _LIVE[:3]},
    **{(s, "job.started"): "rendering" for s in _LIVE[:4]},
    **{(s, "job.assembling"): "assembling" for s in _LIVE[:5]},
    # ... except that assembly may find a chunk lost and have it rendered again.
    ("assembling", "job.started"): "rendering",
    **{(s, event): end for s in _LIVE for event, end in ENDS.items()},
}
# A cancel that names a job nobody has accepted changes nothing: it may be a typing mistake.
del NEXT[(None, "job.cancelled")]


def advance(state: State | None, event: EventType) -> State | None:
    """The state after an event, or None when the event changes nothing."""
    return NEXT.get((state, event))
