"""Schemas as code: from the typed structs to the committed files, and back to a verdict. Development and CI only."""

import ast
import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from schemas import audit, catalog, events, plan, prompt_rules, prompts, quotas, request, reviews, work
from schemas.avro_types import Docs, schema_of
from schemas.topics import LIVE_TOPICS

SCHEMAS = Path(catalog.__file__).parent
MODULES = (request, prompts, plan, work, quotas, events, audit, prompt_rules, reviews)


def records() -> list[type[msgspec.Struct]]:
    """Every record that a topic carries, by name."""
    kinds = {kind for topic in LIVE_TOPICS if topic.record is not None for kind in (topic.record, *topic.also)}
    return sorted(kinds, key=lambda kind: kind.__name__)


def docs(modules: Iterable[ModuleType] = MODULES) -> Docs:
    """Docstrings of structs and, as they stand below each field, of their fields."""
    return {key: text for module in modules for key, text in _docs(module)}


def _docs(module: ModuleType) -> Iterator[tuple[tuple[str, str], str]]:
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        yield (node.name, ""), " ".join((ast.get_docstring(node) or "").split())
        for field, below in zip(node.body, node.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield (node.name, name), " ".join(text.split())


def current() -> dict[str, dict[str, Any]]:
    """Schema of every record as the structs say, by class name."""
    words = docs()
    return {kind.__name__: schema_of(kind, words) for kind in records()}


def text_of(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write(schemas: Path = SCHEMAS) -> list[str]:
    """Bring the committed files in line with the structs; a changed schema becomes a new version with the next id.

    Returns what was written. Nothing is ever taken away: topics may hold records of every version.
    """
    ids_file = schemas / "ids.json"
    ids: dict[str, dict[str, Any]] = json.loads(ids_file.read_text()) if ids_file.exists() else {}
    written = []
    for name, schema in current().items():
        text = text_of(schema)
        newest = max((entry["version"] for entry in ids.values() if entry["record"] == name), default=0)
        file = catalog.file_name(name)
        if newest and (schemas / f"avro/versions/{file}.{newest}.avsc").read_text() == text:
            continue
        (schemas / "avro/versions").mkdir(parents=True, exist_ok=True)
        (schemas / f"avro/versions/{file}.{newest + 1}.avsc").write_text(text)
        (schemas / f"avro/{file}.avsc").write_text(text)
        ids[str(max(map(int, ids), default=0) + 1)] = {"record": name, "version": newest + 1}
        written.append(f"{file}.{newest + 1}")
    ids_file.write_text(json.dumps(ids, indent=2) + "\n")
    return written
