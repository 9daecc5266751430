"""The prompt policy: packs of terms by category, combinations, severity. Pure; the shell reads the files.

Negative prompts say what is *not* wanted ("negative: gore, nudity" is how careful users keep a picture clean), so only
categories marked `everywhere` are looked up in them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from schemas.errors import Fatal
from stream_processors.moderate import pack
from stream_processors.moderate.matcher import Matcher, has_word
from stream_processors.moderate.pack import CATEGORIES, SEVERITIES, Category, PackFile, Severity
from stream_processors.moderate.texts import Text


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Category
    everywhere: bool = False


class _Combination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"base": "with"}):
    category: Category
    base: Category
    words: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    packs: tuple[str, ...]
    category: tuple[_Table, ...]
    refuse_from: Severity = "medium"
    combination: tuple[_Combination, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """field: "shots[2].prompt", or "shots" when only all texts together match."""

    field: str
    category: str


@dataclass(frozen=True, slots=True)
class _Term:
    """What a match of a term means."""

    category: Category
    severity: Severity


@dataclass(frozen=True, slots=True)
class _Beside:
    """A word that makes a match of another category worse. index: of the combination."""

    index: int


class Policy:
    """A compiled policy. `version` goes into the audit trail."""

    def __init__(self, file: _File, packs: Sequence[PackFile]) -> None:
        self.version = file.version
        self.languages = tuple(sorted({one.language for one in packs}))
        self._order = tuple(table.name for table in file.category)
        self._everywhere = frozenset(table.name for table in file.category if table.everywhere)
        self._refuse_from = file.refuse_from
        self._combinations = file.combination
        terms: list[tuple[str, _Term | _Beside]] = [
            (term, _Term(one.category, one.severity)) for of in packs for one in of.pack for term in one.terms
        ]
        terms += [(word, _Beside(at)) for at, one in enumerate(file.combination) for word in one.words]
        self._matcher = Matcher(terms, (phrase for of in packs for one in of.pack for phrase in one.exceptions))

    def refuse(self, texts: Sequence[Text]) -> Refusal | None:
        """The first text that the policy refuses, or None. Texts are read alone, then all together."""
        for text in texts:
            found = self.categories(text.text, combine=text.wanted)
            if not text.wanted:
                found &= self._everywhere
            if found:
                return Refusal(text.field, self._worst(found))
        wanted = [text.text for text in texts if text.wanted]
        together = self.categories(" ".join(wanted)) if len(wanted) > 1 else frozenset()
        return Refusal("shots", self._worst(together)) if together else None

    def categories(self, text: str, *, combine: bool = True) -> frozenset[Category]:
        """Every category that `text` matches; with the combinations, unless told otherwise."""
        tags = self._matcher.find(text)
        least = SEVERITIES.index(self._refuse_from)
        found = {t.category for t in tags if isinstance(t, _Term) and SEVERITIES.index(t.severity) >= least}
        if combine:
            beside = {t.index for t in tags if isinstance(t, _Beside)}
            found |= {one.category for at, one in enumerate(self._combinations) if at in beside and one.base in found}
        return frozenset(found)

    def _worst(self, found: frozenset[Category]) -> Category:
        return min(found, key=self._order.index)


def parse(text: str, read: Callable[[str], str]) -> Policy:
    """Policy file (TOML) -> policy. Raises Fatal that names the fault.

    read: gives the text of a pack file that the policy names
    """
    try:
        file = msgspec.toml.decode(text, type=_File)
    except msgspec.DecodeError as exc:
        raise Fatal(f"prompt policy: {exc}") from None
    missing = [name for name in CATEGORIES if name not in {table.name for table in file.category}]
    if missing:
        raise Fatal(f"prompt policy: no [[category]] named {missing[0]}")
    empty = [word for combination in file.combination for word in combination.words if not has_word(word)]
    if empty:
        raise Fatal(f"prompt policy: {empty[0]!r} has no letter or digit")
    return Policy(file, [pack.parse(name, read(name)) for name in file.packs])
