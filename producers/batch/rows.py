"""From one row of a file to the requests that it means. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from producers.batch import fields
from producers.batch.plan import Plan, Raw, RowFault
from schemas import availability
from schemas.codec import MAX_RECORD_BYTES
from schemas.errors import JobRejected
from schemas.ids import event_id
from schemas.request import JobRequest, Lane
from schemas.served import served_request
from schemas.shape_faults import refusal

Row = bytes | Raw | RowFault
"""A line of JSON as it stands, columns by name, or what is wrong with the row."""
Made = tuple[int, JobRequest | RowFault, bytes]
"""Cell of the matrix, the request or what is wrong with it, and the request's JSON."""
_encoder = msgspec.json.Encoder()
_decode_row = msgspec.json.Decoder(dict[str, Any]).decode
OPENING = ord("{")
_decode_served = msgspec.json.Decoder(served_request()).decode
_NAMES = frozenset(("job_id", "tenant", "batch_id"))
_decode_nameless = msgspec.json.Decoder(served_request(_NAMES)).decode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Maker:
    """Makes the jobs of one source. What is the same for all its rows is made once.

    typed: values have types (JSON, Parquet), not only text (CSV)
    """

    def __init__(self, plan: Plan, source: str, *, typed: bool = True) -> None:
        self._plan, self._typed = plan, typed
        self.cells: Sequence[Raw] = plan.cells()
        self._own = f"{plan.batch_id}.{event_id('source', source)[:8]}."
        self._plain = plan.template is None and not plan.matrix and not plan.defaults
        # No name holds a %: the patterns of the contract see to that.
        start = msgspec.json.encode({"tenant": plan.tenant, "batch_id": plan.batch_id, "job_id": f"{self._own}%d"})
        self._head, self._key = start[:-1] + b",", f"{self._own}%d".encode()

    def quick(self, number: int, line: bytes) -> tuple[Lane, bytes, bytes] | None:
        """Lane, record key and bytes of a line that is a whole request and needs nothing but its names put in front;
        None for every other line, and for every wrong one. Checked like the others, in one decoding.
        """
        if not line or line[0] != OPENING or not self._plain:
            return None
        try:
            request: Any = _decode_nameless(line)
        except _NOT_JSON:
            return None
        value = self._head % number + line[1:]
        return (request.lane, self._key % number, value) if len(value) <= MAX_RECORD_BYTES else None

    def jobs(self, number: int, row: Row) -> Iterator[Made]:
        """All jobs of a row, or what is wrong with them; nothing for a blank line."""
        columns = parsed(row) if isinstance(row, bytes) else row
        if isinstance(columns, RowFault):
            yield 0, columns, b""
            return
        for cell, values in enumerate(self.cells if columns is not None else ()):
            assert columns is not None
            try:
                plain = plain_of(self._plan, columns, values)
                _name(self._plan, plain, columns, f"{self._own}{number}", cell)
                request, value = _checked(plain, self._typed)
            except RowFault as fault:
                yield cell, fault, b""
            else:
                yield cell, request, value


def parsed(line: bytes) -> Raw | RowFault | None:
    """The columns of a line of JSON; None for a blank line."""
    bare = line.strip()
    if not bare:
        return None
    try:
        return _decode_row(bare)
    except msgspec.ValidationError as exc:
        return RowFault("", f"the row is not a JSON object: {exc}")
    except _NOT_JSON as exc:
        return RowFault("", f"the row is not JSON: {str(exc).removeprefix('JSON is malformed: ')}")


def plain_of(plan: Plan, raw: Raw, cell: Raw) -> dict[str, Any]:
    """The request of one row and cell as plain data, before names are put in and before it is checked."""
    columns = {**raw, **cell} if cell else raw
    if plan.template is not None:
        plain: dict[str, Any] = fields.filled(plan.template, columns)
        if isinstance(given := plain.get(fields.METADATA), Mapping):
            plain[fields.METADATA] = {name: fields.text(value) for name, value in given.items()}
    elif "body" in raw and "custom_id" in raw:
        plain = _of_openai(raw, cell)
    else:
        plain = _of_columns(columns)
    for name, value in plan.defaults.items():
        fields.put(plain, name, value, only_missing=True)
    return plain


def _of_columns(columns: Raw) -> dict[str, Any]:
    whole = "shots" in columns and not any("." in name or name in fields.SHOT_COLUMNS for name in columns)
    return dict(columns) if whole else fields.nested(columns)


def _of_openai(raw: Raw, cell: Raw) -> dict[str, Any]:
    """A line of OpenAI's Batch format: {"custom_id", "method", "url", "body"}; the body is a request or a flat row.

    Of the video endpoint's own words, `seconds` is duration_s and `size` "1280x720" is output.width_px and height_px.
    """
    if extra := sorted(raw.keys() - fields.BATCH_COLUMNS):
        raise RowFault(extra[0], f"{extra[0]}: not a field of a batch line; known are custom_id, method, url, body")
    if raw.get("method", "POST") != "POST" or raw.get("url", "/v1/videos") != "/v1/videos":
        raise RowFault("url", "url: only POST /v1/videos can be served")
    body = raw["body"]
    if not isinstance(body, Mapping):
        raise RowFault("body", "body: expected an object")
    words = {**body, **cell}
    if "seconds" in words:
        words["duration_s"] = _seconds(words.pop("seconds"))
    if "size" in words:
        width, by, height = str(words.pop("size")).partition("x")
        if not (by and width.isdecimal() and height.isdecimal()):
            raise RowFault("size", "size: expected WIDTHxHEIGHT, e.g. 1280x720")
        words |= {"output.width_px": int(width), "output.height_px": int(height)}
    return _of_columns(words)


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RowFault("seconds", "seconds: expected a number") from None


def _name(plan: Plan, plain: dict[str, Any], raw: Raw, made: str, cell: int) -> None:
    """Put in tenant, batch and job id. A row's own id is its `job_id` or `custom_id`; the same row always has the same.

    made: the id where it has none
    """
    plain.pop("custom_id", None)
    given = [name for name in (plain.get("job_id"), raw.get("job_id"), raw.get("custom_id")) if name not in (None, "")]
    if plan.template is None and any(name != given[0] for name in given):
        raise RowFault("custom_id", "custom_id: the row has a job_id too, which is another; give one")
    own = given[0] if given else made
    job_id = str(own) if isinstance(own, str | int) else own
    plain["job_id"] = f"{job_id}.{cell}" if plan.matrix and isinstance(job_id, str) else job_id
    for name, right in (("tenant", plan.tenant), ("batch_id", plan.batch_id)):
        if plain.setdefault(name, right) != right:
            raise RowFault(
                name,
                f"{name}: found {fields.text(plain[name])[:80]}; this is batch {plan.batch_id} of tenant {plan.tenant}",
            )


def _checked(plain: dict[str, Any], typed: bool) -> tuple[JobRequest, bytes]:
    try:
        request = msgspec.convert(plain, JobRequest, strict=typed)
    except msgspec.ValidationError as exc:
        fault = refusal(str(exc), plain)
        raise RowFault(fault.field, fault.message) from None
    value = _encoder.encode(request)
    try:
        _decode_served(value)  # says yes ten times as fast as availability.check, and never why not
    except _NOT_JSON:
        _check_availability(request)
    if len(value) > MAX_RECORD_BYTES:
        raise RowFault("", f"the request has {len(value)} bytes; the limit is {MAX_RECORD_BYTES}")
    return request, value


def _check_availability(request: JobRequest) -> None:
    try:
        availability.check(request)
    except JobRejected as exc:
        raise RowFault(exc.field, exc.message) from None
