"""The prompt policy: packs of terms by category, combinations, severity, and the check of meaning. Pure; loading.py
reads files and loads the model.

Negative prompts say what is *not* wanted ("negative: gore, nudity" is how careful users keep a picture clean), so only
categories marked `everywhere` are looked up in them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from ops.prompt_policy import pack
from ops.prompt_policy.bounds import Bounds, Score
from ops.prompt_policy.matcher import Matcher, has_word
from ops.prompt_policy.own_rules import OwnRules
from ops.prompt_policy.pack import CATEGORIES, SEVERITIES, Category, PackFile, Severity
from schemas.errors import Fatal

Probability = Annotated[float, Meta(gt=0, le=1)]
OWN_TERMS = "tenant"
"""Named in a refusal in the place of a category, when a term of the tenant's own rules is at fault."""


class Semantic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The check of meaning. threshold: of the head's probability. near: of the cosine to a blocked example."""

    model: Literal["all-MiniLM-L6-v2", "off"]
    threshold: Probability = 0.5
    near: Probability = 0.75


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Category
    everywhere: bool = False
    threshold: Probability | None = None


class Meaning(Protocol):
    """Scores of a text by category; the same for the same text."""

    def scores(self, text: str) -> Mapping[Category, Score]:
        """Empty for a text without words."""
        ...


class _Combination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"base": "with"}):
    category: Category
    base: Category
    words: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    packs: tuple[str, ...]
    category: tuple[_Table, ...]
    semantic: Semantic
    refuse_from: Severity = "medium"
    combination: tuple[_Combination, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """One text to judge. field: names it in a refusal. wanted: False for what should not be seen."""

    field: str
    text: str
    wanted: bool = True


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


def _bounds(file: _File) -> Bounds:
    least = SEVERITIES.index(file.refuse_from)
    thresholds = {
        table.name: file.semantic.threshold if table.threshold is None else table.threshold for table in file.category
    }
    return Bounds({table.name: least for table in file.category}, thresholds, file.semantic.near)


class Policy:
    """A compiled policy. `version` goes into the audit trail."""

    def __init__(self, file: _File, packs: Sequence[PackFile], meaning: Meaning | None) -> None:
        self.version = file.version
        self._meaning = meaning
        self.bounds = _bounds(file)
        self.languages = tuple(sorted({one.language for one in packs}))
        self._order = tuple(table.name for table in file.category)
        self._everywhere = frozenset(table.name for table in file.category if table.everywhere)
        self._combinations = file.combination
        terms: list[tuple[str, _Term | _Beside]] = [
            (term, _Term(one.category, one.severity)) for of in packs for one in of.pack for term in one.terms
        ]
        terms += [(word, _Beside(at)) for at, one in enumerate(file.combination) for word in one.words]
        self._matcher = Matcher(terms, (phrase for of in packs for one in of.pack for phrase in one.exceptions))

    def refuse(self, texts: Sequence[Text], own: OwnRules | None = None) -> Refusal | None:
        """The first text that the policy refuses, or None. Texts are read alone, then all together.

        own: the rules of the tenant whose texts they are
        """
        for text in texts:
            if category := self._refused(text.text, text.wanted, own):
                return Refusal(text.field, category)
        wanted = [text.text for text in texts if text.wanted]
        together = self._refused(" ".join(wanted), True, own) if len(wanted) > 1 else ""
        return Refusal("shots", together) if together else None

    def _refused(self, text: str, wanted: bool, own: OwnRules | None) -> str:
        """The gravest category that refuses the text, or ""."""
        if wanted and own is not None and own.terms.find(text):
            return OWN_TERMS
        found = self.categories(text, combine=wanted, bounds=own.bounds if own is not None else None)
        if not wanted:
            found &= self._everywhere
        return min(found, key=self._order.index, default="")

    def categories(self, text: str, *, combine: bool = True, bounds: Bounds | None = None) -> frozenset[Category]:
        """Every category that `text` matches. combine: False leaves out combinations and meaning. bounds: other ones
        than the policy's."""
        bounds = bounds or self.bounds
        tags = self._matcher.find(text)
        found = self._found(text, tags, bounds, combine)
        beside = {tag.index for tag in tags if isinstance(tag, _Beside)}
        if combine and beside:
            # A tenant that allows a category does not allow what a word beside it makes of it.
            bases = found | self._found(text, tags, self.bounds, combine)
            found |= {one.category for at, one in enumerate(self._combinations) if at in beside and one.base in bases}
        return frozenset(found)

    def _found(self, text: str, tags: set[_Term | _Beside], bounds: Bounds, meaning: bool) -> set[Category]:
        """By terms; by meaning if they find nothing."""
        found = {t.category for t in tags if isinstance(t, _Term) and bounds.refuse_term(t.category, t.severity)}
        if meaning and not found and self._meaning is not None:
            scores = self._meaning.scores(text)
            found = {category for category, score in scores.items() if bounds.refuse_meaning(category, score)}
        return found


def parse(text: str, read: Callable[[str], str], load: Callable[[], Meaning] | None = None) -> Policy:
    """Policy file (TOML) -> policy. Raises Fatal that names the fault.

    read: gives the text of a pack file that the policy names
    load: gives the check of meaning, where the policy has it on; left out, it is judged by terms alone
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
    meaning = load() if load is not None and file.semantic.model != "off" else None
    return Policy(file, [pack.parse(name, read(name)) for name in file.packs], meaning)
