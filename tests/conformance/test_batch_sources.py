"""Every format of a batch's inputs, plain and packed, from files, pipes and S3: the same rows everywhere."""

import gzip
import io
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.storage.local_s3 import S3Endpoint
from producers.batch.plan import RowFault
from producers.batch.reading import MAX_LINE_BYTES, Reading
from producers.batch.rows import parsed
from producers.batch.sources import Source, expand
from schemas.errors import InvalidMessage, Transient

pa = pytest.importorskip("pyarrow")
ROWS: list[dict[str, Any]] = [{"prompt": f"ball {n}", "duration_s": n + 0.5, "seed": n} for n in range(2500)]
GAP = 3
"""A row without a seed, and in files of lines a blank line after it."""
del ROWS[GAP]["seed"]


def jsonl(path: Path) -> None:
    lines = [json.dumps(row) + "\n" for row in ROWS]
    path.write_bytes(b"\xef\xbb\xbf" + "".join(lines).rstrip("\n").encode())


def csv(path: Path) -> None:
    lines = [f'"{row["prompt"]}",{row["duration_s"]},{row.get("seed", "")}' for row in ROWS]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["prompt,duration_s,seed", *lines]).encode())


def parquet(path: Path) -> None:
    from pyarrow import parquet as pq

    table = pa.table({"prompt": [r["prompt"] for r in ROWS], "duration_s": [r["duration_s"] for r in ROWS],
                      "seed": [r.get("seed") for r in ROWS]})  # fmt: skip
    pq.write_table(table, path, row_group_size=700)


WRITERS: dict[str, Callable[[Path], None]] = {"jsonl": jsonl, "csv": csv, "parquet": parquet}


def read(source: Source, skip: int = 0, url: str = "") -> list[tuple[int, Any]]:
    with Reading(source, url) as reading:
        return [(n, parsed(row) if isinstance(row, bytes) else row) for n, row in reading.rows(skip)]


def wanted(kind: str) -> list[tuple[int, Any]]:
    rows = [{k: str(v) for k, v in row.items()} for row in ROWS] if kind == "csv" else ROWS
    return list(enumerate(rows, 1))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_format(tmp_path: Path, kind: str, packed: bool) -> None:
    path = tmp_path / f"rows.{kind}"
    WRITERS[kind](path)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_name(f"{path.name}.gz")
    (source,) = expand([str(path)], None)
    assert (source.format, source.size_bytes) == (kind, path.stat().st_size)
    assert read(source) == wanted(kind)
    assert read(source, skip=2100) == wanted(kind)[2100:]
    assert read(source, skip=2500) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_how_far_it_is(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / f"rows.{kind}")
    (source,) = expand([str(tmp_path / f"rows.{kind}")], None)
    with Reading(source) as reading:
        so_far = [reading.bytes_read for _ in reading.rows()]
        assert 0 < so_far[0] < so_far[-1] <= source.size_bytes
        assert so_far == sorted(so_far)
        assert reading.bytes_read == source.size_bytes


def fill(pipe: int, content: bytes) -> None:
    with os.fdopen(pipe, "wb") as out:
        out.write(content)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("kind", WRITERS)
def test_standard_input(tmp_path: Path, kind: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[kind](tmp_path / "rows")
    raw = (tmp_path / "rows").read_bytes()
    end, start = os.pipe()
    with os.fdopen(end) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        writer = threading.Thread(target=fill, args=(start, gzip.compress(raw) if packed else raw))
        writer.start()
        (source,) = expand(["-"], kind)  # type: ignore[arg-type]
        assert read(source) == wanted(kind)
        writer.join()
        assert not stdin.closed


def test_globs_are_in_order_and_nothing_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jsonl", "a.csv", "notes[1].jsonl", "deep/c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert [s.name for s in expand(["*.jsonl"], None)] == ["b.jsonl", "notes[1].jsonl"]
    assert [s.name for s in expand(["./notes[1].jsonl"], None)] == ["notes[1].jsonl"]
    assert [s.name for s in expand(["**/c.*"], None)] == ["deep/c.jsonl"]
    for twice in (["b.jsonl", "./b.jsonl"], ["*.jsonl", str(tmp_path / "b.jsonl")]):
        with pytest.raises(InvalidMessage, match="given twice"):
            expand(twice, None)


def test_a_source_that_changed_has_another_version(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    (before,) = expand([str(path)], None)
    assert expand([str(path)], None) == [before]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    (after,) = expand([str(path)], None)
    assert after.version != before.version


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", "unknown format; expected .jsonl"),
        ("a.csv", b"", "empty; a CSV begins with a head"),
        ("a.csv", b'prompt\n"open', "after row 0: not CSV"),
        ("a.csv", b"prompt\n\xff\xfe", "not UTF-8"),
        ("a.csv", "prompt\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("a.jsonl", b' \t[{"prompt": "x"}]', "like a JSON list"),
        ("a.jsonl", b"x" * (MAX_LINE_BYTES + 1), "row 1: longer than"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 9000, mtime=0)[:-30], "not gzip that can be unpacked"),
        ("a.parquet", b"PAR1 no", "not Parquet that can be read"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidMessage, match=message):
        read(expand([str(tmp_path / name)], None)[0])


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    for text, message in (("a.jsonl", "no such file"), ("*.csv", "no file has such a name"), ("", "a folder; name")):
        with pytest.raises(InvalidMessage, match=message):
            expand([str(tmp_path / text)], None)


def test_a_csv_row_with_too_few_cells_is_wrong_and_the_next_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,seed\nx\ny,1,2\n\n"a\nb",3\n')
    rows = read(expand([str(tmp_path / "a.csv")], None)[0])
    assert [row.message if isinstance(row, RowFault) else row for _, row in rows] == [
        "the row has 1 cells, the head has 2 columns",
        "the row has 3 cells, the head has 2 columns",
        {"prompt": "a\nb", "seed": "3"},
    ]


def test_blank_lines_are_rows_too_so_that_numbers_are_those_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a":1}\n\n \n{"a":2}\n')
    assert read(expand([str(tmp_path / "a.jsonl")], None)[0]) == [(1, {"a": 1}), (2, None), (3, None), (4, {"a": 2})]


def test_parquet_types_become_what_json_has(tmp_path: Path) -> None:
    from pyarrow import parquet as pq

    pq.write_table(pa.table({"at": [datetime(2026, 1, 2, tzinfo=UTC)], "raw": [b"\x00"]}), tmp_path / "a.parquet")
    ((_, row),) = read(expand([str(tmp_path / "a.parquet")], None)[0])
    assert row == {"at": "2026-01-02T00:00:00Z", "raw": "AA=="}


@pytest.mark.s3
@pytest.mark.parametrize("kind", WRITERS)
def test_objects_of_a_store(
    tmp_path: Path, kind: str, moto_endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_endpoint.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_endpoint.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = boto3.client("s3", endpoint_url=moto_endpoint.url)
    store.create_bucket(Bucket=f"batch-{kind}")
    WRITERS[kind](tmp_path / "rows")
    raw = (tmp_path / "rows").read_bytes()
    for name in (f"in/b.{kind}", f"in/a.{kind}", f"other.{kind}"):
        store.upload_fileobj(io.BytesIO(raw), f"batch-{kind}", name)
    store.put_object(Bucket=f"batch-{kind}", Key="in/", Body=b"")
    found = expand([f"s3://batch-{kind}/in/*"], None, moto_endpoint.url)
    assert [s.name for s in found] == [f"s3://batch-{kind}/in/a.{kind}", f"s3://batch-{kind}/in/b.{kind}"]
    assert {s.size_bytes for s in found} == {len(raw)}
    assert all(read(source, url=moto_endpoint.url) == wanted(kind) for source in found)
    (one,) = expand([f"s3://batch-{kind}/other.{kind}"], None, moto_endpoint.url)
    store.put_object(Bucket=f"batch-{kind}", Key=f"other.{kind}", Body=raw + b"\n")
    assert expand([one.name], None, moto_endpoint.url)[0].version != one.version
    with pytest.raises(InvalidMessage, match="no such object"):
        expand([f"s3://batch-{kind}/other"], None, moto_endpoint.url)
    with pytest.raises(InvalidMessage, match="expected s3://"):
        expand([f"s3://batch-{kind}/*/b"], None, moto_endpoint.url)
    with pytest.raises(Transient, match="NoSuchBucket"):
        expand(["s3://nobody-has-this/x.csv"], None, moto_endpoint.url)
