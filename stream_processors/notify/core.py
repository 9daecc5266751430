"""What is sent, and what follows from the answer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ops.net.retry_after import retry_after_ms
from schemas.errors import InvalidMessage
from schemas.events import JobFinished
from schemas.ids import event_id
from schemas.retries import ATTEMPT_HEADER, DUE_HEADER, number
from schemas.topics import NOTIFY_DELAYS

Outcome = Literal["delivered", "retry", "given-up", "refused"]

MAX_ATTEMPTS = len(NOTIFY_DELAYS) + 1
MAX_BODY_BYTES = 20_000
"""Standard Webhooks asks for less than 20 kB."""
MAX_MESSAGE_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again. `delay` names the retry topic, whose records all wait `delay_ms`, so that they stay in order."""

    delay: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No more tries. `reason` is one sentence."""

    reason: str


def next_step(attempt: int, status: int, headers: Mapping[str, str], now_ms: int) -> Delivered | Retry | GiveUp:
    """What follows from try number `attempt` (1 is the first).

    status:  HTTP status, or 0 when there was no complete answer.
    headers: of the answer, names in lower case. Retry-After makes the wait longer, never shorter, and at most the
             longest delay of the table.
    Any 2xx is success. 410 says that the receiver wants no more. All else, redirects too, is tried again.
    """
    if 200 <= status <= 299:
        return Delivered()
    if status == 410:
        return GiveUp("the receiver answered 410 Gone")
    if attempt >= MAX_ATTEMPTS:
        return GiveUp(f"no success in {attempt} tries")
    # No jitter: tries are as far apart as the jobs' ends were, and a fixed delay keeps a retry topic in due order.
    asked_ms = retry_after_ms(headers.get("retry-after", ""), now_ms)
    for delay, delay_ms in NOTIFY_DELAYS[attempt - 1 :]:
        if delay_ms >= asked_ms:
            return Retry(delay, delay_ms)
    return Retry(*NOTIFY_DELAYS[-1])


def attempt_of(headers: Mapping[str, bytes]) -> int:
    """Number of this try, from the record's headers; 1 when they say nothing."""
    attempt = number(headers, ATTEMPT_HEADER, default=1)
    if not 1 <= attempt <= MAX_ATTEMPTS:
        raise InvalidMessage(f"header {ATTEMPT_HEADER}: {attempt}; expected 1 to {MAX_ATTEMPTS}")
    return attempt


def check_headers(headers: Mapping[str, bytes]) -> int:
    """The attempt, after checking both headers. Raises InvalidMessage."""
    number(headers, DUE_HEADER, default=0)
    return attempt_of(headers)


def message_id(job: str) -> str:
    """The webhook-id of a job's message: the same on every try and after every redelivery."""
    return event_id("webhook", job)


def message_body(finished: JobFinished) -> bytes:
    """JSON of at most MAX_BODY_BYTES: {id, object, created_at (Unix seconds), type, data}.

    data is the terminal record without its webhook, whose URL may hold a token. When the whole would be too long,
    metadata is left out and the reason shortened, and `truncated` names both fields.
    """
    plain = msgspec.structs.replace(finished, webhook=None)
    body = _body(plain, [])
    if len(body) <= MAX_BODY_BYTES:
        return body
    reason = plain.reason
    if reason is not None:
        reason = msgspec.structs.replace(reason, message=reason.message[:MAX_MESSAGE_CHARS])
    short = msgspec.structs.replace(plain, metadata={}, reason=reason)
    return _body(short, ["metadata", "reason.message"])


def _body(finished: JobFinished, truncated: list[str]) -> bytes:
    envelope: dict[str, object] = {
        "id": message_id(finished.job),
        "object": "event",
        "created_at": finished.finished_at_ms // 1000,
        "type": f"video.{finished.state}",
        "data": finished,
    }
    if truncated:
        envelope["truncated"] = truncated
    return msgspec.json.encode(envelope)


def moment(at_ms: int) -> datetime:
    """A moment as an aware datetime in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
