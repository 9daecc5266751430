"""Two records of any type, always the same: one with every field set, one with only what is required."""

import re
from typing import Any

import msgspec
from msgspec import inspect

from ops.bus import clients
from ops.settings import Settings
from schemas import codec
from schemas.topics import Topic


def full(kind: type[msgspec.Struct]) -> Any:
    """A record with every field set to something that is not its default: options too, lists of two."""
    return msgspec.convert(_struct(inspect.type_info(kind), every=True), kind)


def least(kind: type[msgspec.Struct]) -> Any:
    """A record with the required fields only."""
    return msgspec.convert(_struct(inspect.type_info(kind), every=False), kind)


def plain(value: Any) -> Any:
    """Plain data of a record, fields with their default too."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def send(settings: Settings, topic: Topic, format: codec.Format) -> list[msgspec.Struct]:
    """A full and a bare record, which is all that a topic then holds; returns them."""
    assert topic.record is not None
    records = [full(topic.record), least(topic.record)]
    keyed = "job" if topic.key == "job" else topic.key
    # Two keys: a compacted topic shows one row for each.
    records[1] = msgspec.structs.replace(records[1], **{keyed: "another"})
    producer = clients.producer(settings)
    for record in records:
        producer.produce(topic.name(settings.prefix), codec.encode(record, format), getattr(record, keyed).encode())
    assert producer.flush(30) == 0
    return records


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


def shown(value: Any) -> str:
    """A value as Flink's Row.toString writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}={shown(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)
