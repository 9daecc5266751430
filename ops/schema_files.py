"""The committed schemas as files: `schemas/ids.json` and `schemas/avro/`. For development, CI and `reelbus schemas`."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import schemas_admin
from schemas import catalog
from schemas.errors import Fatal

FOLDER = schemas_admin.SCHEMAS
"""Where they are: the package `schemas`."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a record's schema."""

    record: str
    number: int
    id: int
    """In the file registry."""
    schema: dict[str, Any]


def committed(folder: Path = FOLDER) -> dict[str, list[Version]]:
    """Versions by record, oldest first. Raises Fatal for a version that has no file."""
    found: dict[str, list[Version]] = {}
    for number, entry in json.loads((folder / "ids.json").read_text()).items():
        record, version = entry["record"], entry["version"]
        file = _file(folder, record, version)
        if not file.is_file():
            raise Fatal(f"id {number} is version {version} of {record}, and there is no {file}; restore it from git")
        made = Version(record, version, int(number), json.loads(file.read_text()))
        found.setdefault(record, []).append(made)
    return {record: sorted(versions, key=lambda v: v.number) for record, versions in sorted(found.items())}


def _file(folder: Path, record: str, version: int) -> Path:
    return folder / f"avro/versions/{catalog.file_name(record)}.{version}.avsc"


def faults(folder: Path = FOLDER) -> Iterator[str]:
    """What does not fit between ids.json, the versions and the newest schemas; sentences."""
    known = committed(folder)
    files = {_file(folder, v.record, v.number) for versions in known.values() for v in versions}
    for file in sorted(set((folder / "avro/versions").glob("*.avsc")) - files):
        yield f"{file.name} has no id in ids.json: `reelbus schemas write` gives ids; write no version by hand"
    for record, versions in known.items():
        if (numbers := [v.number for v in versions]) != list(range(1, len(versions) + 1)):
            yield f"{record} has the versions {numbers}; expected 1 to {len(versions)}, each once"
        newest = folder / f"avro/{catalog.file_name(record)}.avsc"
        if not newest.is_file() or newest.read_bytes() != _file(folder, record, versions[-1].number).read_bytes():
            yield f"{newest.name} is not version {versions[-1].number} of {record}: run `reelbus schemas write`"


def stale(folder: Path = FOLDER) -> Iterator[str]:
    """Records whose typed struct says something else than the committed schema, field by field; sentences."""
    for record, schema in schemas_admin.current().items():
        file = folder / f"avro/{catalog.file_name(record)}.avsc"
        text = file.read_text() if file.is_file() else ""
        if text != schemas_admin.text_of(schema):
            yield f"{file.name} is not what the struct {record} says: run `reelbus schemas write` and commit the result"


def changed_since(ref: str, root: Path) -> Iterator[str]:
    """Versions and ids of a git revision that are gone or different now; sentences. `root`: of the checkout.

    A version that was committed once may be in a topic: it is never edited, only followed by another.
    """
    for name in _git(root, "ls-tree", "-r", "--name-only", ref, "schemas/avro/versions").splitlines():
        before, file = _git(root, "show", f"{ref}:{name}"), root / name
        if not file.is_file() or file.read_text() != before:
            what = "changed" if file.is_file() else "gone"
            yield f"{name} was committed in {ref} and is {what}: restore it; a change is a new version"
    if not _git(root, "ls-tree", "--name-only", ref, "schemas/ids.json"):
        return
    now = json.loads((root / "schemas/ids.json").read_text())
    for number, entry in json.loads(_git(root, "show", f"{ref}:schemas/ids.json")).items():
        if now.get(number) != entry:
            yield f"id {number} was {entry['record']} version {entry['version']} in {ref}: an id keeps its meaning"


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Fatal(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
