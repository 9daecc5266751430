"""Two records of any type, always the same: one with every field set, one with only what is required."""

from typing import Any

import msgspec
from msgspec import inspect


def full(kind: type[msgspec.Struct]) -> Any:
    """A record with every field set to something that is not its default: options too, lists of two."""
    return msgspec.convert(_struct(inspect.type_info(kind), every=True), kind)


def least(kind: type[msgspec.Struct]) -> Any:
    """A record with the required fields only."""
    return msgspec.convert(_struct(inspect.type_info(kind), every=False), kind)


def _struct(kind: Any, every: bool) -> dict[str, Any]:
    fields = [field for field in kind.fields if every or field.required]
    return {field.encode_name: _value(field.encode_name, field.type, every) for field in fields}


def _value(name: str, kind: Any, every: bool) -> Any:
    match kind:
        case inspect.UnionType():
            return _value(name, next(part for part in kind.types if not isinstance(part, inspect.NoneType)), every)
        case inspect.StructType():
            return _struct(kind, every)
        case inspect.VarTupleType():
            return [_value(f"{name}-{place}", kind.item_type, every) for place in ("a", "b")]
        case inspect.DictType():
            return {f"{name}-key": _value(name, kind.value_type, every)}
        case inspect.LiteralType():
            return kind.values[-1]
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 1_795_000_000_123 if name.endswith("_ms") else 7
        case inspect.FloatType():
            return 1.5
        case inspect.StrType():
            return f"https://example.com/{name}" if kind.pattern else f"{name} 'é'"
    raise TypeError(f"no value for {kind}")
