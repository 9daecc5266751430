"""Foreign schemas that would end or stop a process are refused; those that people write are not."""

import io
import json
import subprocess
import sys
from typing import Any

import fastavro
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ops import schema_shape, schemas_admin
from schemas.errors import InvalidMessage


def _record(*types: Any, name: str = "JobOrder") -> dict[str, Any]:
    fields = [{"name": f"f{n}", "type": kind} for n, kind in enumerate(types)]
    return {"type": "record", "name": name, "namespace": "reelbus.v1", "fields": fields}


def _nested(levels: int) -> Any:
    kind: Any = "long"
    for _ in range(levels):
        kind = {"type": "array", "items": kind}
    return kind


def _chain(length: int) -> dict[str, Any]:
    """Named records, each holding the one before by its name: flat as JSON, deep as a type."""
    kinds = [_record("long", name="R0")]
    kinds += [_record(f"R{n - 1}", name=f"R{n}") for n in range(1, length)]
    return _record(*kinds)


UNSAFE = {
    "a record inside itself": (_record(["null", "reelbus.v1.JobOrder"]), "contain themselves"),
    "in a list": (_record({"type": "array", "items": "JobOrder"}), "contain themselves"),
    "by way of another": (_record(_record(["null", "JobOrder"], name="Inner")), "contain themselves"),
    "an array of null": (_record({"type": "array", "items": "null"}), "take no bytes"),
    "an array of null, written out": (_record({"type": "array", "items": {"type": "null"}}), "take no bytes"),
    "an array of empty records": (_record({"type": "array", "items": _record(name="Empty")}), "without fields"),
    "fixed of no bytes": (_record({"type": "fixed", "name": "F", "size": 0}), "fixed of no bytes"),
    "deep arrays": (_record(_nested(40)), "nested deeper than 24 types"),
    "deeper JSON": (_record(_nested(200)), "nested deeper than 100 levels of JSON"),
    "a chain of names": (_chain(100), "nested deeper than 24 types"),
    "said to be parsed": (_record("long") | {"__fastavro_parsed__": True}, "begin with __"),
    "said to be parsed, inside": (_record({"type": "array", "items": "long", "__named_schemas": {}}), "begin with __"),
    "a text": ("string", "not a record"),
    "a union": ([_record("long")], "not a record"),
    "an enum": ({"type": "enum", "name": "E", "symbols": ["a"]}, "not a record"),
    "an unknown type": (_record("no.such.Type"), "not an Avro schema"),
    "no name": ({"type": "record", "fields": []}, "not an Avro schema"),
    "fields of no kind": (_record("long") | {"fields": 7}, "not an Avro schema"),
    "a type of no kind": (_record(7), "not an Avro schema"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_schema_is_refused_in_a_sentence(name) -> None:
    schema, words = UNSAFE[name]
    with pytest.raises(InvalidMessage, match=words):
        schema_shape.parsed(json.dumps(schema))


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ("", "not JSON"), ("[" * 100_000, "not JSON|nested deeper"), (" " * 600_000, "600000 bytes")],
)
def test_a_text_that_is_no_schema_is_refused(text, words) -> None:
    with pytest.raises(InvalidMessage, match=words):
        schema_shape.parsed(text)


@pytest.mark.parametrize("kind", schemas_admin.records(), ids=lambda kind: kind.__name__)
def test_all_of_ours_are_read(kind) -> None:
    schema = schemas_admin.current()[kind.__name__]
    assert schema_shape.parsed(json.dumps(schema))["name"] == f"reelbus.v1.{kind.__name__}"


def test_what_people_write_is_read() -> None:
    inner = _record("int", "float", "bytes", name="Inner")
    schema = _record(
        ["null", "string"], {"type": "string", "avro.java.string": "String"}, inner, "Inner", ["null", "Inner"],
        {"type": "enum", "name": "E", "symbols": ["a"]}, {"type": "map", "values": ["null", "Inner"]},
        {"type": "fixed", "name": "F", "size": 16}, {"type": "long", "logicalType": "timestamp-millis"},
    )  # fmt: skip
    assert schema_shape.parsed(json.dumps(schema))["name"] == "reelbus.v1.JobOrder"


SEGFAULT = """
import fastavro, io
schema = fastavro.parse_schema({"type": "record", "name": "R", "fields": [{"name": "x", "type": ["null", "R"]}]})
fastavro.schemaless_reader(io.BytesIO(b"\\x02" * 60000 + b"\\x00"), schema, None)
"""


def test_the_danger_is_real() -> None:
    """If this fails, fastavro has learned to refuse such a payload, and the rule about it could go."""
    assert subprocess.run([sys.executable, "-c", SEGFAULT], check=False).returncode < 0


_leaf = st.sampled_from(["long", "string", "boolean", "double", "bytes", "null", "int"])
_kinds = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.builds(lambda kind: {"type": "array", "items": kind}, inner),
        st.builds(lambda kind: {"type": "map", "values": kind}, inner),
        st.builds(
            lambda kind: ["null", kind], inner.filter(lambda kind: kind != "null" and not isinstance(kind, list))
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_kinds, max_size=4), st.binary(max_size=40))
def test_what_is_allowed_yields_no_more_values_than_the_payload_has_bytes(kinds, payload) -> None:
    try:
        schema = schema_shape.parsed(json.dumps(_record(*kinds)))
    except InvalidMessage:
        return
    try:
        read = fastavro.schemaless_reader(io.BytesIO(payload), schema, None)
    except Exception:  # as in the codec: fastavro names no set of errors
        return
    assert _count(read) <= len(payload)


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    if isinstance(value, list):
        return sum(map(_count, value))
    return 1
