"""Reads the model registry file."""

from pathlib import Path

import msgspec

from schemas.errors import Fatal
from schemas.registry import ModelEntry, parse


def load(path: str) -> dict[str, ModelEntry]:
    """Entries by name, folders made absolute. Raises Fatal when the file is missing or wrong."""
    file = Path(path)
    try:
        entries = parse(file.read_text())
    except OSError as exc:
        raise Fatal(f"cannot read model registry {path}: {exc.strerror}") from None
    return {name: _resolved(entry, file.parent) for name, entry in entries.items()}


def _resolved(entry: ModelEntry, folder: Path) -> ModelEntry:
    local = (folder / entry.source).resolve()
    return msgspec.structs.replace(entry, source=str(local)) if local.is_dir() else entry
