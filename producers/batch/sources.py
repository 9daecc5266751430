"""Files, globs, standard input and s3:// as streams of rows. Memory does not grow with their size."""

import csv
import glob
import gzip
import io
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import msgspec

from producers.batch.rows import Raw, RowFault
from schemas.errors import InvalidMessage, Transient

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
PARQUET_ROWS = 1000
MAX_LINE_BYTES = 1024 * 1024
_decoder = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Source:
    """One input. name: what its rows are called in ids and messages; size_bytes: 0 when unknown."""

    name: str
    format: Format
    size_bytes: int = 0

    @property
    def typed(self) -> bool:
        """Whether values have types; in CSV all are text."""
        return self.format != "csv"


def expand(inputs: Iterable[str], format: Format | None, s3_endpoint_url: str = "") -> list[Source]:
    """Every input in a fixed order. Raises InvalidMessage for one that is not there or of an unknown format."""
    found: list[Source] = []
    for text in inputs:
        if text == "-":
            found.append(Source("-", format or "jsonl"))
        elif text.startswith("s3://"):
            found += [Source(uri, _format(uri, format), size) for uri, size in _s3_objects(text, s3_endpoint_url)]
        else:
            paths = (
                sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) and not Path(text).exists() else [text]
            )
            if not paths or not all(Path(path).is_file() for path in paths):
                raise InvalidMessage(f"{text}: no such file")
            found += [Source(path, _format(path, format), Path(path).stat().st_size) for path in paths]
    names = [source.name for source in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidMessage(f"{twice}: given twice")
    return found


def _format(name: str, given: Format | None) -> Format:
    suffix = PurePosixPath(name.removesuffix(".gz")).suffix.lower()
    if given is None and suffix not in FORMATS:
        raise InvalidMessage(f"{name}: unknown format; expected {', '.join(FORMATS)}, or say --format")
    return given or FORMATS[suffix]


class Position:
    """How far into a source a reader is."""

    def __init__(self) -> None:
        self.stream: IO[bytes] | None = None

    def bytes_read(self) -> int:
        """Bytes from its start, about; 0 where that cannot be told."""
        if self.stream is None or self.stream.closed or not self.stream.seekable():
            return 0
        return self.stream.tell()


def rows(
    source: Source, skip: int = 0, s3_endpoint_url: str = "", position: Position | None = None
) -> Iterator[tuple[int, Raw | RowFault | None]]:
    """Rows by number, from 1: its columns, what is wrong with it, or None for a blank line. The first `skip` are left
    out. Columns without a value (empty cell, null) are left out as well, so that defaults apply.

    Raises InvalidMessage for a file that cannot be read on, Transient when the store fails in the middle.
    """
    with tempfile.TemporaryDirectory() as folder, _opened(source, Path(folder), s3_endpoint_url) as stream:
        read = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[source.format]
        yield from read(stream, source.name, skip)


def _jsonl(stream: IO[bytes], name: str, skip: int) -> Iterator[tuple[int, Raw | RowFault | None]]:
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
        if number <= skip:
            continue
        if len(line) > MAX_LINE_BYTES:
            raise InvalidMessage(f"{name}: row {number}: longer than {MAX_LINE_BYTES} bytes; is it JSON lines?")
        text = line.strip()
        if not text:
            yield number, None
            continue
        try:
            yield number, _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            yield number, RowFault("", f"not a JSON object: {exc}")


def _csv(stream: IO[bytes], name: str, skip: int) -> Iterator[tuple[int, Raw | RowFault | None]]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.DictReader(text, restkey="", strict=True)
    number = 0
    while True:
        number += 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as exc:
            raise InvalidMessage(f"{name}: row {number}: not CSV in UTF-8: {exc}") from None
        if number <= skip:
            continue
        if "" in record or None in record.values():
            columns = len(reader.fieldnames or ())
            cells = columns + len(record.get("") or ()) - sum(value is None for value in record.values())
            yield number, RowFault("", f"the row has {cells} cells, the head has {columns} columns")
        else:
            yield number, {column: value for column, value in record.items() if value != ""}


def _parquet(stream: IO[bytes], name: str, skip: int) -> Iterator[tuple[int, Raw | RowFault | None]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        for batch in ParquetFile(stream).iter_batches(batch_size=PARQUET_ROWS):
            if number + batch.num_rows <= skip:
                number += batch.num_rows
                continue
            for record in batch.to_pylist():
                number += 1
                if number > skip:
                    yield number, {column: value for column, value in record.items() if value is not None}
    except ArrowException as exc:
        raise InvalidMessage(f"{name}: not Parquet that can be read: {exc}") from None


def _opened(source: Source, folder: Path, s3_endpoint_url: str) -> IO[bytes]:
    stream: IO[bytes]
    if source.name == "-":
        stream = sys.stdin.buffer
    elif source.name.startswith("s3://"):
        stream = _s3_file(source.name, folder / "object", s3_endpoint_url)
    else:
        stream = Path(source.name).open("rb")  # noqa: SIM115 - the caller closes it
    return gzip.open(stream) if source.name.endswith(".gz") else stream  # type: ignore[return-value]


def _s3(endpoint_url: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint_url or None)


def _s3_objects(uri: str, endpoint_url: str) -> list[tuple[str, int]]:
    """Objects that an s3:// address means: one, or with a * at its end all that begin so."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if "*" in key.rstrip("*") or not bucket or not key:
        raise InvalidMessage(f"{uri}: expected s3://bucket/key, or s3://bucket/beginning*")
    try:
        pages = _s3(endpoint_url).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key.rstrip("*"))
        listed: list[Mapping[str, Any]] = [entry for page in pages for entry in page.get("Contents", ())]
    except (BotoCoreError, ClientError) as exc:
        raise Transient(f"{uri}: {exc}") from None
    wanted = [(e["Key"], int(e["Size"])) for e in listed if key.endswith("*") or e["Key"] == key]
    if not wanted:
        raise InvalidMessage(f"{uri}: no such object")
    return [(f"s3://{bucket}/{name}", size) for name, size in sorted(wanted)]


def _s3_file(uri: str, target: Path, endpoint_url: str) -> IO[bytes]:
    """The object as a file on disk: a stream of hours would not survive, and Parquet is read from its end."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        _s3(endpoint_url).download_file(bucket, key, str(target))
    except (BotoCoreError, ClientError) as exc:
        raise Transient(f"{uri}: {exc}") from None
    return target.open("rb")
