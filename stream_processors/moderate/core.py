"""The judgement of one request or order. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from schemas import availability, steering
from schemas.cloud_events import origin_of
from schemas.errors import InvalidMessage, JobRejected
from schemas.events import JobEvent, Reason
from schemas.ids import event_id, fingerprint, job_key
from schemas.plan import ClearedJob
from schemas.prompts import PromptDoubt
from schemas.records import Incoming
from schemas.reports import job_event
from schemas.request import JobRequest, Lane
from schemas.texts import texts_of
from schemas.work import Command
from stream_processors.moderate.checks import Offer, check, metadata_bytes
from stream_processors.moderate.identity import Tenants
from stream_processors.moderate.reading import RIGHT, Identity, identify, read, read_order
from stream_processors.moderate.rules import Rules as Rules

SOURCE = "moderate"


@dataclass(frozen=True, slots=True)
class Cleared:
    """The job may go on, to a person first where `job.doubts` says so; `event` says so and is written first."""

    event: JobEvent
    job: ClearedJob


@dataclass(frozen=True, slots=True)
class Rejected:
    """The job ends here."""

    event: JobEvent


class PromptRefused(JobRejected):
    """A text is refused by the content policy. category: for what."""

    def __init__(self, message: str, field: str, category: str) -> None:
        super().__init__("prompt_refused", message, field)
        self.category = category


def judge(record: Incoming, lane: Lane, rules: Rules) -> Cleared | Rejected:
    """Judge one record of jobs.requested.<lane>.

    A function of its arguments alone: a redelivered record gives the same events with the same ids, and a request that
    shares its job_id with another one changes nothing of the other's judgement. Deadlines and signatures are held
    against the broker's timestamp of the record, never against a clock.

    Raises InvalidMessage when no job can be named or the sender's identity is not proven: there is nobody to answer.
    """
    value, rules = _value(record), rules.now()
    try:
        request = read(value)
    except JobRejected as refusal:
        return _reject_unread(record, lane, refusal, rules)
    key_id = rules.tenants.check(record, request.tenant)
    try:
        _check_key(record.key, request.job_id)
        _check_lane(request, lane)
        doubts = examine(request, record.timestamp_ms, rules)
        _check_unlabelled(request, key_id, rules.tenants)
    except JobRejected as refusal:
        refused = _reject(record, _answerable(request, lane, refusal, rules), refusal, rules, key_id)
        return Rejected(replace(refused.event, fingerprint=_mark(request)))
    mark, job = fingerprint(request), job_key(request.tenant, request.job_id)
    origin = origin_of(record.headers, value, key_id)
    prompts = rules.verdict("review" if doubts else "allow", request, doubts[0].category if doubts else "")
    event = job_event(
        SOURCE,
        "job.accepted",
        job,
        request,
        at_ms=record.timestamp_ms,
        requested_at_ms=record.timestamp_ms,
        origin=origin,
        about=mark,
        fingerprint=mark,
        prompts=prompts,
    )
    cleared = ClearedJob(
        job=job,
        request=request,
        fingerprint=mark,
        requested_at_ms=record.timestamp_ms,
        origin=origin,
        prompts=prompts,
        doubts=doubts,
    )
    return Cleared(event, cleared)


def examine(request: JobRequest, now_ms: int, rules: Rules) -> tuple[PromptDoubt, ...]:
    """All that a request must meet besides who sends it and where, and what that one may. Returns what a person is to
    look at before it is rendered. Raises JobRejected for the first thing at fault.

    now_ms: timestamp of the request record
    """
    _check_reply_topic(request, rules.tenants)
    availability.check(request)
    check(request, now_ms, rules.offer)
    return _check_policy(request, rules)


def order(record: Incoming, tenants: Tenants) -> Command | JobEvent:
    """The command that an order of a caller becomes, or the event that tells its sender what is wrong with it.

    Raises InvalidMessage when no job can be named or the sender's identity is not proven: there is nobody to answer.
    """
    value = _value(record)
    try:
        asked = read_order(value)
    except JobRejected as refusal:
        if (who := identify(value)) is None:
            raise InvalidMessage(refusal.message) from None
        _check_sender(record, who.tenant, who.job_id, tenants)
        return _order_refused(record, job_key(who.tenant, who.job_id), refusal)
    _check_sender(record, asked.tenant, asked.job_id, tenants)
    job = job_key(asked.tenant, asked.job_id)
    try:
        steering.check(asked, record.timestamp_ms)
    except JobRejected as refusal:
        return _order_refused(record, job, refusal)
    return Command(
        job=job,
        action=asked.action,
        reason=asked.reason,
        requested_at_ms=record.timestamp_ms,
        priority=asked.priority,
        lane=asked.lane,
        deadline_ms=asked.deadline_ms,
    )


def _check_sender(record: Incoming, tenant: str, job_id: str, tenants: Tenants) -> None:
    """Raises InvalidMessage for an order that is not proven to be this tenant's, or has another key than its job."""
    tenants.check(record, tenant)
    if record.key != job_id.encode():
        raise InvalidMessage(_key_fault(record.key, job_id))


def _order_refused(record: Incoming, job: str, refusal: JobRejected) -> JobEvent:
    """What its sender is told of an order that is wrong. Two equal orders are two facts, the same one again is not."""
    digest = hashlib.sha256(_value(record)).hexdigest()
    return JobEvent(
        id=event_id("job.order-refused", job, f"{digest} {record.timestamp_ms}"),
        source=SOURCE,
        type="job.order-refused",
        job=job,
        at_ms=record.timestamp_ms,
        reason=_reason(refusal),
    )


def _value(record: Incoming) -> bytes:
    if record.value is None:
        raise InvalidMessage(f"value: missing (a tombstone); {RIGHT}")
    return record.value


def _reject(record: Incoming, request: JobRequest, refusal: JobRejected, rules: Rules, key_id: str) -> Rejected:
    value = _value(record)
    refused = refusal.category if isinstance(refusal, PromptRefused) else ""
    event = job_event(
        SOURCE,
        "job.rejected",
        job_key(request.tenant, request.job_id),
        request,
        at_ms=record.timestamp_ms,
        requested_at_ms=record.timestamp_ms,
        origin=origin_of(record.headers, value, key_id),
        about=hashlib.sha256(value).hexdigest(),
        reason=_reason(refusal),
        prompts=rules.verdict("block", request, refused) if refused else None,
    )
    return Rejected(event)


def _reject_unread(record: Incoming, lane: Lane, refusal: JobRejected, rules: Rules) -> Rejected:
    value = _value(record)
    who = identify(value)
    if who is None:
        raise InvalidMessage(refusal.message) from None
    key_id = rules.tenants.check(record, who.tenant)
    job = job_key(who.tenant, who.job_id)
    event = JobEvent(
        id=event_id("job.rejected", job, hashlib.sha256(value).hexdigest()),
        source=SOURCE,
        type="job.rejected",
        job=job,
        at_ms=record.timestamp_ms,
        lane=lane,
        reply_topic=_allowed(who, rules.tenants),
        batch_id=who.batch_id,
        metadata=_answerable_metadata(who.metadata, rules.offer),
        requested_at_ms=record.timestamp_ms,
        reason=_reason(refusal),
        origin=origin_of(record.headers, value, key_id),
    )
    return Rejected(event)


def _mark(request: JobRequest) -> str:
    """The fingerprint of a refused request, so that track knows one that it has had. "" for what has none, as with a
    number that is not one."""
    try:
        return fingerprint(request)
    except ValueError:
        return ""


def _allowed(who: Identity, tenants: Tenants) -> str:
    return who.reply_topic if who.reply_topic and tenants.reply_topic_allowed(who.tenant, who.reply_topic) else ""


def _reason(refusal: JobRejected) -> Reason:
    return Reason(code=refusal.code, message=refusal.message, field=refusal.field)


def _check_lane(request: JobRequest, lane: Lane) -> None:
    if request.lane != lane:
        right = f"the record is on the topic of lane {lane}; send it to jobs.requested.{request.lane}"
        raise JobRejected("lane_mismatch", f"lane: found {request.lane}, but {right} or change the field", "lane")


def _check_key(key: bytes | None, job_id: str) -> None:
    if key != job_id.encode():
        raise JobRejected("invalid_key", _key_fault(key, job_id), "key")


def _key_fault(key: bytes | None, job_id: str) -> str:
    if key is None:
        return f'key: missing; the record key must be the job_id, "{job_id}"'
    shown = key[:40].decode("utf-8", "replace").encode("unicode_escape").decode()
    return f'key: found "{shown}"; the record key must be the job_id, "{job_id}"'


def _check_unlabelled(request: JobRequest, key_id: str, tenants: Tenants) -> None:
    if request.label is None or request.label.profile != "none" or tenants.may_omit_label(request.tenant, key_id):
        return
    right = "the operator lets a tenant do so in the tenants file (may_omit_label), for signed requests"
    raise JobRejected("label_required", f"label.profile: found none; {right}; use eu or cn", "label.profile")


def _check_reply_topic(request: JobRequest, tenants: Tenants) -> None:
    topic = request.reply_topic
    if topic is not None and not tenants.reply_topic_allowed(request.tenant, topic):
        right = f"tenant {request.tenant} may use {' or '.join(tenants.reply_topics(request.tenant))}"
        raise JobRejected("reply_topic_refused", f'reply_topic: found "{topic[:80]}"; {right}', "reply_topic")


def _answerable(request: JobRequest, lane: Lane, refusal: JobRejected, rules: Rules) -> JobRequest:
    """The request as far as its answer needs it: what was refused for its size or cannot be served is left out.

    It may have been refused before its reply topic was looked at, and an answer goes to no topic of somebody else.
    """
    offer, topic = rules.offer, request.reply_topic
    metadata = _answerable_metadata(request.metadata, offer)
    webhook = request.webhook if offer.webhooks and not refusal.field.startswith("webhook") else None
    reply_topic = topic if topic and rules.tenants.reply_topic_allowed(request.tenant, topic) else None
    return replace(request, lane=lane, metadata=metadata, webhook=webhook, reply_topic=reply_topic)


def _answerable_metadata(metadata: Mapping[str, str], offer: Offer) -> dict[str, str]:
    return dict(metadata) if metadata_bytes(metadata) <= offer.limits.max_metadata_bytes else {}


def _check_policy(request: JobRequest, rules: Rules) -> tuple[PromptDoubt, ...]:
    """What a person is to look at, the gravest first. Raises PromptRefused."""
    found = rules.policy.judge(texts_of(request), rules.own(request.tenant))
    if (refusal := found.refusal) is not None:
        what = "the texts of the job together are" if refusal.field == "shots" else "the text is"
        message = f"{refusal.field}: {what} refused by the content policy, category {refusal.category}"
        raise PromptRefused(message, refusal.field, refusal.category)
    return found.doubts
