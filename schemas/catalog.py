"""Which schema has which id: the built-in file registry, and the place where another one is put.

Ids and schemas are committed (`schemas/ids.json`, `schemas/avro/versions/`), so that nothing else is needed to read a
topic. Reads package data once; does no other I/O.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Protocol

import fastavro

from schemas.errors import InvalidMessage

Schema = Any
"""A schema as fastavro has parsed it."""


class Catalog(Protocol):
    """Ids of schemas, both ways."""

    def id_of(self, record: str) -> int:
        """Id that frames of this record (class name) are written with."""

    def writer(self, schema_id: int) -> Schema:
        """Schema that a frame with this id was written with. Raises InvalidMessage for an id that nobody gave."""


class Committed:
    """The file registry. `ids`: id -> (record, version)."""

    def __init__(self, ids: Mapping[int, tuple[str, int]]) -> None:
        self._names = dict(ids)
        self._newest = {record: number for number, (record, _) in sorted(self._names.items(), key=lambda i: i[1][1])}
        self._parsed: dict[int, Schema] = {}

    def id_of(self, record: str) -> int:
        return self._newest[record]

    def writer(self, schema_id: int) -> Schema:
        if schema_id not in self._parsed:
            if schema_id not in self._names:
                raise InvalidMessage(f"schema id {schema_id} is not known; known are 1 to {max(self._names)}")
            record, version = self._names[schema_id]
            self._parsed[schema_id] = fastavro.parse_schema(load(f"versions/{file_name(record)}.{version}"))
        return self._parsed[schema_id]


def file_name(record: str) -> str:
    """JobRequest -> job-request."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in record).lstrip("-")


def load(name: str) -> dict[str, Any]:
    """A committed schema, e.g. "job-request" or "versions/job-request.1", as JSON data."""
    text = resources.files("schemas").joinpath(f"avro/{name}.avsc").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def committed() -> Committed:
    """The file registry as it is in this version of reelbus."""
    text = resources.files("schemas").joinpath("ids.json").read_text(encoding="utf-8")
    return Committed({int(number): (entry["record"], entry["version"]) for number, entry in json.loads(text).items()})


@cache
def reader(record: str) -> Schema:
    """The newest schema of a record, parsed: what we read with."""
    return fastavro.parse_schema(load(file_name(record)))


_in_use: list[Catalog] = []


def use(catalog: Catalog) -> None:
    """Read and write with this catalog from now on, in the whole process. Called once, at its start."""
    _in_use[:] = [catalog]


def in_use() -> Catalog:
    """The catalog of this process; the file registry unless `use` named another."""
    return _in_use[0] if _in_use else committed()
