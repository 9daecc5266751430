"""Golden examples: of every topic and every case, decoded and written again without a change, and true."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

from schemas import availability, catalog, codec, topics
from schemas.errors import JobRejected
from schemas.events import EventType, JobEvent, JobFinished, JobReply, JobState, ReplyType, State
from schemas.ids import canonical_json, chunk_id, fingerprint
from schemas.lifecycle import TERMINAL
from schemas.plan import Plan
from schemas.request import LANES, JobRequest
from schemas.work import ChunkTask
from tests.contracts import goldens

BY_ENTITY = {topic.entity: topic for topic in topics.LIVE_TOPICS if topic.record is not None}
FILES = sorted(goldens.FOLDER.glob("*/*"))


def _record(file: Path) -> Any:
    topic = BY_ENTITY[file.parent.name]
    also = {catalog.file_name(kind.__name__): kind for kind in topic.also}
    return codec.decode(also.get(file.stem, topic.record), file.read_bytes())  # type: ignore[arg-type]


RECORDS = [_record(file) for file in FILES]


def _of(kind: type[msgspec.Struct]) -> list[Any]:
    return [record for record in RECORDS if type(record) is kind]


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def test_every_topic_that_carries_records_has_an_example_and_none_is_of_another() -> None:
    assert {file.parent.name for file in FILES} == BY_ENTITY.keys()
    assert {file.suffix for file in FILES} == {".json"}


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_an_example_comes_back_as_it_was(file) -> None:
    record = _record(file)
    assert goldens.text_of(record) == file.read_text()
    framed = codec.encode(record)
    again = codec.decode(type(record), framed)
    assert again == record
    assert codec.encode(again) == framed
    assert canonical_json(again) == canonical_json(record)


def test_the_examples_are_what_the_stages_make() -> None:
    """If a stage now says something else on purpose: `python -m tests.contracts.goldens` writes the examples anew."""
    made = {path: goldens.text_of(record) for path, record in goldens.goldens().items()}
    assert made == {_name(file): file.read_text() for file in FILES}


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        (JobEvent, "type", set(get_args(EventType))),
        (JobState, "state", set(get_args(State))),
        (JobReply, "type", set(get_args(ReplyType))),
        (JobFinished, "state", set(TERMINAL) - {"deleted"}),
        (JobRequest, "lane", set(LANES)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_there_is_an_example_of_every_case(kind, field, values) -> None:
    assert {getattr(record, field) for record in _of(kind)} == values


@pytest.mark.parametrize("entity", BY_ENTITY)
def test_there_is_an_example_of_every_choice_of_records_between_stages(entity) -> None:
    kind: Any = BY_ENTITY[entity].record
    if kind in (JobEvent, JobState, JobReply, JobFinished, JobRequest):
        return
    found = [r for r in (_record(file) for file in FILES if file.parent.name == entity) if type(r) is kind]
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        if isinstance(field.type, inspect.LiteralType) and field.name != "lane":
            assert {getattr(record, field.name) for record in found} == set(field.type.values), field.name


def _paths(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every field that a type can have, e.g. shots.prompt."""
    match kind:
        case inspect.UnionType():
            for part in kind.types:
                yield from _paths(part, prefix)
        case inspect.VarTupleType():
            yield from _paths(kind.item_type, prefix)
        case inspect.StructType():
            for field in kind.fields:
                yield prefix + field.encode_name
                yield from _paths(field.type, f"{prefix}{field.encode_name}.")


def _used(plain: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(plain, list):
        for item in plain:
            yield from _used(item, prefix)
    elif isinstance(plain, dict):
        for name, value in plain.items():
            yield prefix + name
            yield from _used(value, f"{prefix}{name}.")


def test_the_requests_show_every_field_that_there_is() -> None:
    used = {path for request in _of(JobRequest) for path in _used(msgspec.json.decode(codec.encode(request, "json")))}
    assert set(_paths(inspect.type_info(JobRequest))) - used == set()


NOT_YET = {"every-field": "subtitles", "own-recordings": "subtitles", "subtitle-file": "subtitles"}
"""Examples of what version 1 can say and is not built yet, by job id, and the first field that is refused."""


def test_examples_ask_for_what_is_there_or_are_refused_by_name() -> None:
    refused = {}
    for request in _of(JobRequest):
        try:
            availability.check(request)
        except JobRejected as exc:
            refused[request.job_id] = exc.field if "not available yet" in exc.message else exc.message
    assert refused == NOT_YET


def test_hashes_in_the_examples_are_the_real_ones() -> None:
    """They name objects in stores: if one of these changes, every cached chunk is lost."""
    tasks, plans = _of(ChunkTask), _of(Plan)
    assert {task.chunk_id for task in tasks} == {chunk_id(task.spec) for task in tasks}
    assert tasks[0].chunk_id == "fe3b5238e288b551ac9e1d778d9f92a15dfd98679569a6f89cea5619b1860c86"
    assert all(plan.fingerprint == fingerprint(plan.request) for plan in plans)
