"""Typed structs and committed Avro schemas are one contract, and the codec keeps it, whatever the bytes."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import avro.io
import avro.schema
import fastavro
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import inspect

from ops import schema_files, schemas_admin
from schemas import catalog, codec
from schemas.errors import InvalidMessage
from schemas.request import JobOrder, JobRequest, Shot
from tests.contracts.generated import records

RECORDS = {kind.__name__: kind for kind in schemas_admin.records()}
SENT = (JobRequest, JobOrder)
SMALL = JobRequest(job_id="a", shots=(Shot(prompt="x", duration_s=1.0),))
LONG_MAX = 2**63 - 1


def _of_each_record(test: Any) -> Any:
    return pytest.mark.parametrize("kind", RECORDS.values(), ids=RECORDS)(test)


def _records_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Every record that is written out in a schema."""
    if isinstance(schema, list):
        for part in schema:
            yield from _records_in(part)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            yield schema
            for field in schema["fields"]:
                yield from _records_in(field["type"])
        for inner in ("items", "values"):
            yield from _records_in(schema.get(inner))


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return catalog.load(catalog.file_name(kind.__name__))


# ---- the files -----------------------------------------------------------------------------------------------------


def test_the_committed_schemas_are_what_the_structs_say_byte_for_byte() -> None:
    assert list(schema_files.stale()) == []
    assert list(schema_files.faults()) == []


def test_writing_from_nothing_gives_the_committed_files_and_a_second_time_nothing(tmp_path) -> None:
    written = schemas_admin.write(tmp_path)
    assert len(written) == len(RECORDS)
    for file in sorted((schema_files.FOLDER / "avro").glob("*.avsc")):
        assert (tmp_path / "avro" / file.name).read_bytes() == file.read_bytes()
    assert schemas_admin.write(tmp_path) == []
    assert list(schema_files.faults(tmp_path)) == []


def test_a_changed_record_gets_the_next_version_and_the_next_id_and_nothing_is_lost(tmp_path) -> None:
    schemas_admin.write(tmp_path)
    first = tmp_path / "avro/versions/job-order.1.avsc"
    first.write_text(older := first.read_text().replace("What a caller wants", "What callers want"))
    assert schemas_admin.write(tmp_path) == ["job-order.2"]
    assert first.read_text() == older
    known = schema_files.committed(tmp_path)["JobOrder"]
    assert [(v.number, v.id > len(RECORDS)) for v in known] == [(1, False), (2, True)]
    assert (tmp_path / "avro/job-order.avsc").read_text() == (tmp_path / "avro/versions/job-order.2.avsc").read_text()


@_of_each_record
def test_other_peoples_parsers_take_the_schema(kind) -> None:
    text = json.dumps(_schema(kind))
    assert avro.schema.parse(text).fullname == fastavro.parse_schema(json.loads(text))["name"]


@_of_each_record
def test_every_record_and_field_is_documented(kind) -> None:
    for record in _records_in(_schema(kind)):
        assert record["doc"], record["name"]
        for field in record["fields"]:
            assert field["doc"].endswith(".") or field["doc"].endswith("..."), f"{record['name']}.{field['name']}"


@_of_each_record
def test_every_measure_says_its_unit(kind) -> None:
    endings = {"_s": "s", "_px": "px", "_bytes": "bytes", "_ms": "ms since 1970-01-01T00:00Z", "fps": "frames/s",
               "_kbps": "kbit/s", "_db": "dB"}  # fmt: skip
    for record in _records_in(_schema(kind)):
        for field in record["fields"]:
            unit = next((unit for ending, unit in endings.items() if field["name"].endswith(ending)), None)
            assert field.get("unit") == unit, f"{record['name']}.{field['name']}"


@pytest.mark.parametrize("kind", SENT)
def test_every_number_and_text_that_callers_send_has_limits(kind) -> None:
    """An integer without an upper limit could be one that JSON can say and Avro cannot hold."""
    for record in _records_in(_schema(kind)):
        for field in record["fields"]:
            found = [part for part in _flat(field["type"]) if part != "null"]
            where = f"{record['name']}.{field['name']}"
            limits = field.get("limits", {})
            if found == ["long"] or found == ["double"]:
                assert limits.get("maximum", LONG_MAX + 1) <= LONG_MAX, where
                assert {"minimum", "exclusiveMinimum"} & limits.keys(), where
            elif found == ["string"]:
                assert {"values", "maxLength", "pattern"} & limits.keys(), where
            elif isinstance(found[0], dict) and found[0]["type"] == "array":
                assert "maxItems" in limits, where
                if found[0]["items"] == "long":
                    assert limits.get("items", {}).get("maximum", LONG_MAX + 1) <= LONG_MAX, f"{where}[]"


def _flat(kind: Any) -> list[Any]:
    return kind if isinstance(kind, list) else [kind]


# ---- limits --------------------------------------------------------------------------------------------------------


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    match kind:
        case inspect.StructType():
            yield kind.cls
            for field in kind.fields:
                yield from _structs(field.type)
        case inspect.UnionType():
            for part in kind.types:
                yield from _structs(part)
        case inspect.VarTupleType():
            yield from _structs(kind.item_type)


def _beyond(kind: Any, limits: dict[str, Any]) -> Iterator[Any]:
    """Values that a field's limits exclude, each by one of them alone."""
    for word, limit in limits.items():
        match word:
            case "minimum":
                yield limit - 1
            case "exclusiveMinimum" | "exclusiveMaximum":
                yield limit
            case "maximum":
                yield limit + 1
            case "multipleOf":
                yield limits["minimum"] + 1
            case "values":
                yield "no-such-value"
            case "pattern":
                yield "\n" * limits.get("minLength", 1)
            case "minLength":
                yield ""
            case "maxLength":
                yield "s3://" + "a" * limit
            case "minItems":
                yield []
            case "maxItems":
                yield [0] * (limit + 1)
            case "maxProperties":
                yield {str(n): "" for n in range(limit + 1)}


LIMITS = [
    (struct, field["name"], value)
    for struct in dict.fromkeys(s for kind in SENT for s in _structs(inspect.type_info(kind)))
    for record in [next(r for k in SENT for r in _records_in(_schema(k)) if r["name"] == struct.__name__)]
    for field in record["fields"]
    for value in _beyond(field["type"], field.get("limits", {}))
]


@pytest.mark.parametrize(("struct", "name", "value"), LIMITS, ids=lambda v: getattr(v, "__name__", str(v)[:20]))
def test_the_limits_in_the_schema_are_those_that_decoding_keeps(struct, name, value) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({name: value}, msgspec.defstruct("Alone", [(name, struct.__annotations__[name])]))
    assert name in str(refused.value)


def test_there_are_limits_of_every_kind() -> None:
    assert len(LIMITS) > 80


# ---- round trips ---------------------------------------------------------------------------------------------------


@_of_each_record
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_survives_avro_and_json(kind, data) -> None:
    record = data.draw(records(kind))
    framed, text = codec.encode(record), codec.encode(record, "json")
    assert codec.decode(kind, framed) == codec.decode(kind, text) == record
    assert codec.encode(codec.decode(kind, framed)) == framed
    assert codec.encode(codec.decode(kind, text), "json") == text


@_of_each_record
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_apaches_library_reads_what_we_write_and_we_read_what_it_writes(kind, data) -> None:
    record = data.draw(records(kind))
    schema = avro.schema.parse(json.dumps(_schema(kind)))
    framed = codec.encode(record)
    theirs = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(framed[codec.FRAME_BYTES :])))
    assert msgspec.convert(theirs, kind) == record
    written = io.BytesIO()
    avro.io.DatumWriter(schema).write(theirs, avro.io.BinaryEncoder(written))
    assert codec.decode(kind, framed[: codec.FRAME_BYTES] + written.getvalue()) == record


# ---- frames --------------------------------------------------------------------------------------------------------


def _frame(schema_id: int, payload: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + payload


def _id(kind: type[msgspec.Struct]) -> int:
    return catalog.committed().id_of(kind.__name__)


def test_the_frame_is_confluents() -> None:
    """Every byte by hand, from the specifications: 0x00, id, each field; a text is its length in zigzag, and UTF-8."""
    texts = [b"a", b"cancel", b"default", "für".encode()]
    payload = b"".join(bytes([2 * len(text)]) + text for text in texts)
    assert codec.encode(JobOrder(job_id="a", action="cancel", reason="für")) == _frame(_id(JobOrder), payload)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x00", "a frame of 1 bytes; byte 0x00, four of id, payload"),
        (codec.encode(SMALL)[:5], "a frame of 5 bytes"),
        (_frame(0, b"a"), "schema id 0 is not known; known are 1 to"),
        (_frame(2**32 - 1, b"a"), "schema id 4294967295 is not known"),
        (_frame(_id(JobOrder), codec.encode(SMALL)[5:]), "not a JobRequest: schema id .* is a JobOrder"),
        (codec.encode(SMALL) + b"\x00", "1 bytes after the end of the payload"),
        (codec.encode(SMALL)[:-1], "the payload does not fit schema id"),
        (_frame(_id(JobRequest), b"\xff" * 20), "the payload does not fit schema id"),
        (b"\x00" * (codec.MAX_RECORD_BYTES + 1), "the limit is 65536"),
        (b"", "not a valid JobRequest"),
    ],
)
def test_a_broken_frame_is_refused_in_a_sentence(raw, words) -> None:
    with pytest.raises(InvalidMessage, match=words):
        codec.decode(JobRequest, raw)


@_of_each_record
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_part_of_a_frame_passes_for_the_whole(kind, data) -> None:
    framed = codec.encode(data.draw(records(kind)))
    for length in range(1, min(len(framed), 400)):
        with pytest.raises(InvalidMessage):
            codec.decode(kind, framed[:length])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(RECORDS.values())), st.binary(max_size=200))
def test_any_payload_is_a_record_or_refused(kind, payload) -> None:
    try:
        record = codec.decode(kind, _frame(_id(kind), payload))
    except InvalidMessage:
        return
    assert codec.decode(kind, codec.encode(record)) == record


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 601.0])
def test_a_number_that_json_cannot_say_is_refused_in_avro_too(value) -> None:
    broken = msgspec.structs.replace(SMALL, shots=(Shot(prompt="x", duration_s=value),))
    with pytest.raises(InvalidMessage, match="duration_s"):
        codec.decode(JobRequest, codec.encode(broken))


# ---- other versions ------------------------------------------------------------------------------------------------


class _Other:
    """A catalog with one schema that is not ours, as a registry may have it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = fastavro.parse_schema(schema)

    def id_of(self, record: str) -> int:
        return 7

    def writer(self, schema_id: int) -> Any:
        return self.schema


@contextmanager
def _writing(schema: dict[str, Any]) -> Iterator[None]:
    catalog.use(_Other(schema))
    try:
        yield
    finally:
        catalog.use(catalog.committed())


def _written(schema: dict[str, Any], plain: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), plain)
    return _frame(7, out.getvalue())


def test_an_older_version_without_a_field_reads_as_its_default() -> None:
    older = _schema(JobOrder)
    older["fields"] = [field for field in older["fields"] if field["name"] != "reason"]
    with _writing(older):
        raw = _written(older, {"job_id": "a", "action": "cancel", "tenant": "default"})
        assert codec.decode(JobOrder, raw) == JobOrder(job_id="a", action="cancel")


def test_a_newer_version_with_a_field_that_we_do_not_know_is_read_without_it() -> None:
    newer = _schema(JobOrder)
    newer["fields"] = [{"name": "colour", "type": "string", "default": ""}, *newer["fields"]]
    plain = {"job_id": "a", "action": "cancel", "tenant": "default", "reason": "", "colour": "red"}
    with _writing(newer):
        assert codec.decode(JobOrder, _written(newer, plain)) == JobOrder(job_id="a", action="cancel")
    with pytest.raises(InvalidMessage, match="colour"):
        codec.decode(JobOrder, json.dumps(plain).encode())


def test_a_callers_own_schema_with_what_is_required_and_another_order_is_enough() -> None:
    own = {
        "type": "record", "name": "JobRequest", "namespace": "com.example", "fields": [
            {"name": "shots", "type": {"type": "array", "items": {"type": "record", "name": "Scene", "fields": [
                {"name": "duration_s", "type": "int"}, {"name": "prompt", "type": "string"}]}}},
            {"name": "job_id", "type": "string"},
        ],
    }  # fmt: skip
    own["fields"][0]["type"]["items"]["name"] = "Shot"
    with _writing(own):
        raw = _written(own, {"job_id": "a", "shots": [{"prompt": "x", "duration_s": 1}]})
        assert codec.decode(JobRequest, raw) == SMALL
