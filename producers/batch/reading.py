"""Sources as streams of rows. Memory does not grow with their size."""

import csv
import gzip
import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from producers.batch import s3_sources
from producers.batch.plan import RowFault
from producers.batch.rows import Row
from producers.batch.sources import STDIN, Source
from schemas.errors import InvalidMessage

PARQUET_ROWS = 1000
MAX_LINE_BYTES = 1024 * 1024
BLOCK_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
CheckColumns = Callable[[Sequence[str]], None]
Blocks = Iterator[tuple[int, Sequence[Row]]]


class Reading:
    """One source that is read, as a context manager.

    check_columns: told the columns of a table before its first row; raises InvalidMessage for wrong ones
    """

    def __init__(self, source: Source, s3_endpoint_url: str = "", check_columns: CheckColumns | None = None) -> None:
        self._source, self._endpoint_url = source, s3_endpoint_url
        self._check_columns = check_columns or (lambda columns: None)
        self._folder = tempfile.TemporaryDirectory()
        self._file: Any = None
        self._share = 0.0
        self._number = 0

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self._source.name != STDIN:
            self._file.close()
        self._folder.cleanup()

    @property
    def bytes_read(self) -> int:
        """Of the source's size, about; 0 where the size is not known."""
        if self._source.format != "parquet" and self._source.size_bytes and self._file and not self._file.closed:
            return int(self._file.tell())
        return int(self._share * self._source.size_bytes)

    def rows(self, skip: int = 0) -> Iterator[tuple[int, Row]]:
        """Rows by number, from 1; the first `skip` are left out. A line of JSON comes as it stands, a row of a table as
        columns without those that have no value, so that defaults apply.

        Raises InvalidMessage for a file that cannot be read on, Transient when the store fails.
        """
        for first, rows in self.blocks(skip):
            yield from enumerate(rows, first)

    def blocks(self, skip: int = 0) -> Blocks:
        """The same as lists of neighbours and the number of the first."""
        name = self._source.name
        read = {"jsonl": self._jsonl, "csv": self._csv, "parquet": self._parquet}[self._source.format]
        try:
            yield from read(self._opened(), skip)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise InvalidMessage(f"{name}: after row {self._number}: not gzip that can be unpacked: {exc}") from None
        except UnicodeDecodeError as exc:
            raise InvalidMessage(f"{name}: after row {self._number}: not UTF-8: {exc.reason}") from None

    def _opened(self) -> IO[bytes]:
        name = self._source.name
        if name == STDIN:
            self._file = sys.stdin.buffer
        elif name.startswith("s3://"):
            path = Path(self._folder.name) / "object"
            s3_sources.fetch(name, path, self._endpoint_url)
            self._file = path.open("rb")
        else:
            self._file = Path(name).open("rb")  # noqa: SIM115 - __exit__ closes it
        if not hasattr(self._file, "peek"):  # an in-memory stdin
            self._file = io.BufferedReader(self._file)
        start: bytes = self._file.peek(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InvalidMessage(f"{name}: UTF-16; save it as UTF-8")
        return gzip.open(self._file) if start[:2] == b"\x1f\x8b" else self._file  # type: ignore[return-value]

    def _jsonl(self, stream: Any, skip: int) -> Blocks:
        number = 1
        while block := stream.read1(BLOCK_BYTES):
            if block[-1:] != b"\n":
                block += stream.readline(MAX_LINE_BYTES + 1)
            if number == 1:
                block = block.removeprefix(_BOM)
                if block.lstrip()[:1] == b"[":
                    right = "batch reads JSON lines, one object a line; `jq -c '.[]' FILE` makes them of it"
                    raise InvalidMessage(f"{self._source.name}: begins with [, like a JSON list; {right}")
            lines = block.split(b"\n")
            if not lines[-1]:
                lines.pop()
            if len(lines[-1]) > MAX_LINE_BYTES:
                what = f"row {number + len(lines) - 1}: longer than {MAX_LINE_BYTES} bytes; is it JSON lines?"
                raise InvalidMessage(f"{self._source.name}: {what}")
            wanted = lines[max(0, skip + 1 - number) :]
            number += len(lines)
            self._number = number - 1
            if wanted:
                yield number - len(wanted), wanted

    def _csv(self, stream: IO[bytes], skip: int) -> Blocks:
        csv.field_size_limit(MAX_LINE_BYTES)
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        reader = csv.DictReader(text, strict=True)
        try:
            if reader.fieldnames is None:
                raise InvalidMessage(f"{self._source.name}: empty; a CSV begins with a head that names its columns")
            self._check_columns(reader.fieldnames)
            for number, record in enumerate(reader, 1):
                self._number = number
                if number > skip:
                    yield number, [_row(record, len(reader.fieldnames))]
        except csv.Error as exc:
            raise InvalidMessage(f"{self._source.name}: after row {self._number}: not CSV: {exc}") from None
        finally:
            text.detach()  # it would close the stream, which may be standard input

    def _parquet(self, stream: IO[bytes], skip: int) -> Blocks:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        if stream is not self._file or not stream.seekable():  # it is read from its end
            path = Path(self._folder.name) / "table"
            with path.open("wb") as table:
                shutil.copyfileobj(stream, table)
            stream = path.open("rb")
        try:
            file = ParquetFile(stream)
            self._check_columns(file.schema_arrow.names)
            yield from self._table_rows(file, skip)
        except (ArrowException, OSError) as exc:
            what = f"after row {self._number}: not Parquet that can be read: {exc}"
            raise InvalidMessage(f"{self._source.name}: {what}") from None
        finally:
            if stream is not self._file:
                stream.close()

    def _table_rows(self, file: Any, skip: int) -> Blocks:
        groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
        first = number = 0
        while first < len(groups) and number + groups[first] <= skip:
            number += groups[first]
            first += 1
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=range(first, len(groups))):
            for record in batch.to_pylist():
                number += 1
                if number > skip:
                    self._number, self._share = number, number / file.metadata.num_rows
                    # Dates, decimals and bytes become what JSON has for them.
                    plain = msgspec.to_builtins(record, str_keys=True)
                    yield number, [{column: value for column, value in plain.items() if value is not None}]


def _row(record: dict[str | Any, Any], columns: int) -> Row:
    if None in record or None in record.values():
        cells = columns + len(record.get(None) or ()) - sum(value is None for value in record.values())
        return RowFault("", f"the row has {cells} cells, the head has {columns} columns")
    return {column: value for column, value in record.items() if value != ""}
