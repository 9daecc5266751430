"""Ways out: what is committed is what is generated, and the real readers take it."""

import ast
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
import typer
from typer.testing import CliRunner

from ops import schema_files
from ops.cli import exports
from ops.exports import files, flink, spark, tables
from ops.settings import PACKAGE_ROOT, Settings
from ops.stages import READ_OUTSIDE
from schemas import codec
from schemas.topics import REPLIES_DEFAULT
from tests.contracts import committed_registry, jvm
from tests.contracts.full_records import plain, send, shown

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


def _row(columns: tuple[tables.Column, ...], data: dict[str, Any]) -> str:
    """Columns of a record, with null where the record says nothing, as Flink writes them."""
    return ", ".join(_cell(column.kind, data.get(column.name)) for column in columns)


def _cell(kind: tables.Kind, value: Any) -> str:
    if kind.columns and value is not None:
        return f"+I[{_row(kind.columns, value)}]"
    if kind.items is not None and kind.items.columns and value is not None:
        return f"[{', '.join(_cell(kind.items, item) for item in value)}]"
    return shown(value)


def _format(name: str) -> codec.Format:
    return "json" if name.endswith("_json.sql") else "avro"


@pytest.mark.kafka
def test_flink_reads_every_record_as_it_was_written(make_settings: Any, tmp_path: Path) -> None:
    """Flink's planner takes each statement, its connector and formats their options, and rows hold what was sent."""
    by_table = {tables.table_name(topic): topic for topic in tables.TOPICS}
    expected = set()
    avro = make_settings(tables.TOPICS)
    settings = {"avro": avro, "json": make_settings((REPLIES_DEFAULT,), prefix=f"{avro.prefix}json")}
    with committed_registry.running() as registry:
        for format, place in settings.items():
            target = tables.Target(place.prefix, place.bootstrap_servers, registry)
            for name, statement in flink.files(target).items():
                if _format(name) != format:
                    continue
                table = name.removesuffix(".sql")
                topic = by_table[table.removesuffix("_avro").removesuffix("_json")]
                (tmp_path / name).write_text(_bounded(statement))
                for record in send(place, topic, _format(name)):
                    # What has its default is left out in JSON.
                    data = json.loads(codec.encode(record, "json")) if format == "json" else plain(record)
                    expected.add(f"row {table} +I[{_row(tables.columns_of(topic), data)}, ")
        out = jvm.run("FlinkTables", jvm.FLINK, "read", *map(str, sorted(tmp_path.glob("*.sql"))))
    rows = [line for line in out.splitlines() if line.startswith("row ")]
    missing = [start for start in expected if not any(row.startswith(start) for row in rows)]
    assert not missing, "\n".join([*missing, "---- rows", *rows])
    assert len(rows) == len(expected) == 2 * len(flink.files())


# ---- Spark ---------------------------------------------------------------------------------------------------------


def _constants(source: str) -> dict[str, Any]:
    """What a module assigns at its top, as far as it is plain data."""
    body = ast.parse(source).body
    return {
        ast.unparse(statement.targets[0]): ast.literal_eval(statement.value)
        for statement in body
        if isinstance(statement, ast.Assign)
    }


@pytest.mark.parametrize("name", [name for name in spark.files() if not name.endswith("_json.py")])
def test_spark_modules_carry_every_version(name: str) -> None:
    """Words are left out, types are not: each schema reads what the committed one of that id wrote."""
    given = _constants(spark.files()[name])
    topic = next(topic for topic in tables.TOPICS if topic.name("reelbus") == given["TOPIC"])
    assert topic.record is not None
    versions = schema_files.committed()[topic.record.__name__]
    assert list(given["SCHEMAS"]) == [version.id for version in versions]
    for version, text in zip(versions, given["SCHEMAS"].values(), strict=True):
        own, ours = fastavro.parse_schema(json.loads(text)), fastavro.parse_schema(version.schema)
        assert fastavro.schema.to_parsing_canonical_form(own) == fastavro.schema.to_parsing_canonical_form(ours)


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", files.KINDS)
def test_the_command_writes_for_ones_own_installation(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELBUS_SCHEMA_REGISTRY", "https://registry.example.com")
    app = typer.Typer()
    exports.register(app)
    options = ["--out", str(tmp_path / "made"), "--prefix", "eu", "--bootstrap-servers", "kafka.example.com:9092"]
    result = CliRunner().invoke(app, ["export", kind, *options])
    assert result.exit_code == 0, result.output
    made = {path: path.read_text("utf-8") for path in (tmp_path / "made").iterdir()}
    assert set(result.stdout.splitlines()) == set(map(str, made))
    target = tables.Target("eu", "kafka.example.com:9092", "https://registry.example.com")
    assert {path.name: text for path, text in made.items()} == files.KINDS[kind][1](target)
    texts = "".join(made.values())
    assert "eu.jobs.finished.v1" in texts
    assert "reelbus.jobs.finished.v1" not in texts.replace("e.g. reelbus.jobs.finished.v1", "")


def test_kinds_of_the_command_are_those_that_are_committed() -> None:
    assert list(exports.KINDS) == list(files.KINDS)
