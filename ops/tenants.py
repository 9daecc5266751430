"""Reads the tenants file and the secrets that it names."""

from pathlib import Path

from schemas.errors import Fatal
from schemas.tenants import TenantsFile, parse


def load(path: str) -> tuple[TenantsFile, dict[str, str]]:
    """The file, and the text of every secret file by its name there. Raises Fatal that never shows a secret."""
    file = Path(path)
    tenants = _parsed(file)
    names = {key.hmac_secret_file for entry in tenants.tenants.values() for key in entry.keys} - {""}
    return tenants, {name: _secret(file.parent / name) for name in sorted(names)}


def names(path: str) -> tuple[str, ...]:
    """Names of all tenants of the file; no secret file is opened. Raises Fatal."""
    return tuple(sorted(_parsed(Path(path)).tenants))


def _parsed(file: Path) -> TenantsFile:
    try:
        return parse(file.read_text())
    except (OSError, UnicodeDecodeError) as exc:
        raise Fatal(f"cannot read tenants file {file}: {exc}") from None


def _secret(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise Fatal(f"cannot read secret file {file}: {type(exc).__name__}") from None
