"""From the bytes of a request record to a request, or to the reason why not. Pure."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from schemas import shapes
from schemas.codec import MAX_RECORD_BYTES, decode, format_of, unframed
from schemas.errors import InvalidMessage, JobRejected
from schemas.ids import JOB_ID_PATTERN, TENANT_PATTERN
from schemas.request import TOPIC_PATTERN, JobOrder, JobRequest, Metadata
from schemas.shape_faults import refusal

MAX_READABLE_BYTES = 1024 * 1024
"""Records above MAX_RECORD_BYTES are refused; up to this size they are still read, to name the job and the field."""
LONGEST_NUMBER = 400
RIGHT = "a job request is a JSON object, or Avro in Confluent's frame"

_decoder = msgspec.json.Decoder(JobRequest)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose job a record is about and what its answer needs, also when the record itself is refused."""

    tenant: str
    job_id: str
    reply_topic: str = ""
    batch_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class _Names(msgspec.Struct):
    job_id: str
    tenant: str = "default"


def read(value: bytes) -> JobRequest:
    """The request, from JSON or framed Avro.

    Raises JobRejected that names the field, what was found and what would be right; InvalidMessage for a frame that
    cannot be opened.
    """
    if not value:
        raise JobRejected("invalid_json", f"value: empty; {RIGHT}")
    if len(value) > (MAX_RECORD_BYTES if format_of(value) == "avro" else MAX_READABLE_BYTES):
        _refuse_size(value)
    try:
        if format_of(value) == "avro":
            return msgspec.convert(unframed("JobRequest", value), JobRequest)
        request = _decoder.decode(value)
    except msgspec.ValidationError as exc:
        document = _loose(value)
        if document is None and value.strip() != b"null":
            raise _json_fault(_syntax_error(value) or exc, value, None) from None
        raise refusal(str(exc), document) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _json_fault(exc, value, _loose(value)) from None
    if len(value) > MAX_RECORD_BYTES:
        _refuse_size(value)
    return request


def read_order(value: bytes) -> JobOrder:
    """An order, from JSON or framed Avro. Raises JobRejected that names the field where one is at fault, else
    InvalidMessage."""
    try:
        return decode(JobOrder, value)
    except InvalidMessage:
        document = _loose(value) if format_of(value) == "json" else unframed("JobOrder", value)
        try:
            msgspec.convert(document, JobOrder)
        except msgspec.ValidationError as exc:
            fault = refusal(str(exc), document, JobOrder)
            raise JobRejected("invalid_order", fault.message, fault.field) from None
        raise


def identify(value: bytes) -> Identity | None:
    """Tenant and job id of a record that `read` refuses, when they can be told beyond doubt; else None."""
    if len(value) > MAX_READABLE_BYTES:
        return None
    document = _loose(value)
    if not isinstance(document, dict):
        try:
            names = msgspec.json.decode(value, type=_Names)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        document = {"job_id": names.job_id, "tenant": names.tenant}
    job_id, tenant = document.get("job_id"), document.get("tenant", "default")
    if not (isinstance(job_id, str) and re.fullmatch(JOB_ID_PATTERN, job_id)):
        return None
    if not (isinstance(tenant, str) and re.fullmatch(TENANT_PATTERN, tenant)):
        return None
    return Identity(
        tenant,
        job_id,
        _matching(document, "reply_topic", TOPIC_PATTERN),
        _matching(document, "batch_id", JOB_ID_PATTERN),
        _metadata(document),
    )


def _matching(document: dict[str, Any], name: str, pattern: str) -> str:
    """A text of the document, "" when it is missing or not as it should be."""
    value = document.get(name)
    return value if isinstance(value, str) and re.fullmatch(pattern, value) else ""


def _metadata(document: dict[str, Any]) -> dict[str, str]:
    """The caller's metadata, empty when it is not as it should be. Its size is not looked at."""
    try:
        given = msgspec.convert(document.get("metadata"), Metadata)
        msgspec.json.encode(given)  # the lenient parser lets lone surrogates through
    except (msgspec.ValidationError, UnicodeEncodeError):
        return {}
    return given


def _refuse_size(value: bytes) -> NoReturn:
    raise JobRejected(
        "limit_exceeded",
        f"value: the record has {len(value)} bytes; the limit is {MAX_RECORD_BYTES} (64 KiB)",
    )


def _loose(value: bytes) -> Any:
    """What Python's more lenient parser makes of the bytes (NaN, lone surrogates), to say more about a fault."""
    try:
        if format_of(value) == "avro":
            return unframed("JobRequest", value)
        return json.loads(value.decode(), parse_int=_whole_number)
    except (ValueError, RecursionError, InvalidMessage):
        return None


def _whole_number(digits: str) -> int:
    """Python refuses to read more than 4300 digits; what is out of every range may as well be another such number."""
    return int(digits[:LONGEST_NUMBER])


def _syntax_error(value: bytes) -> Exception | None:
    """Why the bytes are no JSON at all. A decoder that looks for fields stops at the first wrong one before that."""
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        return exc
    return None


def _json_fault(error: Exception, value: bytes, document: Any) -> JobRejected:
    path = _first_nan(document)
    if path:
        field = shapes.field_of(path)
        found = shapes.found(path, shapes.value_at(document, path))
        return JobRejected("invalid_json", f"{field}: found {found}, which JSON does not allow; give a number", field)
    if isinstance(error, RecursionError):
        why = "it is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        why = f"byte {_first_not_utf8(value)} is not UTF-8"
    else:
        why = str(error).removeprefix("JSON is malformed: ")
    hint = "" if value.lstrip()[:1] == b"{" else f"; {RIGHT}"
    return JobRejected("invalid_json", f"value: not valid JSON: {why}{hint}")


def _first_not_utf8(value: bytes) -> int:
    try:
        value.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return 0


def _first_nan(document: Any, path: shapes.Path = ()) -> shapes.Path:
    """Path of the first NaN or infinity. Depth is bounded by the parser that made the document."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        if isinstance(value, float) and not math.isfinite(value):
            return (*path, key)
        if below := _first_nan(value, (*path, key)):
            return below
    return ()
