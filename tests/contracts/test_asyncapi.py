"""The AsyncAPI document: valid for the official parser, and true: what it says is what the code takes and writes."""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from ops import asyncapi
from ops.bus import dead_letter
from ops.exports.asyncapi_channels import JSON_TOO, records_of
from ops.local.jars import cache_folder
from ops.stages import READ_OUTSIDE, WRITTEN_OUTSIDE
from ops.topics_wanted import wanted
from schemas import cloud_events, codec, envelope
from schemas.errors import InvalidMessage
from schemas.records import Incoming
from schemas.topics import LIVE_TOPICS
from tests.conftest import unavailable
from tests.contracts.full_records import full
from tests.contracts.generated import records

PACKAGES = ("@asyncapi/parser@3.6.3", "@asyncapi/avro-schema-parser@3.0.24")
CHECK = Path(__file__).with_name("asyncapi_check.cjs")
DOCUMENT = asyncapi.document()
SCHEMAS = DOCUMENT["components"]["schemas"]
BY_ENTITY = {topic.entity: topic for topic in LIVE_TOPICS}


# ---- the official parser -------------------------------------------------------------------------------------------


@cache
def _parser() -> Path:
    """Folder with the official parser, installed once outside the clone."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        unavailable("no node and npm: the official AsyncAPI parser cannot run")
    folder = cache_folder() / re.sub(r"[^a-z0-9.]+", "-", "-".join(PACKAGES)).strip("-")
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        if done.returncode != 0:
            unavailable(f"npm gave no {PACKAGES[0]}: {done.stderr[-500:]}")
        (folder / "installed").touch()
    return folder


def _diagnostics(document: dict[str, Any], folder: Path) -> list[str]:
    (folder / "asyncapi.json").write_text(json.dumps(document))
    command = ["node", str(CHECK), str(_parser()), str(folder / "asyncapi.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_official_parser_finds_nothing(tmp_path: Path) -> None:
    assert _diagnostics(DOCUMENT, tmp_path) == []


def test_the_official_parser_would_find_something(tmp_path: Path) -> None:
    broken = copy.deepcopy(DOCUMENT)
    broken["operations"]["send-orders.requested"]["action"] = "publish"
    broken["components"]["schemas"]["JobOrder.avro"]["schema"]["fields"][0]["type"] = "strong"
    found = _diagnostics(broken, tmp_path)
    assert any('"action" property must be equal to one of the allowed values' in text for text in found)
    assert any("JobOrder.avro" in text and "strong" in text for text in found)


# ---- topics --------------------------------------------------------------------------------------------------------


def test_every_topic_that_apply_makes_is_there_and_no_other() -> None:
    made = {channel["address"]: channel["bindings"]["kafka"] for channel in DOCUMENT["channels"].values()}
    assert made.pop(None) == {"bindingVersion": "0.5.0"}
    assert set(made) == {want.name for want in wanted("reelbus")}
    assert {name: binding["partitions"] for name, binding in made.items()} == {
        want.name: want.partitions for want in wanted("reelbus")
    }


def test_prefix_is_that_of_every_address() -> None:
    other = asyncapi.document("eu-1")
    addresses = [channel["address"] for channel in other["channels"].values() if channel["address"]]
    assert all(re.match(r"(dlq\.)?eu-1\.", address) for address in addresses)
    assert "reelbus." not in json.dumps([addresses, [c["bindings"] for c in other["channels"].values()]])


def test_operations_are_those_of_a_caller() -> None:
    found = {(o["action"], o["channel"]["$ref"].removeprefix("#/channels/")) for o in DOCUMENT["operations"].values()}
    expected = {("send", topic.entity) for topic in WRITTEN_OUTSIDE} | {("receive", t.entity) for t in READ_OUTSIDE}
    assert found == expected


def test_every_topic_names_its_records() -> None:
    for entity, topic in BY_ENTITY.items():
        names = {message["name"] for message in DOCUMENT["channels"][entity]["messages"].values()}
        assert names == {record.__name__ for record in records_of(topic)}


# ---- payloads ------------------------------------------------------------------------------------------------------


def _bundled(record: str) -> dict[str, Any]:
    """A record's JSON Schema with all that it refers to."""
    return {"$ref": f"#/components/schemas/{record}", "components": {"schemas": SCHEMAS}}


VALIDATORS = {kind: jsonschema.Draft7Validator(_bundled(kind.__name__)) for kind in JSON_TOO}


@pytest.mark.parametrize("kind", JSON_TOO, ids=lambda kind: kind.__name__)
def test_what_the_code_writes_fits_the_schema(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
    @given(records(kind))
    def check(record: msgspec.Struct) -> None:
        VALIDATORS[kind].validate(json.loads(msgspec.json.encode(record)))

    check()


def _broken(plain: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a record with one thing wrong: a field nobody knows, a wrong type, a required field gone."""
    for path, holder in list(_objects("", plain)):
        yield f"{path}.nobody", _changed(plain, path, {**holder, "nobody": 1})
        for name, value in holder.items():
            wrong = {"no": "object"} if not isinstance(value, dict) else "no object"
            yield f"{path}.{name}", _changed(plain, path, {**holder, name: wrong})


def _objects(path: str, plain: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(plain, dict):
        yield path, plain
        for name, value in plain.items():
            if name != "metadata":
                yield from _objects(f"{path}/{name}", value)
    elif isinstance(plain, list):
        for index, value in enumerate(plain):
            yield from _objects(f"{path}/{index}", value)


def _changed(plain: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    made = copy.deepcopy(plain)
    *steps, last = [int(step) if step.isdigit() else step for step in path[1:].split("/")]
    place = made
    for step in steps:
        place = place[step]
    place[last] = value
    return made


@pytest.mark.parametrize("kind", JSON_TOO, ids=lambda kind: kind.__name__)
def test_schema_and_code_refuse_the_same(kind: type[msgspec.Struct]) -> None:
    plain = json.loads(msgspec.json.encode(full(kind)))
    VALIDATORS[kind].validate(plain)
    cases = list(_broken(plain))
    assert len(cases) > 4
    for path, wrong in cases:
        with pytest.raises(InvalidMessage):
            codec.decode(kind, json.dumps(wrong).encode())
        assert not VALIDATORS[kind].is_valid(wrong), path


EXAMPLES = [
    (name, message["name"], example["name"], example["payload"])
    for name, channel in DOCUMENT["channels"].items()
    for message in channel["messages"].values()
    for example in message.get("examples", ())
]


@pytest.mark.parametrize(("channel", "record", "name", "payload"), EXAMPLES, ids=[f"{e[0]}/{e[2]}" for e in EXAMPLES])
def test_examples_are_records(channel: str, record: str, name: str, payload: Any) -> None:
    topic = BY_ENTITY["replies.default" if channel == asyncapi.CALLERS_REPLIES else channel]
    (kind,) = [kind for kind in records_of(topic) if kind.__name__ == record]
    codec.decode(kind, json.dumps(payload).encode())
    if kind in VALIDATORS:
        VALIDATORS[kind].validate(payload)


def test_what_is_not_built_is_said() -> None:
    assert "x-not-available-yet" in SCHEMAS["JobRequest"]["properties"]["narration"]
    assert "x-not-available-yet" not in SCHEMAS["JobRequest"]["properties"]["shots"]
    assert SCHEMAS["Output"]["properties"]["container"]["x-available"] == ["mp4"]


# ---- headers -------------------------------------------------------------------------------------------------------


def test_headers_that_stages_write_fit() -> None:
    validator = jsonschema.Draft7Validator(SCHEMAS["OurHeaders"], format_checker=jsonschema.FormatChecker())
    for topic in READ_OUTSIDE:
        assert topic.record is not None
        record = full(topic.record)
        made = cloud_events.headers("track", topic.entity, "default/j1", record, codec.encode(record))
        plain = {name: value.decode() for name, value in made}
        validator.validate(plain)
        assert set(plain) <= set(SCHEMAS["OurHeaders"]["properties"])


@given(st.from_regex(envelope.KEY_ID_PATTERN, fullmatch=True), st.integers(0, 10**15 - 1), st.binary(max_size=64))
def test_the_pattern_of_a_signature_is_what_is_parsed(key_id: str, signed_at_ms: int, signature: bytes) -> None:
    header = envelope.Signature(key_id, signed_at_ms, signature).header().decode()
    pattern = SCHEMAS["CallersHeaders"]["properties"][envelope.HEADER]["pattern"]
    assert (re.search(pattern, header) is not None) == (signature != b"")


def test_headers_of_dead_letters_are_those_that_are_written() -> None:
    record = Incoming("reelbus.jobs.requested.bulk.v1", 0, 1, b"k", b"v", (), 1)
    written = {name for name, _ in dead_letter.headers(record, "group", "moderate", ValueError("no"), 1)}
    assert set(SCHEMAS["DeadLetterHeaders"]["required"]) == written == set(SCHEMAS["DeadLetterHeaders"]["properties"])
