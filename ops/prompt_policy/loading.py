"""Reads the prompt policy's files, and loads the model of its check of meaning."""

from pathlib import Path

from ops.prompt_policy.policy import Meaning, Policy, parse
from schemas.errors import Fatal


def load_policy(path: Path, *, semantic: bool = True) -> Policy:
    """The policy of a file and the packs that it names, which lie relative to it. Raises Fatal when one is missing or
    wrong, or the model of the semantic check cannot be loaded: without it nothing is let through.

    semantic: False leaves the model out
    """

    def read(name: str) -> str:
        try:
            return (path.parent / name).read_text()
        except (OSError, UnicodeDecodeError) as exc:
            raise Fatal(f"cannot read prompt policy {path.parent / name}: {exc}") from None

    return parse(read(path.name), read, _load_meaning if semantic else None)


def _load_meaning() -> Meaning:
    from ops.prompt_policy.semantic.meaning import load

    return load()
