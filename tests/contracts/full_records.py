"""Two records of any type, always the same: one with every field set, one with only what is required."""

import re
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
            wanted = 1_795_000_000_123 if name.endswith("_ms") else 8
            least_value = wanted if kind.ge is None else max(wanted, kind.ge)
            return least_value if kind.le is None else min(least_value, kind.le)
        case inspect.FloatType():
            return 1.5 if kind.le is None else min(1.5, kind.le - 0.25)
        case inspect.StrType():
            return next(text for text in _texts(name) if re.search(kind.pattern or "", text))
    raise TypeError(f"no value for {kind}")


def _texts(name: str) -> tuple[str, ...]:
    """Something for every pattern in use."""
    return (
        f"{name} 'é'",
        name.replace("_", "-"),
        f"https://example.com/{name}",
        f"s3://bucket/{name}",
        "#00ff7f",
        "ab" * 32,
    )
