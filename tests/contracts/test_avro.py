"""Typed structs and committed Avro schemas are one contract, and the codec keeps it, whatever the bytes."""

import io
import json
from collections.abc import Iterator
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
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_survives_avro_and_json(kind, data) -> None:
    record = data.draw(records(kind))
    framed, text = codec.encode(record), codec.encode(record, "json")
    assert codec.decode(kind, framed) == codec.decode(kind, text) == record
    assert codec.encode(codec.decode(kind, framed)) == framed
    assert codec.encode(codec.decode(kind, text), "json") == text


@_of_each_record
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
