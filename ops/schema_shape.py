"""Which foreign schemas are safe to read with. Pure.

A caller who may register schemas decides how our decoder walks through a payload. Measured with fastavro 1.13: a
schema that contains itself ends the process (its compiled reader recurses once per byte of payload until the stack is
full), and an array of items of no bytes keeps it busy for as long as a ten-byte payload says. A process that such a
record ends would read it again after every start. So a schema is looked at before it is used: with these rules every
value costs at least one byte of the payload, which is short.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import fastavro

from schemas.errors import InvalidMessage

MAX_SCHEMA_BYTES = 512 * 1024
MAX_JSON_DEPTH = 100
MAX_DEPTH = 24
"""Records, arrays and maps inside each other; ours are at most 6 deep."""
_PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "bytes", "string"})


def parsed(text: str) -> dict[str, Any]:
    """A record's schema from its JSON text, as fastavro has parsed it.

    Raises InvalidMessage, a sentence without a subject, for what is no Avro record or is not safe to read with.
    """
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise InvalidMessage(f"has {len(text.encode())} bytes; at most {MAX_SCHEMA_BYTES} are read")
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidMessage(f"is not JSON: {exc}") from None
    _check_json(plain)
    if not isinstance(plain, dict) or plain.get("type") != "record":
        raise InvalidMessage("is not a record; every topic carries records")
    try:
        schema = fastavro.parse_schema(plain)
    except Exception as exc:  # a stranger's text; fastavro lets KeyError and TypeError through
        raise InvalidMessage(f"is not an Avro schema: {exc!r}") from None
    assert isinstance(schema, dict)  # what is a record stays one
    _depth(schema, {}, 0)
    return schema


def _check_json(plain: Any) -> None:
    """Levels are bounded before anything recurses; fastavro would believe `__` keys that say: already parsed."""
    level = [plain]
    for _ in range(MAX_JSON_DEPTH):
        if not level:
            return
        for item in level:
            if isinstance(item, dict) and (own := [key for key in item if key.startswith("__")]):
                raise InvalidMessage(f"has the key {own[0]!r}; keys that begin with __ are not allowed")
        level = [inner for item in level for inner in _inner(item)]
    if level:
        raise InvalidMessage(f"is nested deeper than {MAX_JSON_DEPTH} levels of JSON")


def _inner(item: Any) -> Iterator[Any]:
    if isinstance(item, dict):
        yield from item.values()
    elif isinstance(item, list):
        yield from item


def _depth(schema: Any, known: dict[str, int | None], above: int) -> int:
    """Levels of a parsed schema. `known`: levels of each named type; None while its own fields are looked at."""
    if above > MAX_DEPTH:
        raise InvalidMessage(f"is nested deeper than {MAX_DEPTH} types")
    if isinstance(schema, str):
        return _named(schema, known)
    if isinstance(schema, list):
        parts = [part for part in schema if part not in ("null", {"type": "null"})]
        return max((_depth(part, known, above) for part in parts), default=0)
    return _complex(schema, known, above)


def _named(name: str, known: Mapping[str, int | None]) -> int:
    if name in _PRIMITIVES:
        return 0
    if name == "null":
        raise InvalidMessage("has a null that is not part of a union; such values take no bytes")
    levels = known.get(name)
    if levels is None:
        raise InvalidMessage(f"has the type {name} inside itself; records that contain themselves are not read")
    return levels


def _complex(schema: Mapping[str, Any], known: dict[str, int | None], above: int) -> int:
    match schema["type"]:
        case "record" | "error":
            if not schema["fields"]:
                raise InvalidMessage(f"has the record {schema['name']} without fields; such values take no bytes")
            known[schema["name"]] = None
            levels = 1 + max(_depth(field["type"], known, above + 1) for field in schema["fields"])
            known[schema["name"]] = levels
        case "array":
            levels = 1 + _depth(schema["items"], known, above + 1)
        case "map":
            levels = 1 + _depth(schema["values"], known, above + 1)
        case "enum":
            known[schema["name"]] = levels = 0
        case "fixed":
            if schema["size"] < 1:
                raise InvalidMessage(f"has {schema['name']}, fixed of no bytes")
            known[schema["name"]] = levels = 0
        case inner:
            levels = _depth(inner, known, above)
    if levels > MAX_DEPTH:
        raise InvalidMessage(f"is nested deeper than {MAX_DEPTH} types")
    return levels
