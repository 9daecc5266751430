"""The Avro schema of a record, from its typed struct. Pure.

`schemas/avro/*.avsc` hold the result and are what other languages read; a test proves them equal to the structs.
Beyond plain Avro every field carries, where they apply, `unit` (from its name) and `limits` (JSON Schema's words).
A choice is a string with `limits.values`, not an Avro enum: a new symbol would break every older reader.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

NAMESPACE = "reelbus.v1"
UNITS = {
    "_at_ms": "ms since 1970-01-01T00:00Z", "deadline_ms": "ms since 1970-01-01T00:00Z",
    "not_before_ms": "ms since 1970-01-01T00:00Z", "_s": "s", "_px": "px", "_bytes": "bytes", "fps": "frames/s",
    "_kbps": "kbit/s", "_db": "dB",
}  # fmt: skip
Docs = Mapping[tuple[str, str], str]
"""(class, field) or (class, "") -> its docstring on one line."""


def schema_of(kind: type[msgspec.Struct], docs: Docs) -> dict[str, Any]:
    """Avro schema of a struct, as plain JSON data; nested records are written out where they first appear."""
    known = inspect.type_info(kind)
    assert isinstance(known, inspect.StructType)
    schema: dict[str, Any] = _record(known, docs, set())
    return schema


def _record(kind: inspect.StructType, docs: Docs, seen: set[str]) -> Any:
    name = kind.cls.__name__
    if name in seen:
        return f"{NAMESPACE}.{name}"
    seen.add(name)
    fields = [_field(name, field, docs, seen) for field in kind.fields]
    return {"type": "record", "name": name, "namespace": NAMESPACE, "doc": docs.get((name, ""), ""), "fields": fields}


def _field(owner: str, field: inspect.Field, docs: Docs, seen: set[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": field.encode_name, "type": _type(field.type, docs, seen)}
    if not field.required:
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        # A record as default: Avro wants every field of it.
        made["default"] = _plain(default)
    made["doc"] = docs.get((owner, field.encode_name), "")
    unit = next((unit for ending, unit in UNITS.items() if f"_{field.encode_name}".endswith(ending)), None)
    if unit is not None:
        made["unit"] = unit
    if limits := _limits(field.type):
        made["limits"] = limits
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.to_builtins(value)


def _type(kind: inspect.Type, docs: Docs, seen: set[str]) -> Any:
    match kind:
        case inspect.UnionType():
            (bare,) = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
            return ["null", _type(bare, docs, seen)]
        case inspect.StrType() | inspect.LiteralType():
            return "string"
        case inspect.BoolType():
            return "boolean"
        case inspect.IntType():
            return "long"
        case inspect.FloatType():
            return "double"
        case inspect.VarTupleType():
            return {"type": "array", "items": _type(kind.item_type, docs, seen)}
        case inspect.DictType():
            return {"type": "map", "values": _type(kind.value_type, docs, seen)}
        case inspect.StructType():
            return _record(kind, docs, seen)
    raise TypeError(f"no Avro type for {kind}")


def _limits(kind: inspect.Type) -> dict[str, Any]:
    if isinstance(kind, inspect.UnionType):
        return _limits(next(part for part in kind.types if not isinstance(part, inspect.NoneType)))
    if isinstance(kind, inspect.LiteralType):
        return {"values": list(kind.values)}
    names = {
        "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
        "multiple_of": "multipleOf", "pattern": "pattern",
    }  # fmt: skip
    size = {
        inspect.StrType: ("minLength", "maxLength"),
        inspect.VarTupleType: ("minItems", "maxItems"),
        inspect.DictType: ("minProperties", "maxProperties"),
    }
    found = {word: getattr(kind, name, None) for name, word in names.items()}
    low, high = size.get(type(kind), ("", ""))
    found |= {low: getattr(kind, "min_length", None), high: getattr(kind, "max_length", None)}
    if isinstance(kind, inspect.VarTupleType) and (items := _limits(kind.item_type)):
        found["items"] = items
    if found["pattern"] is not None:
        found["pattern"] = found["pattern"].replace(r"\Z", "$")  # Python's word for the very end
    return {word: value for word, value in found.items() if value is not None}
