"""Kafka Connect's own classes take the generated configurations, and a real worker runs one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.bus import clients
from ops.exports import connect, tables
from ops.settings import Settings
from schemas import codec
from schemas.topics import REPLIES_DEFAULT, Topic
from tests.contracts import jvm
from tests.contracts.full_records import full, plain, send, shown

CONFIGS = {name: json.loads(text) for name, text in connect.files().items() if name.endswith(".json")}
ON_CENTRAL = sorted(name for name, config in CONFIGS.items() if config["connector.class"] != connect.S3)


def _connect_schema(columns: tuple[tables.Column, ...]) -> list[dict[str, Any]]:
    """Columns as fields of Connect's JSON schema, as an Avro converter makes them."""
    return [{"field": c.name, "optional": c.nullable, **_connect_type(c.kind)} for c in columns]


def _connect_type(kind: tables.Kind) -> dict[str, Any]:
    match kind.of:
        case "row":
            return {"type": "struct", "fields": _connect_schema(kind.columns)}
        case "array":
            assert kind.items is not None
            return {"type": "array", "items": _connect_type(kind.items)}
        case "map":
            assert kind.items is not None
            return {"type": "map", "keys": {"type": "string"}, "values": _connect_type(kind.items)}
    return {"type": {"string": "string", "long": "int64", "double": "double", "boolean": "boolean"}[kind.of]}


def _judged(name: str, config: dict[str, str], folder: Path, record: dict[str, Any] | None = None) -> list[str]:
    """What Connect says of a configuration. Confluent's AvroConverter is not on Maven Central, so it is left out."""
    known = {key: value for key, value in config.items() if value != connect.AVRO}
    (folder / name).write_text(json.dumps(known))
    given = [str(folder / name)]
    if record is not None:
        (folder / "record.json").write_text(json.dumps(record))
        given.append(str(folder / "record.json"))
    return jvm.run("SinkConfiguration", jvm.CONNECT, *given).splitlines()


@pytest.mark.parametrize("name", ON_CENTRAL)
def test_connect_takes_the_configuration(name: str, tmp_path: Path) -> None:
    assert _judged(name, CONFIGS[name], tmp_path) == []


def test_connect_says_what_is_wrong(tmp_path: Path) -> None:
    wrong = {**CONFIGS["jdbc-jobs-finished.json"], "tasks.max": "many", "insert.moode": "upsert"}
    said = _judged("wrong.json", wrong, tmp_path)
    assert "unknown insert.moode" in said
    assert any(line.startswith("error tasks.max ") for line in said)


@pytest.mark.parametrize("topic", connect.PRIMARY_KEYS, ids=lambda topic: topic.entity)
def test_database_rows_are_flat_and_complete(topic: Topic, tmp_path: Path) -> None:
    """After the transforms every field is a scalar column, and only maps and arrays are missing."""
    config = connect.jdbc_sink(topic, tables.DEFAULT)
    columns = tables.columns_of(topic)
    assert topic.record is not None
    payload = plain(full(topic.record))
    envelope = {"schema": {"type": "struct", "optional": False, "fields": _connect_schema(columns)}, "payload": payload}
    said = _judged("jdbc.json", config, tmp_path, envelope)
    found = {words[1]: (words[2], words[3]) for line in said if (words := line.split(" ", 3))[0] == "column"}
    assert len(found) == len(said)
    assert {kind for kind, _ in found.values()} <= {"STRING", "INT64", "FLOAT64", "BOOLEAN"}
    assert {name: text for name, (_, text) in found.items()} == dict(_flat(payload, ""))
    assert config["primary.key.fields"] in found


def _flat(plain: dict[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, value in plain.items():
        if isinstance(value, dict) and name != "metadata":
            yield from _flat(value, f"{before}{name}_")
        elif not isinstance(value, dict | list):
            yield f"{before}{name}", shown(value)


@pytest.mark.kafka
def test_a_real_connect_worker_writes_replies_to_a_file(make_settings: Any, tmp_path: Path) -> None:
    """With the committed worker's properties, its secrets from the environment; what was aborted is not written."""
    settings = make_settings((REPLIES_DEFAULT,))
    target = tables.Target(settings.prefix, settings.bootstrap_servers)
    made = connect.files(target)
    (tmp_path / "sink.json").write_text(
        json.dumps({"name": "replies", "config": json.loads(made["file-replies-default.json"])})
    )
    # The committed addresses are for one worker on a machine; tests run side by side.
    worker = made["worker.properties"].replace(":8083", ":0").replace("plugin.path=plugins\n", "")
    (tmp_path / "worker.properties").write_text(worker)
    _aborted(settings, REPLIES_DEFAULT)
    sent = send(settings, REPLIES_DEFAULT, "json")
    replies = tmp_path / "replies.jsonl"
    with jvm.running("org.apache.kafka.connect.cli.ConnectStandalone", jvm.CONNECT, tmp_path,
                     "worker.properties", "sink.json", REELBUS_REPLIES_FILE=str(replies)) as process:  # fmt: skip
        lines = jvm.lines_of(replies, len(sent), process)
    assert sorted(lines) == sorted(codec.encode(record, "json").decode() for record in sent)


def _aborted(settings: Settings, topic: Topic) -> None:
    """A record that a transaction took back."""
    producer = clients.transactional_producer(settings, f"{settings.prefix}-aborting")
    producer.begin_transaction()
    producer.produce(topic.name(settings.prefix), b'{"never":"happened"}', b"k")
    producer.flush(30)
    producer.abort_transaction(30)
