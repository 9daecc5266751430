"""Which events are entries of the audit trail, and what of them is kept. Pure."""

from schemas.audit import AuditEntry, AuditKind
from schemas.events import EventType, JobEvent, JobState

_KINDS: dict[EventType, AuditKind] = {
    "job.accepted": "accepted",
    "job.rejected": "refused",
    "job.review-wanted": "review",
    "job.review-approved": "approved",
    "job.published": "published",
    "job.failed": "failed",
    "job.cancelled": "cancelled",
    "job.expired": "expired",
    "job.deleted": "deleted",
}
_WITHIN: tuple[AuditKind, ...] = ("review", "approved")
"""Entered although the job stands where it stood."""


def audited(before: JobState | None, after: JobState | None, event: JobEvent) -> AuditEntry | None:
    """The entry that an event makes, still without its place in the chain; None: none.

    before, after: the job's state (after None: the event changed nothing). What changed the state is entered, and every
    refusal at the door, also of another request under an id that is taken: who tries many prompts may use one id.
    """
    kind = _KINDS.get(event.type)
    if kind is None:
        return None
    changed = after is not None and (before is None or before.state != after.state or kind in _WITHIN)
    at_the_door = event.source == "moderate" and kind == "refused" and (before is None or event.id not in before.seen)
    if not changed and not at_the_door:
        return None
    reason, video = event.reason, event.video
    return AuditEntry(
        sequence=0,
        previous="",
        id=event.id,
        kind=kind,
        at_ms=event.at_ms,
        job=event.job,
        tenant=event.job.partition("/")[0],
        source=event.source,
        fingerprint=event.fingerprint,
        likeness=_likeness(before, event),
        key_id=event.origin.key_id,
        code=reason.code if reason else "",
        field=reason.field if reason else "",
        category=_category(event),
        moderator=_moderator(event),
        label=(video.provenance.label or "none") if video else "",
        mark_payload=video.provenance.mark_payload if video else "",
        video_sha256=video.file.sha256 if video else "",
        certificate_sha256=video.provenance.certificate_sha256 if video else "",
        certificate_name=video.provenance.certificate_name if video else "",
        by=event.review.by if event.review else event.by,
        why=_why(event),
    )


def _likeness(before: JobState | None, event: JobEvent) -> str:
    """Of texts that were let in or refused; of others it says nothing that is not there already."""
    if event.type not in ("job.accepted", "job.rejected"):
        return ""
    # Frames are refused after moderate has spoken; what it said is with the job.
    prompts = event.prompts or (before.prompts if before is not None and event.source != "moderate" else None)
    return prompts.likeness if prompts is not None else ""


def _why(event: JobEvent) -> str:
    """What a person gave as reason. What a stage says of an end may quote its request, and is left out."""
    if event.review is not None:
        return event.review.reason
    return event.reason.message if event.type == "job.deleted" and event.reason is not None else ""


def _category(event: JobEvent) -> str:
    judged = event.frames if event.frames is not None else event.prompts
    return judged.category if judged is not None else ""


def _moderator(event: JobEvent) -> str:
    if event.prompts is not None:
        return event.prompts.policy
    return event.frames.provider if event.frames is not None else ""
