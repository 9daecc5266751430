"""Jobs from rows of a CSV table. Pure: lines of text in, jobs out, every fault named by row, column and value."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

import msgspec

from ops.simulate.jobs import SimJob, check_model
from schemas.errors import InvalidMessage
from schemas.registry import ModelEntry
from schemas.request import LANES, JobRequest, Output, Shot

COLUMNS = tuple(f.name for f in fields(SimJob))
REQUIRED = tuple(f.name for f in fields(SimJob) if f.default is MISSING)
MAX_FAULTS = 20
"""Faults told at once."""
MOST_S = 10 * 366 * 86_400.0


def read(lines: Iterable[str], models: Mapping[str, ModelEntry], pool: str) -> list[SimJob]:
    """Jobs of a CSV table with a head line; an empty cell is the default. Row 1 is the first below the head.

    Raises InvalidMessage with a line for each of the first faults.
    """
    table = csv.reader(lines)
    head = [name.strip() for name in next(table, [])]
    _check_head(head)
    jobs: list[SimJob] = []
    faults: list[str] = []
    for number, cells in enumerate(table, 1):
        if not any(cell.strip() for cell in cells):
            continue
        wrong = _faults(head, cells, models, pool)
        if not wrong:
            jobs.append(_job(head, cells))
        faults += [f"row {number}, {fault}" for fault in wrong]
        if len(faults) >= MAX_FAULTS:
            faults.append(f"... and the rows below row {number} were not looked at")
            break
    if faults:
        raise InvalidMessage("\n".join(faults))
    if not jobs:
        raise InvalidMessage("no rows below the head line")
    return jobs


def _check_head(head: list[str]) -> None:
    listed = ", ".join(COLUMNS)
    for name in head:
        if name not in COLUMNS:
            raise InvalidMessage(f"head line, column {name!r}: unknown; columns are {listed}")
        if head.count(name) > 1:
            raise InvalidMessage(f"head line, column {name!r}: stands there twice")
    for name in REQUIRED:
        if name not in head:
            raise InvalidMessage(f"head line: column {name} is missing; columns are {listed}")


def _given(head: list[str], cells: list[str]) -> dict[str, str]:
    return {name: cell.strip() for name, cell in zip(head, cells, strict=False) if cell.strip()}


def _faults(head: list[str], cells: list[str], models: Mapping[str, ModelEntry], pool: str) -> list[str]:
    """What is wrong with the cells of a row."""
    if len(cells) > len(head):
        return [f"column {len(head) + 1}: {cells[len(head)]!r} stands below no head"]
    given = _given(head, cells)
    found = [f"{name}: empty; a number of seconds is needed" for name in REQUIRED if name not in given]
    for name, text in given.items():
        try:
            value = _READERS[name](name, text)
            if name == "model":
                check_model(value, models, pool)
        except InvalidMessage as exc:
            found.append(str(exc))
    return found


def _job(head: list[str], cells: list[str]) -> SimJob:
    return SimJob(**{name: _READERS[name](name, text) for name, text in _given(head, cells).items()})


def _seconds(name: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise InvalidMessage(f"{name}: {text!r} is not a number of seconds from {least:g} to {most:g}")
    return value


def _like(record: type[msgspec.Struct], field: str) -> Callable[[str, str], Any]:
    """Reads what the contract says of a field of a request."""
    kind = next(f.type for f in msgspec.structs.fields(record) if f.name == field)

    def take(name: str, text: str) -> Any:
        try:
            return msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError as exc:
            raise InvalidMessage(f"{name}: {text!r}: {exc}") from None

    return take


def _lane(name: str, text: str) -> str:
    if text not in LANES:
        raise InvalidMessage(f"{name}: {text!r} is not one of {', '.join(LANES)}")
    return text


_READERS: dict[str, Callable[[str, str], Any]] = {
    "arrival_s": lambda name, text: _seconds(name, text, 0.0, MOST_S),
    "duration_s": _like(Shot, "duration_s"),
    "tenant": _like(JobRequest, "tenant"),
    "lane": _lane,
    "model": _like(JobRequest, "model"),
    "priority": _like(JobRequest, "priority"),
    "deadline_s": lambda name, text: _seconds(name, text, 0.0, MOST_S),
    "width_px": _like(Output, "width_px"),
    "height_px": _like(Output, "height_px"),
    "project": _like(JobRequest, "project"),
}
