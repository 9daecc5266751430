"""Policy packs: the terms of one category, language and severity, with their exceptions. Pure."""

from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from ops.prompt_policy.matcher import has_word
from schemas.errors import Fatal
from schemas.prompt_rules import Category as Category
from schemas.prompt_rules import Severity as Severity

CATEGORIES: tuple[Category, ...] = get_args(Category)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pack. exceptions: harmless phrases, in which no term of any pack counts."""

    category: Category
    severity: Severity
    terms: tuple[str, ...]
    exceptions: tuple[str, ...] = ()


class PackFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All packs of one language."""

    language: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*\Z")]
    pack: tuple[Pack, ...]


def parse(name: str, text: str) -> PackFile:
    """Pack file (TOML) -> packs. Raises Fatal that names the file and the fault."""
    try:
        file = msgspec.toml.decode(text, type=PackFile)
    except msgspec.DecodeError as exc:
        raise Fatal(f"prompt policy, {name}: {exc}") from None
    empty = [term for pack in file.pack for term in (*pack.terms, *pack.exceptions) if not has_word(term)]
    if empty:
        raise Fatal(f"prompt policy, {name}: {empty[0]!r} has no letter or digit")
    return file
