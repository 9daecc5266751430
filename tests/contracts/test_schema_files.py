"""The committed schema files: they fit together, new versions follow old ones, and nothing committed is edited."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops import schema_files, schema_gate, schemas_admin
from ops.cli.app import app
from ops.settings import PACKAGE_ROOT
from schemas import catalog
from schemas.errors import Fatal

Schema = dict[str, Any]
FIRST = "^Schemas: registry, gate, goldens"
"""Subject of the revision from which on a committed version is never edited; its hash may differ between copies."""


def _schema(record: str = "JobRequest") -> Schema:
    schema: Schema = json.loads(json.dumps(schemas_admin.current()[record]))
    return schema


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the committed schemas in which every record has one version."""
    schemas_admin.write(tmp_path / "schemas")
    return tmp_path / "schemas"


def _commit(folder: Path, record: str, schema: Schema) -> None:
    """The next version of a record, as `reelbus schemas write` would make it."""
    ids = json.loads((folder / "ids.json").read_text())
    version = 1 + max(entry["version"] for entry in ids.values() if entry["record"] == record)
    ids[str(len(ids) + 1)] = {"record": record, "version": version}
    (folder / "ids.json").write_text(json.dumps(ids))
    for name in (f"versions/{catalog.file_name(record)}.{version}", catalog.file_name(record)):
        (folder / f"avro/{name}.avsc").write_text(schemas_admin.text_of(schema))


def test_versions_come_back_in_order_with_their_ids(folder) -> None:
    newer = _schema()
    newer["fields"].append({"name": "colour", "type": "string", "default": "", "doc": "Colour."})
    _commit(folder, "JobRequest", newer)
    known = schema_files.committed(folder)["JobRequest"]
    assert [version.number for version in known] == [1, 2]
    assert known[1].schema == newer
    assert list(schema_files.faults(folder)) == []
    assert schema_gate.check([version.schema for version in known]) == []


def test_files_that_do_not_fit_together_are_named(folder) -> None:
    newest = folder / "avro/job-order.avsc"
    newest.write_text(newest.read_text() + " ")
    (folder / "avro/versions/job-order.9.avsc").write_text("{}")
    assert list(schema_files.faults(folder)) == [
        "job-order.9.avsc has no id in ids.json: `reelbus schemas write` gives ids; write no version by hand",
        "job-order.avsc is not version 1 of JobOrder: run `reelbus schemas write`",
    ]
    assert any("job-order.avsc is not what the struct JobOrder says" in fault for fault in schema_files.stale(folder))


def test_a_version_without_its_file_is_an_error(folder) -> None:
    (folder / "avro/versions/job-order.1.avsc").unlink()
    with pytest.raises(Fatal, match=r"version 1 of JobOrder, and there is no .*restore it from git"):
        schema_files.committed(folder)


def test_an_edited_version_is_found_against_a_git_revision(folder) -> None:
    root = folder.parent
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "seed"]):
        subprocess.run([*git, *words], check=True)
    assert list(schema_files.changed_since("HEAD", root)) == []
    _commit(folder, "JobOrder", _schema("JobOrder"))
    assert list(schema_files.changed_since("HEAD", root)) == []
    (folder / "avro/versions/job-order.1.avsc").write_text("{}")
    (folder / "avro/versions/command.1.avsc").unlink()
    ids = json.loads((folder / "ids.json").read_text())
    ids["1"]["record"] = "Command"
    (folder / "ids.json").write_text(json.dumps(ids))
    faults = list(schema_files.changed_since("HEAD", root))
    assert [fault.partition(" was ")[0] for fault in faults] == [
        "schemas/avro/versions/command.1.avsc", "schemas/avro/versions/job-order.1.avsc", "id 1",
    ]  # fmt: skip
    with pytest.raises(Fatal, match="no-such-revision"):
        list(schema_files.changed_since("no-such-revision", root))


def test_writing_from_nothing_gives_the_committed_files_and_a_second_time_nothing(tmp_path) -> None:
    written = schemas_admin.write(tmp_path)
    assert len(written) == len(schemas_admin.records())
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
    assert [(v.number, v.id > len(schemas_admin.records())) for v in known] == [(1, False), (2, True)]
    assert (tmp_path / "avro/job-order.avsc").read_text() == (tmp_path / "avro/versions/job-order.2.avsc").read_text()


def test_the_command_finds_nothing_wrong_with_what_is_committed() -> None:
    """`reelbus schemas check`: the whole gate, over every pair of versions."""
    done = CliRunner().invoke(app, ["schemas", "check", "--against", "HEAD"])
    assert (done.exit_code, done.stdout) == (0, "")


def test_no_version_was_edited_since_the_first_revision() -> None:
    log = ["git", "log", "--format=%H", f"--grep={FIRST}"]
    first = subprocess.run(log, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not first:
        pytest.skip(f"this checkout has no history back to a revision {FIRST}")
    assert list(schema_files.changed_since(first[-1], PACKAGE_ROOT)) == []
