"""The rows of results, their stable columns, and batches in numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from producers.batch.plan import Plan
from producers.batch.results import row_of, write
from producers.batch.sources import Source
from producers.batch.standing import newest, summaries
from producers.batch.submitting import begin
from schemas.events import JobFinished, JobState
from tests.contracts.full_records import full

COLUMNS = {
    "batch_id": "string", "job_id": "string", "tenant": "string", "state": "string", "reason_code": "string",
    "reason_message": "string", "reason_field": "string", "uri": "string", "sha256": "string", "size_bytes": "int64",
    "frames": "int64", "duration_s": "double", "width_px": "int64", "height_px": "int64", "fps": "int64",
    "thumbnail_uri": "string", "model": "string", "lane": "string", "device_s": "double",
    "chunks_rendered": "int64", "chunks_reused": "int64", "requested_at_ms": "int64", "finished_at_ms": "int64",
    "metadata_json": "string",
}  # fmt: skip
"""What readers of exports rely on: append only."""


def test_the_columns_of_an_export_are_these(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [row_of(full(JobState)), row_of(full(JobFinished))]
    assert write(rows, tmp_path / "out.parquet") == 2
    table = parquet.read_table(tmp_path / "out.parquet")
    assert {field.name: str(field.type) for field in table.schema} == COLUMNS
    assert list(table.schema.names) == list(COLUMNS)
    assert write(rows, tmp_path / "out.jsonl") == 2
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == table.to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.parquet"]


def test_an_export_of_nothing_has_columns_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert write([], tmp_path / "out.parquet") == 0
    assert parquet.read_table(tmp_path / "out.parquet").schema.names == list(COLUMNS)


def test_a_row_has_what_the_record_has() -> None:
    done: JobFinished = replace(full(JobFinished), job="acme/order:1")
    row = row_of(done)
    assert done.video is not None
    assert done.cost is not None
    assert (row.tenant, row.job_id) == ("acme", "order:1")
    assert (row.uri, row.sha256, row.frames) == (done.video.file.uri, done.video.file.sha256, done.video.frames)
    assert (row.device_s, row.chunks_reused) == (done.cost.device_s, done.cost.chunks_reused)
    assert json.loads(row.metadata_json) == done.metadata
    bare = row_of(JobState(
        job="t/j", state="queued", sequence=2, lane="bulk", model="m", requested_at_ms=1, updated_at_ms=2,
    ))  # fmt: skip
    empty = {"uri", "sha256", "thumbnail_uri", "reason_code", "reason_message", "reason_field", "batch_id"}
    assert all(getattr(bare, name) == "" for name in empty)
    assert (bare.finished_at_ms, bare.metadata_json, bare.state) == (0, "{}", "queued")


def state(job: str, batch: str, sequence: int, name: Any, at_ms: int = 10) -> JobState:
    return JobState(
        job=job, state=name, sequence=sequence, lane="bulk", model="m", requested_at_ms=at_ms,
        updated_at_ms=at_ms + sequence, batch_id=batch,
    )  # fmt: skip


def test_summaries_count_each_job_once_by_its_newest_state() -> None:
    found = [
        state("t/a", "late", 1, "accepted", 50), state("t/a", "late", 3, "completed", 50),
        state("t/a", "late", 2, "rendering", 50), state("t/b", "early", 1, "queued", 20),
        state("t/c", "late", 1, "rejected", 40), state("t/d", "", 1, "queued"),
    ]  # fmt: skip
    known = newest(found)
    assert set(known) == {"t/a", "t/b", "t/c"}
    assert set(newest(found, "early")) == {"t/b"}
    batches = summaries(known.values())
    assert list(batches) == ["early", "late"]
    late = batches["late"]
    assert (late.states, late.total, late.unfinished) == ({"completed": 1, "rejected": 1}, 2, 0)
    assert (late.first_requested_at_ms, late.last_updated_at_ms) == (40, 53)
    assert (late.status, batches["early"].status) == ("finished", "in_progress")
    late.sending = begin(Plan("late"), [Source("f", "csv")], None, target="c/p", now_ms=1)
    assert (late.status, late.plain()["sent"]) == ("sending", 0)
    assert known["t/a"].ended
