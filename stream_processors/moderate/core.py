"""The judgement of one request record. Pure."""

import hashlib
from dataclasses import dataclass

from msgspec.structs import replace

from schemas.errors import InvalidMessage, JobRejected
from schemas.events import ClearedJob, JobEvent, JobRequest, Lane, Reason
from schemas.ids import event_id, fingerprint, job_key
from schemas.reports import job_event
from stream_processors.moderate.checks import Offer, check
from stream_processors.moderate.policy import Policy
from stream_processors.moderate.reading import identify, read

SOURCE = "moderate"


@dataclass(frozen=True, slots=True)
class Cleared:
    """The job may go on; `event` says so and is written first."""

    event: JobEvent
    job: ClearedJob


@dataclass(frozen=True, slots=True)
class Rejected:
    """The job ends here."""

    event: JobEvent


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that a judgement depends on besides the record."""

    offer: Offer
    policy: Policy


def judge(value: bytes | None, key: bytes | None, lane: Lane, timestamp_ms: int, rules: Rules) -> Cleared | Rejected:
    """Judge one record of jobs.requested.<lane>.

    A function of its arguments alone: a redelivered record gives the same events with the same ids, and a request that
    shares its job_id with another one changes nothing of the other's judgement.

    timestamp_ms: timestamp of the record, ms since the epoch; deadlines are compared with it, never with a clock
    Raises InvalidMessage when no job can be named, so that there is nobody to answer.
    """
    if value is None:
        raise InvalidMessage("value: missing (a tombstone); a job request is a JSON object")
    try:
        request = read(value)
    except JobRejected as refusal:
        return _reject_unread(value, lane, timestamp_ms, refusal)
    job = job_key(request.tenant, request.job_id)
    try:
        _check_key(key, request.job_id)
        _check_lane(request, lane)
        check(request, timestamp_ms, rules.offer)
        _check_policy(request, rules.policy)
    except JobRejected as refusal:
        answerable = _answerable(request, lane, refusal, rules.offer)
        return _reject(job, answerable, value, timestamp_ms, refusal)
    mark = fingerprint(request)
    event = job_event(
        SOURCE, "job.accepted", job, request, at_ms=timestamp_ms, requested_at_ms=timestamp_ms, about=mark
    )
    return Cleared(event, ClearedJob(job=job, request=request, fingerprint=mark, requested_at_ms=timestamp_ms))


def _reject(job: str, request: JobRequest, value: bytes, timestamp_ms: int, refusal: JobRejected) -> Rejected:
    event = job_event(
        SOURCE,
        "job.rejected",
        job,
        request,
        at_ms=timestamp_ms,
        requested_at_ms=timestamp_ms,
        about=hashlib.sha256(value).hexdigest(),
        reason=_reason(refusal),
    )
    return Rejected(event)


def _reject_unread(value: bytes, lane: Lane, timestamp_ms: int, refusal: JobRejected) -> Rejected:
    who = identify(value)
    if who is None:
        raise InvalidMessage(refusal.message) from None
    job = job_key(who.tenant, who.job_id)
    event = JobEvent(
        id=event_id("job.rejected", job, hashlib.sha256(value).hexdigest()),
        source=SOURCE,
        type="job.rejected",
        job=job,
        at_ms=timestamp_ms,
        lane=lane,
        requested_at_ms=timestamp_ms,
        reason=_reason(refusal),
    )
    return Rejected(event)


def _reason(refusal: JobRejected) -> Reason:
    return Reason(code=refusal.code, message=refusal.message, field=refusal.field)


def _check_lane(request: JobRequest, lane: Lane) -> None:
    if request.lane != lane:
        right = f"the record is on the topic of lane {lane}; send it to jobs.requested.{request.lane}"
        raise JobRejected("lane_mismatch", f"lane: found {request.lane}, but {right} or change the field", "lane")


def _check_key(key: bytes | None, job_id: str) -> None:
    if key is None:
        raise JobRejected("invalid_key", f'key: missing; the record key must be the job_id, "{job_id}"', "key")
    if key != job_id.encode():
        shown = key[:40].decode("utf-8", "replace").encode("unicode_escape").decode()
        raise JobRejected("invalid_key", f'key: found "{shown}"; the record key must be the job_id, "{job_id}"', "key")


def _answerable(request: JobRequest, lane: Lane, refusal: JobRejected, offer: Offer) -> JobRequest:
    """The request as far as its answer needs it: what was refused for its size or cannot be served is left out."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in request.metadata.items())
    metadata = request.metadata if size <= offer.limits.max_metadata_bytes else {}
    webhook = request.webhook if offer.webhooks and not refusal.field.startswith("webhook") else None
    return replace(request, lane=lane, metadata=metadata, webhook=webhook)


def _check_policy(request: JobRequest, policy: Policy) -> None:
    refusal = policy.refuse([shot.prompt for shot in request.shots], [shot.negative_prompt for shot in request.shots])
    if refusal is not None:
        what = "the prompts together are" if refusal.field == "shots" else "the text is"
        message = f"{refusal.field}: {what} refused by the content policy, category {refusal.category}"
        raise JobRejected("prompt_refused", message, refusal.field)
