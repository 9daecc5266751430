"""What is right, in words, from the contract itself: so a message can never disagree with the schema. Pure."""

import json
import math
import re
from functools import cache
from typing import Any

from msgspec import inspect

from schemas.ids import TENANT_PATTERN
from schemas.request import NAME_PATTERN, TOPIC_PATTERN, URI_PATTERN, JobRequest, Record

_PATTERNS = {
    TENANT_PATTERN: "1 to 63 lower-case letters, digits and - (a letter or digit first)",
    NAME_PATTERN: "a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)",
    TOPIC_PATTERN: "the name of a topic: 1 to 249 letters, digits and . _ -",
    URI_PATTERN: "an address that starts with https:// or s3://",
    r"^s3://": "an address that starts with s3://",
    r"^[0-9a-f]{64}\Z": "64 lower-case hex digits",
    r"^#[0-9a-fA-F]{6}\Z": "a colour like #1a2b3c",
    r"^https?://": "an address that starts with https:// or http://",
}
_PRIVATE = ("prompt", "negative_prompt", "url", "uri", "text", "metadata")
"""Fields whose content is never repeated in a message."""
_TOKEN = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
MISSING = object()
Path = tuple[str | int, ...]


def path_of(text: str) -> Path:
    """msgspec's ".shots[0].prompt" -> ("shots", 0, "prompt"); "[...]" (some key) is left out."""
    found = [name or place for name, place in _TOKEN.findall(text)]
    return tuple(int(part) if part.isdigit() else part for part in found if part != "...")


def field_of(path: Path) -> str:
    """("shots", 0, "prompt") -> "shots[0].prompt"."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def value_at(document: Any, path: Path) -> Any:
    """The value at a path of plain JSON data, or MISSING."""
    for part in path:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return document


@cache
def _root(of: type[Record]) -> inspect.Type:
    return inspect.type_info(of)


def _bare(kind: inspect.Type) -> inspect.Type:
    """The type without its "or None"."""
    if isinstance(kind, inspect.UnionType):
        return next(t for t in kind.types if not isinstance(t, inspect.NoneType))
    return kind


def type_at(path: Path, of: type[Record] = JobRequest) -> inspect.Type | None:
    """The contract's type at a path of a record, or None when the contract knows no such field."""
    kind: inspect.Type = _root(of)
    for part in path:
        kind = _bare(kind)
        if isinstance(kind, inspect.StructType) and isinstance(part, str):
            following = next((f.type for f in kind.fields if f.encode_name == part), None)
        elif isinstance(kind, inspect.VarTupleType) and isinstance(part, int):
            following = kind.item_type
        else:
            following = None
        if following is None:
            return None
        kind = following
    return _bare(kind)


def fields_at(path: Path, of: type[Record] = JobRequest) -> tuple[str, ...]:
    """Names that the object at a path may have."""
    kind = type_at(path, of)
    return tuple(f.encode_name for f in kind.fields) if isinstance(kind, inspect.StructType) else ()


def expected(path: Path, of: type[Record] = JobRequest) -> str:
    """What is right at a path, e.g. "a whole number from 64 to 4096, a multiple of 2"."""
    kind = type_at(path, of)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return _number(kind)
    if isinstance(kind, inspect.StrType):
        if kind.pattern:
            return _PATTERNS.get(kind.pattern, f"text that matches {kind.pattern}")
        return "text of " + _span(kind.min_length, kind.max_length, "characters")
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(str(value) or '""' for value in kind.values)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.VarTupleType):
        return "a list of " + _span(kind.min_length, kind.max_length, "entries")
    if isinstance(kind, inspect.DictType):
        return f"an object of {_span(None, kind.max_length, 'entries')}, each of them text"
    return "an object with the fields " + ", ".join(fields_at(path, of))


def _number(kind: inspect.IntType | inspect.FloatType) -> str:
    text = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    if kind.gt is not None:
        text += f" above {kind.gt:g}"
    if kind.ge is not None and kind.le is not None:
        text += f" from {kind.ge} to {kind.le}"
    elif kind.le is not None:
        text += f" and at most {kind.le:g}"
    elif kind.ge is not None:
        text += f" of at least {kind.ge}"
    return text + (f", a multiple of {kind.multiple_of}" if kind.multiple_of else "")


def _span(low: int | None, high: int | None, unit: str) -> str:
    return f"{low} to {high} {unit}" if low else f"at most {high} {unit}"


def found(path: Path, value: Any) -> str:
    """A value in a few safe words. Prompts, addresses and metadata are described, not repeated."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, str):
        if not set(_PRIVATE).isdisjoint(path):
            return f"text of {len(value)} characters"
        return json.dumps(value if len(value) <= 40 else value[:40] + "...")
    if isinstance(value, list | dict):
        unit = "a list" if isinstance(value, list) else "an object"
        return f"{unit} of {len(value)} {'entry' if len(value) == 1 else 'entries'}"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "a number out of range"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number out of range"
    return json.dumps(value)
