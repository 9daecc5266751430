"""What a decoder says of a wrong request, as a sentence: the field, what was found, what would be right. Pure."""

import difflib
import json
import re
from typing import Any

from schemas import shapes
from schemas.errors import JobRejected
from schemas.request import JobOrder, JobRequest, Record

_NAMES: dict[type[Record], str] = {JobRequest: "job request", JobOrder: "job order"}
_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_NAME = re.compile(r"^Object (?P<fault>contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)


def refusal(message: str, document: Any, of: type[Record] = JobRequest) -> JobRejected:
    """msgspec's "Expected `float` > 0.0 - at `$.shots[0].duration_s`" as a sentence for the sender.

    document: the plain data that was refused
    of:       what it should have been
    """
    parts = _MESSAGE.match(message)
    assert parts is not None
    path = shapes.path_of(parts["path"] or "")
    if named := _NAME.match(parts["what"]):
        return _name_fault(path, named["name"], named["fault"].startswith("contains"), of)
    field, right = shapes.field_of(path), shapes.expected(path, of)
    if not field:
        return JobRejected("invalid_request", f"value: found {shapes.found((), document)}; a {_NAMES[of]} is an object")
    if (parts["path"] or "").endswith("[...]"):
        return JobRejected("invalid_request", f"{field}: an entry is not text; expected {right}", field)
    found = shapes.found(path, shapes.value_at(document, path))
    return JobRejected("invalid_request", f"{field}: found {found}; expected {right}", field)


def _name_fault(path: shapes.Path, name: str, unknown: bool, of: type[Record]) -> JobRejected:
    known = shapes.fields_at(path, of)
    place = shapes.field_of(path) or f"the {_NAMES[of].removeprefix('job ')}"
    if not unknown:
        field = shapes.field_of((*path, name))
        return JobRejected("invalid_request", f"{field}: missing; expected {shapes.expected((*path, name), of)}", field)
    shown = json.dumps(name[:40])
    near = difflib.get_close_matches(name[:40], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    message = f"{place}: unknown field {shown}; {hint}"
    return JobRejected("invalid_request", message, shapes.field_of((*path, shown[1:-1])))
