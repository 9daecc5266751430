"""The life of a job, as a table. Only `track` walks it; the diagram in docs/reference/events.md shows it.

Two rules: an event that is not in the table for a state changes nothing, and nothing leaves a terminal state, except
that what was completed may be deleted.
"""

from schemas.events import EventType, Reason, State

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
# Of a job that nobody has accepted only a refusal at the door is an end, and a video, if there is one. moderate's
# job.accepted is acknowledged by the broker before the record that everybody else works from is sent, and both have
# the same key, so no later stage's event can overtake it. What names an unknown job is a typing mistake, or foreign:
# it must not spend the id.
for _end in ("job.cancelled", "job.expired", "job.failed"):
    del NEXT[(None, _end)]

_DEADLINE_PASSED = Reason(code="deadline_passed", message="the deadline passed before the video was rendered")
_NO_PROGRESS = Reason(
    code="no_progress", message="nothing came of the job for a very long time; a record of it may be lost"
)

ERASED = Reason(code="erased", message="erased on request")
"""Of a deletion after which nothing is kept that may name a person; what the operator says of it is for the audit
trail alone."""


def advance(state: State | None, event: EventType) -> State | None:
    """The state after an event, or None when the event changes nothing."""
    return NEXT.get((state, event))


def expiry_reason(code: str) -> Reason:
    """Why a job expires. code: deadline_passed or no_progress; anything else is taken for the former."""
    return _NO_PROGRESS if code == _NO_PROGRESS.code else _DEADLINE_PASSED
