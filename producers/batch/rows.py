"""From one row of a file to the requests that it means. Pure."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from schemas import availability
from schemas.codec import MAX_RECORD_BYTES
from schemas.errors import InvalidMessage, JobRejected
from schemas.ids import event_id
from schemas.request import JobRequest

SHOT_COLUMNS = frozenset(
    ("prompt", "duration_s", "negative_prompt", "seed", "continuity", "style", "guidance", "steps")
)
"""Columns of a flat row that describe its one shot."""
_PLACE = re.compile(r"\{([A-Za-z_][\w.]*)\}")
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"field `([^`]*)`")
_encoder = msgspec.json.Encoder()
Raw = Mapping[str, Any]


class RowFault(Exception):
    """What is wrong with one row. field: path in the request, "" when it is the row itself."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Plan:
    """How rows become requests; the same plan and rows give the same jobs with the same ids.

    template: a request with {column} in its texts; None: the columns are the fields of the request
    matrix:   column -> values; every row becomes one job per combination
    defaults: dotted field -> value, for rows that do not have it
    """

    batch_id: str
    tenant: str = "default"
    template: Mapping[str, Any] | None = None
    matrix: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> list[dict[str, Any]]:
        """Every combination of the matrix, in a fixed order; one empty one without a matrix."""
        return [dict(zip(self.matrix, values, strict=True)) for values in itertools.product(*self.matrix.values())]

    def fingerprint(self) -> str:
        """Names the plan: a batch is not resumed with another one."""
        parts = [self.tenant, self.template, {k: list(v) for k, v in self.matrix.items()}, dict(self.defaults)]
        return event_id("batch-plan", json.dumps(parts, sort_keys=True, default=str))


def replace_id(plan: Plan, batch_id: str) -> Plan:
    """The plan under a batch id."""
    return replace(plan, batch_id=batch_id)


def job_id_of(plan: Plan, source: str, number: int, cell: int, raw: Raw) -> str:
    """Id of the job of one row and cell: its own `job_id` or `custom_id`, else made from batch, source and row number.

    The same row has the same id however often it is sent.
    """
    own = raw.get("job_id") or raw.get("custom_id")
    base = str(own) if own else f"{plan.batch_id}.{event_id('source', source)[:8]}.{number}"
    return f"{base}.{cell}" if plan.matrix else base


def request_of(plan: Plan, raw: Raw, job_id: str, cell: Raw, *, typed: bool) -> tuple[JobRequest, bytes]:
    """The request of one row and cell, and its JSON. typed: values have types (JSON, Parquet), not only text (CSV).

    Raises RowFault.
    """
    columns = {**raw, **cell} if cell else raw
    if plan.template is not None:
        plain = _filled(plan.template, columns)
    elif "body" in columns and "custom_id" in columns:
        plain = _of_openai(columns)
    elif "shots" in columns and not any("." in name for name in columns):
        plain = dict(columns)
    else:
        plain = _of_columns(columns)
    for name, value in plan.defaults.items():
        _put(plain, name, value, only_missing=True)
    plain.pop("custom_id", None)
    plain["job_id"], plain["batch_id"] = job_id, plan.batch_id
    if plain.setdefault("tenant", plan.tenant) != plan.tenant:
        raise RowFault("tenant", f'tenant: found "{plain["tenant"]}"; this batch is of tenant {plan.tenant}')
    return _checked(plain, typed)


def _checked(plain: dict[str, Any], typed: bool) -> tuple[JobRequest, bytes]:
    try:
        request = msgspec.convert(plain, JobRequest, strict=typed)
        availability.check(request)
    except msgspec.ValidationError as exc:
        raise _shape_fault(str(exc)) from None
    except JobRejected as exc:
        raise RowFault(exc.field, exc.message) from None
    value = _encoder.encode(request)
    if len(value) > MAX_RECORD_BYTES:
        raise RowFault("", f"the request has {len(value)} bytes; the limit is {MAX_RECORD_BYTES}")
    return request, value


def _shape_fault(message: str) -> RowFault:
    parts = _PATH.match(message)
    assert parts is not None
    path, what = parts["path"] or "", parts["what"]
    if named := _NAMED.search(what):
        path = f"{path}.{named[1]}".lstrip(".")
    return RowFault(path, f"{path}: {what}" if path else what)


def _of_columns(columns: Raw) -> dict[str, Any]:
    """A flat row: dotted names are nested, the columns of a shot make the one shot."""
    plain: dict[str, Any] = {}
    shot: dict[str, Any] = {}
    for name, value in columns.items():
        if name in SHOT_COLUMNS:
            shot[name] = value
        else:
            _put(plain, name, value)
    if shot:
        if "shots" in plain:
            raise RowFault("shots", f"shots: the row has shots and the column {min(shot)} of a single shot; give one")
        plain["shots"] = [shot]
    return plain


def _of_openai(columns: Raw) -> dict[str, Any]:
    """A line of OpenAI's Batch format: {"custom_id", "method", "url", "body"}; the body is a request or a flat row.

    Of the video endpoint's own words, `seconds` is duration_s and `size` "1280x720" is output.width_px and height_px.
    """
    if extra := sorted(columns.keys() - {"custom_id", "method", "url", "body"}):
        raise RowFault(extra[0], f"{extra[0]}: not a field of a batch line; known are custom_id, method, url, body")
    if columns.get("method", "POST") != "POST" or columns.get("url", "/v1/videos") != "/v1/videos":
        raise RowFault("url", "url: only POST /v1/videos can be served")
    body = columns["body"]
    if not isinstance(body, Mapping):
        raise RowFault("body", "body: expected an object")
    words = dict(body)
    if "seconds" in words:
        words["duration_s"] = _number(words.pop("seconds"))
    if "size" in words:
        width, by, height = str(words.pop("size")).partition("x")
        if not (by and width.isdecimal() and height.isdecimal()):
            raise RowFault("size", "size: expected WIDTHxHEIGHT, e.g. 1280x720")
        words |= {"output.width_px": int(width), "output.height_px": int(height)}
    return dict(words) if "shots" in words else _of_columns(words)


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RowFault("seconds", "seconds: expected a number") from None


def _put(plain: dict[str, Any], name: str, value: Any, *, only_missing: bool = False) -> None:
    """Set a dotted field; `shots.duration_s` of defaults goes to every shot."""
    *parents, last = name.split(".")
    here: Any = plain
    if parents == ["shots"]:
        for shot in plain.get("shots", ()):
            if isinstance(shot, dict):
                shot.setdefault(last, value)
        return
    for parent in parents:
        here = here.setdefault(parent, {})
        if not isinstance(here, dict):
            raise RowFault(name, f"{name}: {parent} is no object")
    if not only_missing and last in here:
        raise RowFault(name, f"{name}: given twice")
    if only_missing:
        here.setdefault(last, value)
    else:
        here[last] = value


def _filled(template: Any, columns: Raw) -> Any:
    """The template with columns in the places of {column}. A text that is one place keeps the column's type."""
    if isinstance(template, Mapping):
        return {name: _filled(value, columns) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [_filled(value, columns) for value in template]
    if not isinstance(template, str):
        return template
    if (whole := _PLACE.fullmatch(template)) is not None:
        return _column(columns, whole[1])
    return _PLACE.sub(lambda found: str(_column(columns, found[1])), template)


def _column(columns: Raw, name: str) -> Any:
    if name not in columns:
        raise RowFault(name, f"{name}: the template wants this column, and the row has not got it")
    return columns[name]


def requests_of(
    plan: Plan, source: str, number: int, raw: Raw, cells: Sequence[Raw], *, typed: bool
) -> Iterator[tuple[int, JobRequest | RowFault, bytes]]:
    """All jobs of one row: cell, request and its JSON, or what is wrong with it."""
    for cell, values in enumerate(cells):
        try:
            request, value = request_of(plan, raw, job_id_of(plan, source, number, cell, raw), values, typed=typed)
        except RowFault as fault:
            yield cell, fault, b""
        except InvalidMessage as exc:
            yield cell, RowFault("", str(exc)), b""
        else:
            yield cell, request, value
