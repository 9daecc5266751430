"""JSON Schema of the records that may travel as JSON, with the words of their docstrings. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas.availability import BUILT, NOT_YET
from schemas.avro_types import UNITS, Docs

NOT_AVAILABLE = "Not available yet: refused by name where it says more than its default."


def components(records: Iterable[type[msgspec.Struct]], words: Docs, place: str) -> dict[str, Any]:
    """Schemas of the records and of all that they contain, by class name.

    words: docstrings of classes and fields
    place: what a reference starts with, e.g. "#/components/schemas/"

    The result is JSON Schema draft 7, which AsyncAPI's own schema format contains: no keyword stands beside a `$ref`,
    where draft 7 would ignore it, and patterns are in the dialect of ECMAScript.
    """
    _, found = msgspec.json.schema_components(list(records), ref_template=place + "{name}")
    return {name: _record(name, schema, words) for name, schema in sorted(found.items())}


def _record(name: str, schema: Mapping[str, Any], words: Docs) -> dict[str, Any]:
    made = {**schema, "description": words.get((name, ""), "")}
    made["properties"] = {
        field: {**_described(_plain(kind), words.get((name, field), "")), **_unit(field), **_available(name, field)}
        for field, kind in schema["properties"].items()
    }
    if not made["required"]:
        del made["required"]
    return made


def _plain(schema: Any) -> Any:
    """Without what only Python or newer drafts understand."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {word: _plain(value) for word, value in schema.items()}
    if "pattern" in made:
        made["pattern"] = made["pattern"].replace(r"\Z", "$")
    if "enum" in made:
        made = {"type": "string", **made}
    if "$ref" in made and len(made) > 1:
        made = {"allOf": [{"$ref": made.pop("$ref")}], **made}
    return made


def _described(schema: dict[str, Any], text: str) -> dict[str, Any]:
    if "$ref" in schema:
        return {"allOf": [schema], "description": text}
    return {**schema, "description": text}


def _unit(field: str) -> dict[str, str]:
    unit = next((unit for ending, unit in UNITS.items() if f"_{field}".endswith(ending)), None)
    return {} if unit is None else {"x-unit": unit}


def _available(record: str, field: str) -> dict[str, Any]:
    for kind, names in NOT_YET.items():
        if kind.__name__ == record and field in names:
            return {"x-not-available-yet": NOT_AVAILABLE}
    for (kind, name), choices in BUILT.items():
        if (kind.__name__, name) == (record, field):
            return {"x-available": sorted(choices)}
    return {}
