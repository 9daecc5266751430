"""The inputs of a batch: files, globs, standard input, s3://."""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from producers.batch import s3_sources
from schemas.errors import InvalidMessage

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """One input.

    name:       what its rows are called in ids and messages
    size_bytes: 0 when unknown
    version:    differs when its content does, as far as can be told without reading it; "" when unknown
    """

    name: str
    format: Format
    size_bytes: int = 0
    version: str = ""

    @property
    def typed(self) -> bool:
        """Whether values have types; in CSV all are text."""
        return self.format != "csv"


def expand(inputs: Iterable[str], format: Format | None, s3_endpoint_url: str = "") -> list[Source]:
    """Every input in a fixed order. Raises InvalidMessage for one that is not there or of an unknown format."""
    found: list[Source] = []
    for text in inputs:
        if text == STDIN:
            found.append(Source(STDIN, format or "jsonl"))
        elif text.startswith("s3://"):
            objects = s3_sources.listed(text, s3_endpoint_url)
            found += [Source(uri, _format(uri, format), size, etag) for uri, size, etag in objects]
        else:
            found += [_file(path, format) for path in _paths(text)]
    seen: set[str] = set()
    for source in found:
        place = source.name if source.name == STDIN or "://" in source.name else os.path.realpath(source.name)
        if place in seen:
            raise InvalidMessage(f"{source.name}: given twice")
        seen.add(place)
    return found


def _paths(text: str) -> list[str]:
    if Path(text).exists() or not glob.has_magic(text):
        return [os.path.normpath(text)]
    found = sorted(path for path in glob.glob(text, recursive=True) if Path(path).is_file())
    if not found:
        raise InvalidMessage(f"{text}: no file has such a name")
    return [os.path.normpath(path) for path in found]


def _file(path: str, format: Format | None) -> Source:
    if Path(path).is_dir():
        raise InvalidMessage(f"{path}: a folder; name its files, e.g. '{path}/*.jsonl'")
    if not Path(path).exists():
        raise InvalidMessage(f"{path}: no such file")
    kind, facts = _format(path, format), Path(path).stat()
    if not Path(path).is_file():  # a pipe: nothing is known of it before it is read
        return Source(path, kind)
    return Source(path, kind, facts.st_size, f"{facts.st_size} bytes of {facts.st_mtime_ns}")


def _format(name: str, given: Format | None) -> Format:
    suffix = PurePosixPath(name.removesuffix(".gz")).suffix.lower()
    if given is None and suffix not in FORMATS:
        raise InvalidMessage(f"{name}: unknown format; expected {', '.join(FORMATS)}, or say --format")
    return given or FORMATS[suffix]
