"""The tables of docs/reference that repeat what the code says: written from it. `python -m ops.reference` writes them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; what is around it is written by hand.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import inspect

from ops.schemas_admin import docs
from ops.settings import PACKAGE_ROOT
from ops.stages import READ_OUTSIDE, STAGES, WRITTEN_BY_OPERATORS, WRITTEN_OUTSIDE
from schemas import shapes
from schemas.availability import BUILT, NOT_YET
from schemas.events import (
    Cost,
    EventType,
    JobFinished,
    JobReply,
    JobState,
    Progress,
    Provenance,
    PublishedFile,
    Reason,
    State,
    Timeline,
    Video,
)  # fmt: skip
from schemas.lifecycle import advance
from schemas.plan import Origin
from schemas.prompts import PromptVerdict
from schemas.request import JobOrder, JobRequest
from schemas.topics import HOUR_MS, LIVE_TOPICS, Topic
from schemas.work import FrameVerdict, Steering

FOLDER = PACKAGE_ROOT / "docs" / "reference"
RESULTS = (
    JobReply, JobFinished, JobState, Video, PublishedFile, Provenance, Reason, Progress, Cost, PromptVerdict,
    FrameVerdict, Timeline, Steering, Origin,
)  # fmt: skip
_MARKED = re.compile(r"(<!-- table: (?P<name>[\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---" for _ in head], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _bare(kind: inspect.Type) -> inspect.Type:
    if isinstance(kind, inspect.UnionType):
        return next(t for t in kind.types if not isinstance(t, inspect.NoneType))
    return kind


def _fields(record: type[Any], prefix: str = "") -> Iterator[tuple[str, type[Any], inspect.Field]]:
    """Every field, those of nested records right after it: path, its record, the field."""
    kind = inspect.type_info(record)
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        path, inner = prefix + field.encode_name, _bare(field.type)
        yield path, record, field
        if isinstance(inner, inspect.VarTupleType):
            inner, path = _bare(inner.item_type), path + "[]"
        if isinstance(inner, inspect.StructType):
            yield from _fields(inner.cls, path + ".")


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "none"
    if isinstance(value, msgspec.Struct):
        return "defaults of its fields"
    return f"`{msgspec.json.encode(value).decode()}`"


def request_fields() -> str:
    """Every field of a request."""
    words, rows = docs(), []
    for path, record, field in _fields(JobRequest):
        name = field.encode_name
        steps = tuple(0 if part == "[]" else part for part in re.findall(r"[^.\[\]]+|\[\]", path))
        meaning = words[record.__name__, name]
        if any(name in names for kind, names in NOT_YET.items() if kind is record):
            meaning = f"**Not available yet.** {meaning}"
        elif (record, name) in BUILT:
            meaning = f"{meaning} Available: {', '.join(sorted(BUILT[record, name]))}."
        rows.append((f"`{path}`", shapes.expected(steps), _default(field), meaning))
    return table(("field", "type and limits", "if left out", "meaning"), rows)


def order_fields() -> str:
    """Every field of an order."""
    words = docs()
    rows = [(f"`{path}`", _default(f), words["JobOrder", path]) for path, _, f in _fields(JobOrder)]
    return table(("field of `JobOrder`", "if left out", "meaning"), rows)


def _type(kind: inspect.Type) -> str:
    bare = _bare(kind)
    match bare:
        case inspect.StructType():
            return f"`{bare.cls.__name__}`"
        case inspect.VarTupleType():
            return f"list of {_type(bare.item_type)}"
        case inspect.DictType():
            return "object of text"
        case inspect.IntType():
            return "whole number"
        case inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in bare.values)
    return "text"


def result_fields(record: type[Any]) -> str:
    """The fields of one record, not those of records inside."""
    words, kind = docs(), inspect.type_info(record)
    assert isinstance(kind, inspect.StructType)
    rows = [(f"`{f.encode_name}`", _type(f.type), words[record.__name__, f.encode_name]) for f in kind.fields]
    return table((f"field of `{record.__name__}`", "type", "meaning"), rows)


def topic_rows() -> str:
    """Every topic, who writes and who reads it."""
    rows = []
    for topic in LIVE_TOPICS:
        writers = [s.name for s in STAGES.values() if _writes(s, topic)] + ["you"] * (topic in WRITTEN_OUTSIDE)
        writers += ["operators"] * (topic in WRITTEN_BY_OPERATORS)
        readers = [s.name for s in STAGES.values() if topic in s.reads] + ["you"] * (topic in READ_OUTSIDE)
        record = topic.record.__name__ if topic.record else "–"
        rows.append(
            (f"`{topic.entity}`", record, topic.key, str(topic.partitions), _kept(topic), ", ".join(writers),
             ", ".join(readers))
        )  # fmt: skip
    return table(("entity", "record", "key", "partitions", "retention", "written by", "read by"), rows)


def _writes(stage: Any, topic: Topic) -> bool:
    return topic in stage.writes or (stage.writes_replies and topic.entity.startswith("replies."))


def _kept(topic: Topic) -> str:
    if topic.retention_ms is None:
        return "compacted"
    hours = topic.retention_ms // HOUR_MS
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def lifecycle_rows() -> str:
    """Which event leads from which state to which."""
    live: tuple[State, ...] = ("accepted", "planned", "queued", "rendering", "assembling")
    rows = [(f"`{event}`", *(advance(state, event) or "–" for state in (None, *live))) for event in get_args(EventType)]
    return table(("event", "no state yet", *live), rows)


TABLES: dict[str, Callable[[], str]] = {
    "request": request_fields,
    "order": order_fields,
    "topics": topic_rows,
    "lifecycle": lifecycle_rows,
    **{record.__name__: partial(result_fields, record) for record in RESULTS},
}


def written(text: str) -> str:
    """A page with its tables as the code says. Raises KeyError for a table that nobody makes."""
    return _MARKED.sub(lambda found: found[1] + "\n" + TABLES[found["name"]]() + found[3], text)


def pages() -> list[Path]:
    """Pages with at least one table that is made here."""
    return [page for page in sorted(FOLDER.glob("*.md")) if _MARKED.search(page.read_text())]


if __name__ == "__main__":
    for page in pages():
        page.write_text(written(page.read_text()))
