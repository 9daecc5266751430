"""Confluent's frame, byte for byte; what is broken is refused; what other versions and other people wrote is read."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fastavro
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from ops import schemas_admin
from schemas import catalog, codec
from schemas.errors import InvalidMessage
from schemas.request import JobOrder, JobRequest, Shot
from tests.contracts.generated import records

RECORDS = {kind.__name__: kind for kind in schemas_admin.records()}
SMALL = JobRequest(job_id="a", shots=(Shot(prompt="x", duration_s=1.0),))


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return catalog.load(catalog.file_name(kind.__name__))


def _frame(schema_id: int, payload: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + payload


def _id(kind: type[msgspec.Struct]) -> int:
    return catalog.committed().id_of(kind.__name__)


def test_the_frame_is_confluents() -> None:
    """Every byte by hand, from the specifications: 0x00, id, each field; a text is its length in zigzag, and UTF-8; an
    option that is not given is branch 0."""
    texts = [b"a", b"cancel", b"default", "für".encode()]
    payload = b"".join(bytes([2 * len(text)]) + text for text in texts) + bytes(3)
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


@pytest.mark.parametrize("kind", RECORDS.values(), ids=RECORDS)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
