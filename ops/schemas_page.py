"""docs/reference/schemas.md, made from the committed schemas: `python -m ops.schemas_page` writes it. Development."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops import schema_files
from ops.settings import PACKAGE_ROOT
from schemas.topics import LIVE_TOPICS

PAGE = PACKAGE_ROOT / "docs" / "reference" / "schemas.md"
HEAD = """# Schemas
Made from `schemas/avro/*.avsc` by `python -m ops.schemas_page`; a test holds it to them. Every record that a topic carries, field by field.
The `.avsc` files are what other languages read; `schemas/examples/<topic>/<case>.json` has examples of every topic.

## On the wire
| | |
|---|---|
| Avro | Confluent's frame: byte `0x00`, four bytes of schema id (big endian), payload. What reelbus writes, everywhere but on reply topics of JSON requests. |
| JSON | First byte `{`. Taken on every topic, checked against the same schema; unknown fields are errors, fields equal to their default are left out. |
| ids | `schemas/ids.json`, or those of [a registry of your own](../how-to/schema-registry.md). An id never changes its meaning. |
| subject | In a registry: the record's full name, e.g. `reelbus.v1.JobRequest` (RecordNameStrategy), because one record is carried by many topics. |
| a choice | A string with `limits.values`, not an Avro enum: a new value would break every older reader of an enum. Expect values that you do not know. |
| `unit`, `limits` | Properties of fields beyond plain Avro: the unit of a number, and limits in JSON Schema's words. Decoding keeps the limits. |
| size | At most 65536 bytes a record. |

## What may change
`reelbus schemas check` holds every pair of versions of a record against each other, in both directions (FULL_TRANSITIVE), by Apache's
checker and by these rules. CI runs it.

| change | may be | why |
|---|---|---|
| a field with a default is added | yes | older readers skip it, newer readers fill it in |
| limits are widened, a choice gets a value | yes | readers of your own should expect that; upgrade stages that read before those that write |
| docs, order of fields | yes | Avro resolves fields by name |
| a field without default is added or removed | no | one side could not read the other |
| a field is renamed, or gets another type | no | add a second field, keep the first |
| a default changes | no | records that leave it out would mean something else |
| a limit is narrowed, a choice loses a value | no | records that were accepted would become dead letters |
| a unit changes under a name | no | add a field whose name has the new unit |
| a field of `JobRequest` or `JobOrder` is removed | no | JSON that has it would be refused |
"""  # noqa: E501


def page() -> str:
    """The whole page."""
    newest = {record: versions[-1] for record, versions in schema_files.committed().items()}
    nested: dict[str, dict[str, Any]] = {}
    parts = [HEAD, "## Records of topics\n"]
    for record, version in newest.items():
        topics = [f"`{t.entity}`" for t in LIVE_TOPICS if t.record is not None and t.record.__name__ == record]
        parts.append(f"### {record}\n{_prose(version.schema)}\n\nTopics: {', '.join(topics) or 'none'}.\n\n")
        parts.append(_table(version.schema))
        for inner in _inner(version.schema):
            if inner["name"] not in newest:
                nested.setdefault(inner["name"], inner)
    parts.append("## Records inside others\n")
    parts += [f"### {name}\n{_prose(nested[name])}\n\n{_table(nested[name])}" for name in sorted(nested)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _inner(kind: Any) -> Iterator[dict[str, Any]]:
    """Records that are written out inside a type, itself left out."""
    for field in kind["fields"]:
        yield from _records(field["type"])


def _records(kind: Any) -> Iterator[dict[str, Any]]:
    if isinstance(kind, list):
        for part in kind:
            yield from _records(part)
    elif isinstance(kind, dict):
        if kind["type"] == "record":
            yield kind
            yield from _inner(kind)
        else:
            yield from _records(kind.get("items", kind.get("values")))


def _table(schema: dict[str, Any]) -> str:
    rows = [_row(field) for field in schema["fields"]]
    return "\n".join(["| field | type | default | limits | meaning |", "|---|---|---|---|---|", *rows]) + "\n"


def _row(field: dict[str, Any]) -> str:
    default = f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else "required"
    if isinstance(field.get("default"), dict) and field["default"]:
        default = "its defaults"
    unit = f" ({field['unit']})" if "unit" in field else ""
    limits = ", ".join(_limit(word, value) for word, value in field.get("limits", {}).items())
    cells = (f"`{field['name']}`", _type(field["type"]) + unit, default, limits, _prose(field))
    return f"| {' | '.join(cells)} |"


def _prose(part: dict[str, Any]) -> str:
    """A doc as Markdown that shows it as it is."""
    return "".join(f"\\{c}" if c in "|<*[" else c for c in str(part["doc"]))


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(_type(part) for part in (*kind[1:], kind[0]))
    if isinstance(kind, str):
        name = kind.rpartition(".")[2]
        return name if name == kind else f"[{name}](#{name.lower()})"
    match kind["type"]:
        case "record":
            return f"[{kind['name']}](#{kind['name'].lower()})"
        case "array":
            return f"list of {_type(kind['items'])}"
        case _:
            return f"map of {_type(kind['values'])}"


def _limit(word: str, value: Any) -> str:
    """A limit in words."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    sizes = {
        "minLength": "at least {} characters", "maxLength": "at most {} characters", "minItems": "at least {} items",
        "maxItems": "at most {} items", "minProperties": "at least {} entries", "maxProperties": "at most {} entries",
    }  # fmt: skip
    if word in signs:
        return f"{signs[word]} {value}"
    if word in sizes:
        return sizes[word].format(value)
    if word == "values":
        return " ".join(f"`{each}`" if each else "empty" for each in value)
    if word == "items":
        return "each: " + ", ".join(_limit(*pair) for pair in value.items())
    if word == "multipleOf":
        return f"a multiple of {value}"
    return "`" + str(value).replace("|", "\\|") + "`"


def write(file: Path = PAGE) -> None:
    """Write the page."""
    file.write_text(page())


if __name__ == "__main__":
    write()
