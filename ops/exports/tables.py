"""What the generators for Connect, Flink and Spark share: which topics leave, and their records as trees of columns.

Pure, apart from reading the committed schemas.
"""

from dataclasses import dataclass
from typing import Any, Literal

from schemas import catalog
from schemas.topics import (
    AUDIT_TRAIL,
    JOBS_EVENTS,
    JOBS_FINISHED,
    JOBS_REPLIES,
    JOBS_STATE,
    NOTIFY_LOG,
    REPLIES_DEFAULT,
    REVIEWS_OPEN,
    USAGE_LEDGER,
    USAGE_METERED,
    Topic,
)

TOPICS: tuple[Topic, ...] = (
    JOBS_STATE, JOBS_FINISHED, JOBS_REPLIES, REPLIES_DEFAULT, USAGE_METERED, USAGE_LEDGER, NOTIFY_LOG,
    JOBS_EVENTS, AUDIT_TRAIL, REVIEWS_OPEN,
)  # fmt: skip
"""Topics that are read outside; a test compares them with `ops.stages.READ_OUTSIDE`."""
TIMES = ("finished_at_ms", "updated_at_ms", "at_ms")
Scalar = Literal["string", "long", "double", "boolean"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the generated files point to.

    prefix:            of topic names
    bootstrap_servers: host:port[,host:port]
    schema_registry:   URL of a registry with Confluent's API
    """

    prefix: str = "reelbus"
    bootstrap_servers: str = "127.0.0.1:19092"
    schema_registry: str = "http://127.0.0.1:8081"


DEFAULT = Target()
"""What the committed files point to."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Type of a column: a scalar, an array or map of `items`, or a row of `columns`."""

    of: Scalar | Literal["array", "map", "row"]
    items: "Kind | None" = None
    columns: tuple["Column", ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """One field.

    nullable:  null stands for "none"
    defaulted: left out in JSON where it has its default
    """

    name: str
    kind: Kind
    nullable: bool
    defaulted: bool
    about: str


def columns_of(topic: Topic) -> tuple[Column, ...]:
    """Columns of the record that a topic carries, as its newest schema has them."""
    assert topic.record is not None
    schema = catalog.load(catalog.file_name(topic.record.__name__))
    return _kind(schema, {}).columns


def _kind(schema: Any, named: dict[str, Kind]) -> Kind:
    if isinstance(schema, str):
        return named[schema] if schema in named else Kind(_scalar(schema))
    match schema["type"]:
        case "array":
            return Kind("array", _kind(schema["items"], named))
        case "map":
            return Kind("map", _kind(schema["values"], named))
        case "record":
            kind = Kind("row", columns=tuple(_column(field, named) for field in schema["fields"]))
            named[f"{schema['namespace']}.{schema['name']}"] = kind
            return kind
    raise TypeError(f"no column for Avro type {schema['type']}")


def _scalar(name: str) -> Scalar:
    match name:
        case "string" | "long" | "double" | "boolean":
            return name
    raise TypeError(f"no column for Avro type {name}")


def _column(field: dict[str, Any], named: dict[str, Kind]) -> Column:
    kind = field["type"]
    nullable = isinstance(kind, list)
    if isinstance(kind, list):
        (kind,) = [part for part in kind if part != "null"]
    return Column(field["name"], _kind(kind, named), nullable, "default" in field, field["doc"])


def time_of(topic: Topic) -> str:
    """The column that says when: milliseconds since the epoch."""
    names = {column.name for column in columns_of(topic)}
    return next(name for name in TIMES if name in names)


def table_name(topic: Topic) -> str:
    """jobs.finished -> jobs_finished."""
    return topic.entity.replace(".", "_").replace("-", "_")
