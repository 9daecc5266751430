"""Reads the lane and size policy file."""

from pathlib import Path

from schemas.errors import Fatal
from schemas.limits import Limits, parse


def load(path: str) -> Limits:
    """The policy. Raises Fatal when the file is missing or wrong."""
    try:
        return parse(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as exc:
        raise Fatal(f"cannot read limits file {path}: {exc}") from None
