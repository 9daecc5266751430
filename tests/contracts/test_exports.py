"""Ways out: what is committed is what is generated, and the real readers take it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.bus import clients
from ops.exports import connect, files, flink, tables
from ops.settings import PACKAGE_ROOT, Settings
from ops.stages import READ_OUTSIDE
from schemas import codec
from schemas.topics import REPLIES_DEFAULT, Topic
from tests.contracts import committed_registry, jvm
from tests.contracts.full_records import full, least

COMMITTED = files.committed()


# ---- what is committed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(PACKAGE_ROOT)))
def test_committed_is_generated(path: Path) -> None:
    """`make generated` writes them."""
    assert path.read_text("utf-8") == COMMITTED[path]


def test_nothing_else_lies_beside_it() -> None:
    for folder, _ in files.KINDS.values():
        if folder.startswith("ops/deploy/"):
            found = {path for path in (PACKAGE_ROOT / folder).iterdir() if path.name != "__pycache__"}
            assert found == {path for path in COMMITTED if path.parent == PACKAGE_ROOT / folder}


def test_topics_are_those_read_outside() -> None:
    assert set(tables.TOPICS) == set(READ_OUTSIDE)


def test_place_is_where_the_settings_are() -> None:
    assert (tables.DEFAULT.prefix, tables.DEFAULT.bootstrap_servers) == (
        Settings().prefix,
        Settings().bootstrap_servers,
    )


def test_written_files_are_reported_once(tmp_path: Path) -> None:
    wanted = {tmp_path / "a" / "x.sql": "one", tmp_path / "y.sql": "two"}
    assert files.write(wanted) == list(wanted)
    assert files.write({**wanted, tmp_path / "y.sql": "three"}) == [tmp_path / "y.sql"]
    assert (tmp_path / "y.sql").read_text() == "three"


def test_a_type_that_no_table_has_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        tables._kind("bytes", {})


# ---- Flink ---------------------------------------------------------------------------------------------------------


def _bounded(statement: str) -> str:
    """The statement for a table that ends where its topic ends now."""
    return statement.replace("\n);\n", ",\n  'scan.bounded.mode' = 'latest-offset'\n);\n")


def _shown(value: Any) -> str:
    """A value as Flink's Row.toString writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}={_shown(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value)


def _plain(value: Any) -> Any:
    """Plain data of a record, fields with their default too."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _row(columns: tuple[tables.Column, ...], plain: dict[str, Any]) -> str:
    """Columns of a record, with null where the record says nothing, as Flink writes them."""
    shown = []
    for column in columns:
        value = plain.get(column.name)
        inner = column.kind.columns
        shown.append(f"+I[{_row(inner, value)}]" if inner and value is not None else _shown(value))
    return ", ".join(shown)


def _send(settings: Settings, topic: Topic, format: codec.Format) -> list[msgspec.Struct]:
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


def _format(name: str) -> codec.Format:
    return "json" if name.endswith("_json.sql") else "avro"


@pytest.mark.kafka
def test_flink_reads_every_record_as_it_was_written(make_settings: Any, tmp_path: Path) -> None:
    """Flink's planner takes each statement, its connector and formats their options, and rows hold what was sent."""
    by_table = {tables.table_name(topic): topic for topic in tables.TOPICS}
    settings, expected = {}, set()
    for format in ("avro", "json"):
        settings[format] = make_settings(tables.TOPICS, prefix=f"{make_settings().prefix}{format}")
    with committed_registry.running() as registry:
        for format in ("avro", "json"):
            target = tables.Target(settings[format].prefix, settings[format].bootstrap_servers, registry)
            for name, statement in flink.files(target).items():
                if _format(name) != format:
                    continue
                table = name.removesuffix(".sql")
                topic = by_table[table.removesuffix("_avro").removesuffix("_json")]
                (tmp_path / name).write_text(_bounded(statement))
                for record in _send(settings[format], topic, format):
                    # What has its default is left out in JSON.
                    plain = json.loads(codec.encode(record, "json")) if format == "json" else _plain(record)
                    expected.add(f"row {table} +I[{_row(tables.columns_of(topic), plain)}, ")
        out = jvm.run("FlinkTables", jvm.FLINK, "read", *map(str, sorted(tmp_path.glob("*.sql"))))
    rows = [line for line in out.splitlines() if line.startswith("row ")]
    missing = [start for start in expected if not any(row.startswith(start) for row in rows)]
    assert not missing, "\n".join([*missing, "---- rows", *rows])
    assert len(rows) == len(expected) == 2 * len(flink.files())


# ---- Kafka Connect -------------------------------------------------------------------------------------------------

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
    payload = _plain(full(topic.record))
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
        elif not isinstance(value, dict | tuple):
            yield f"{before}{name}", _shown(value)


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
    sent = _send(settings, REPLIES_DEFAULT, "json")
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
