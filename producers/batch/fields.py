"""Columns, dotted names and templates: putting values into a request's plain data. Pure."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from producers.batch.plan import Plan, Raw, RowFault, texts_of
from schemas import shapes
from schemas.errors import InvalidMessage

SHOT_COLUMNS = frozenset(
    ("prompt", "duration_s", "negative_prompt", "seed", "continuity", "style", "guidance", "steps")
)
"""Columns of a flat row that describe its one shot."""
BATCH_COLUMNS = frozenset(("custom_id", "method", "url", "body"))
"""Columns of a line of OpenAI's Batch format."""
METADATA = "metadata"
_PLACE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][\w.]*)\}")


def put(plain: dict[str, Any], name: str, value: Any, *, only_missing: bool = False) -> None:
    """Set a dotted field; a shot's field goes into every shot. What is on the way is copied, never changed: other jobs
    are made of the same row.
    """
    *parents, last = name.split(".")
    if parents == ["shots"] or (not parents and last in SHOT_COLUMNS):
        plain["shots"] = [_with(shot, last, value) for shot in plain.get("shots", ())]
        return
    here = plain
    for parent in parents:
        inner = here.get(parent, {})
        if not isinstance(inner, Mapping):
            raise RowFault(name, f"{name}: {parent} is not an object")
        here[parent] = dict(inner)
        here = here[parent]
    if last in here:
        if not only_missing:
            raise RowFault(name, f"{name}: given twice")
        return
    here[last] = text(value) if parents == [METADATA] else value


def _with(shot: Any, name: str, value: Any) -> Any:
    return {name: value, **shot} if isinstance(shot, Mapping) else shot


def nested(columns: Raw) -> dict[str, Any]:
    """A flat row: dotted names are nested, the columns of a shot make the one shot."""
    plain: dict[str, Any] = {}
    shot: dict[str, Any] = {}
    for name, value in columns.items():
        if name in SHOT_COLUMNS:
            shot[name] = value
        elif "." not in name and not _known(name):
            raise RowFault(name, f"{name[:40]}: no field of a request; {_hint(name, shapes.fields_at(()))}")
        else:
            put(plain, name, value)
    if shot:
        if "shots" in plain:
            raise RowFault("shots", f"shots: the row has shots and the column {min(shot)} of a single shot; give one")
        plain["shots"] = [shot]
    return plain


def filled(template: Any, columns: Raw) -> Any:
    """The template with columns in the places of {column}. A text that is one place keeps the column's type; `{{` and
    `}}` are braces.
    """
    if isinstance(template, Mapping):
        return {name: filled(value, columns) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [filled(value, columns) for value in template]
    if not isinstance(template, str):
        return template
    if (whole := _PLACE.fullmatch(template)) is not None and whole[1]:
        return _column(columns, whole[1])
    return _PLACE.sub(lambda place: text(_column(columns, place[1])) if place[1] else place[0][0], template)


def _column(columns: Raw, name: str) -> Any:
    if name in columns:
        return columns[name]
    here: Any = columns
    for part in name.split("."):
        if not isinstance(here, Mapping) or part not in here:
            raise RowFault(name, f"{name}: the template wants this column, and the row has no value for it")
        here = here[part]
    return here


def text(value: Any) -> str:
    """A value as text: itself, or as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check_columns(plan: Plan, source: str, columns: Sequence[str]) -> None:
    """Raises InvalidMessage for the head of a table that fits no row of it: better once than a million times."""
    if "" in columns:
        raise InvalidMessage(f"{source}: column {columns.index('') + 1} has no name")
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InvalidMessage(f"{source}: two columns are called {twice}")
    have = f"the file has {', '.join(columns)}"
    if plan.template is not None:
        wanted = {place[1] for value in texts_of(plan.template) for place in _PLACE.finditer(value) if place[1]}
        known = {*columns, *plan.matrix}
        lacking = sorted(name for name in wanted if not {name, name.partition(".")[0]} & known)
        if lacking:
            raise InvalidMessage(f"{source}: the template wants column {lacking[0]}; {have}")
        return
    unknown = next((name for name in columns if not _known(name)), None)
    if unknown is not None:
        hint = _hint(unknown, ()) or "is there a head, and are there commas between the columns?"
        raise InvalidMessage(f"{source}: column {unknown[:40]!r} is no field of a request; {hint}")


def _hint(name: str, known: Sequence[str]) -> str:
    names = [*SHOT_COLUMNS, *shapes.fields_at(()), "custom_id"]
    near = difflib.get_close_matches(name[:40], names, n=1)
    return f"did you mean {near[0]}?" if near else "known are " * bool(known) + ", ".join(known)


@lru_cache(1024)
def _known(name: str) -> bool:
    path = tuple(name.split("."))
    return (
        name in SHOT_COLUMNS | BATCH_COLUMNS
        or (path[0] == METADATA and len(path) == 2)
        or shapes.type_at(path) is not None
    )
