"""From what a user wrote to valid requests. Pure but for `new_job_id`, which is handed in where one is needed."""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from schemas.codec import MAX_RECORD_BYTES
from schemas.errors import InvalidMessage
from schemas.ids import fingerprint, job_key
from schemas.request import JobRequest, Lane, Output, Shot
from schemas.shape_faults import refusal

DEFAULT_TENANT = "default"
_decoder = msgspec.json.Decoder(JobRequest)


def one_shot(
    prompt: str,
    *,
    duration_s: float,
    job_id: str = "",
    tenant: str = DEFAULT_TENANT,
    lane: Lane = "standard",
    model: str = "shapes",
    negative_prompt: str = "",
    seed: int | None = None,
    output: Output | None = None,
) -> JobRequest:
    """A storyboard of one shot. Without `job_id` the client makes one when it submits.

    Limits are those of `schemas.request`; they are checked by `checked`, not here.
    """
    shot = Shot(prompt=prompt, duration_s=duration_s, negative_prompt=negative_prompt, seed=seed)
    return JobRequest(job_id=job_id, tenant=tenant, lane=lane, model=model, shots=(shot,), output=output or Output())


def new_job_id() -> str:
    """A job id that nobody has used."""
    return uuid.uuid4().hex


def checked(request: JobRequest | Mapping[str, Any], new_id: Callable[[], str]) -> JobRequest:
    """The request, checked as strictly as in the pipeline, with a job id when it had none.

    Raises InvalidMessage that names the field, what it is, and what would be right.
    """
    plain = msgspec.to_builtins(request)
    if not plain.get("job_id"):
        plain = {**plain, "job_id": new_id()}
    try:
        raw = msgspec.json.encode(plain)
        made = _decoder.decode(raw)
    except UnicodeEncodeError as exc:
        raise InvalidMessage(f"the request: a text is not Unicode: {exc.reason}") from None
    except msgspec.ValidationError as exc:
        raise InvalidMessage(refusal(str(exc), plain).message) from None
    if len(raw) > MAX_RECORD_BYTES:
        raise InvalidMessage(f"the request: {len(raw)} bytes of JSON; the limit is {MAX_RECORD_BYTES}")
    return made


def id_of_content(request: JobRequest | Mapping[str, Any]) -> str:
    """A job id made from all that a request says: sending the same again, from anywhere, is the same job.

    Raises InvalidMessage like `checked`.
    """
    plain = msgspec.to_builtins(request)
    return f"c-{fingerprint(checked({**plain, 'job_id': 'c'}, new_job_id))[:32]}"


def addressed(request: JobRequest | Mapping[str, Any], tenant: str, reply_topic: str) -> dict[str, Any]:
    """The request as plain data with tenant and reply topic filled in. Raises InvalidMessage for another tenant's."""
    plain: dict[str, Any] = dict(msgspec.to_builtins(request))
    said = plain.get("tenant", tenant if isinstance(request, Mapping) else DEFAULT_TENANT)
    if said not in (tenant, DEFAULT_TENANT):
        raise InvalidMessage(f'tenant is "{said}": this client sends for tenant {tenant}')
    plain["tenant"] = tenant
    if not plain.get("reply_topic"):
        plain["reply_topic"] = reply_topic
    return plain


def read_requests(lines: Iterable[str], new_id: Callable[[], str]) -> Iterator[JobRequest]:
    """Requests of a JSON document (one object, or a list of them) or of JSON lines, told apart by their first line.

    Lines are read as they are needed, so a file of a million rows is never in memory. Blank lines are skipped.
    Raises InvalidMessage that names the line or item at fault.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        raise InvalidMessage("no request found: the input is empty")
    if _is_object(first[1]):
        yield from (_request(line, f"line {number}", new_id) for number, line in itertools.chain([first], numbered))
        return
    text = first[1] + "".join(line for _, line in numbered)
    document = _parsed(text, "the input")
    if not isinstance(document, list):
        yield _request(text, "the request", new_id)
        return
    for position, item in enumerate(document):
        yield _request(msgspec.json.encode(item).decode(), f"item {position}", new_id)


def _is_object(line: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except msgspec.DecodeError:
        return False


def _parsed(text: str, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise InvalidMessage(f"{where}: not JSON: {exc}") from None


def _request(text: str, where: str, new_id: Callable[[], str]) -> JobRequest:
    plain = _parsed(text, where)
    if not isinstance(plain, dict):
        raise InvalidMessage(f"{where}: expected a JSON object with a request, got {type(plain).__name__}")
    try:
        return checked(plain, new_id)
    except InvalidMessage as exc:
        raise InvalidMessage(f"{where}: {exc}") from None


def key_of(name: str) -> str:
    """Job key of what a user types: ``tenant/job_id``, or a job id of the default tenant."""
    return name if "/" in name else job_key(DEFAULT_TENANT, name)


def name_of(job: str) -> str:
    """What `key_of` accepts for a job key, as short as possible."""
    return job.removeprefix(f"{DEFAULT_TENANT}/")
