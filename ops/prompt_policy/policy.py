"""The prompt policy: packs of terms by category, combinations, severity, and the check of meaning. Pure; loading.py
reads files and loads the model.

Negative prompts say what is *not* wanted ("negative: gore, nudity" is how careful users keep a picture clean), so only
categories marked `everywhere` are looked up in them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from ops.prompt_policy import pack
from ops.prompt_policy.bounds import NEVER, NOBODY, Bound, Bounds, Finding, Score, never_a_person
from ops.prompt_policy.matcher import Matcher, has_word
from ops.prompt_policy.own_rules import OwnRules
from ops.prompt_policy.pack import CATEGORIES, SEVERITIES, Category, PackFile, Severity
from schemas.errors import Fatal
from schemas.prompt_rules import NEVER_LOOSENED
from schemas.prompts import MOST_DOUBTS, PromptDoubt
from schemas.texts import Text

Probability = Annotated[float, Meta(gt=0, le=1)]
OWN_TERMS = "tenant"
"""Named in a refusal in the place of a category, when a term of the tenant's own rules is at fault."""


class Semantic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The check of meaning. threshold: of the head's probability. near: of the cosine to a blocked example.
    review_from: of the probability from which a person is asked; None: nobody is."""

    model: Literal["all-MiniLM-L6-v2", "off"]
    threshold: Probability = 0.5
    near: Probability = 0.75
    review_from: Probability | None = None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Category
    everywhere: bool = False
    threshold: Probability | None = None
    review_from: Probability | None = None


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
    review_terms_from: Severity | None = None
    combination: tuple[_Combination, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """field: "shots[2].prompt", or "shots" when only all texts together match."""

    field: str
    category: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policy says of the texts of a job. doubts: what a person is to look at, where nothing refuses; the
    gravest first."""

    refusal: Refusal | None = None
    doubts: tuple[PromptDoubt, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """In one text. doubtful: score by category, 0 for a term; none that is refused."""

    refused: set[Category]
    doubtful: dict[Category, float]


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
    """Raises Fatal for a band of review that nothing falls into, since it is refused before."""
    general, right = file.semantic, "what is looked at by a person begins below what is refused"
    asked = NEVER if file.review_terms_from is None else SEVERITIES.index(file.review_terms_from)
    refused = SEVERITIES.index(file.refuse_from)
    if file.review_terms_from is not None and asked >= refused:
        found = f"found {file.review_terms_from}, refuse_from is {file.refuse_from}"
        raise Fatal(f"prompt policy: review_terms_from: {found}; {right}")

    def check(place: str, review_from: float | None, threshold: float) -> None:
        if review_from is not None and review_from >= threshold:
            found = f"found {review_from:g}, threshold is {threshold:g}"
            raise Fatal(f"prompt policy: {place} review_from: {found}; {right}")

    check("[semantic]", general.review_from, general.threshold)
    made = {}
    for table in file.category:
        threshold = general.threshold if table.threshold is None else table.threshold
        check(f"[[category]] {table.name},", table.review_from, threshold)
        review_from = next((at for at in (table.review_from, general.review_from) if at is not None), NOBODY)
        made[table.name] = never_a_person(table.name, Bound(refused, threshold, asked, review_from))
    return Bounds(made, general.near)


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

    def judge(self, texts: Sequence[Text], own: OwnRules | None = None) -> Judgement:
        """The first text that the policy refuses, or else what a person is to look at. Texts are read alone, then all
        together.

        own: the rules of the tenant whose texts they are
        """
        wanted = [text.text for text in texts if text.wanted]
        together = (Text("shots", " ".join(wanted)),) if len(wanted) > 1 else ()
        doubts: list[PromptDoubt] = []
        for text in (*texts, *together):
            if text.wanted and own is not None and own.terms.find(text.text):
                return Judgement(Refusal(text.field, OWN_TERMS))
            found = self._read(text.text, text.wanted, own.bounds if own is not None else self.bounds)
            if category := self._gravest(found.refused, text.wanted):
                return Judgement(Refusal(text.field, category))
            known = {doubt.category for doubt in doubts} if text in together else frozenset[str]()
            if doubtful := self._gravest(found.doubtful.keys() - known, text.wanted):
                doubts.append(PromptDoubt(field=text.field, category=doubtful, score=found.doubtful[doubtful]))
        return Judgement(doubts=self._worst(doubts))

    def _gravest(self, categories: Iterable[Category], wanted: bool) -> Category | None:
        """Of those that count in such a text."""
        counting = categories if wanted else self._everywhere & frozenset(categories)
        return min(counting, key=self._order.index, default=None)

    def _worst(self, doubts: Sequence[PromptDoubt]) -> tuple[PromptDoubt, ...]:
        """The gravest first. Of very many some are left out: a person sees all texts anyway."""
        return tuple(sorted(doubts, key=lambda doubt: self._order.index(doubt.category))[:MOST_DOUBTS])

    def categories(self, text: str) -> frozenset[Category]:
        """Every category for which `text` is refused."""
        return frozenset(self._read(text, True, self.bounds).refused)

    def _read(self, text: str, wanted: bool, bounds: Bounds) -> _Found:
        """What is in a text. wanted: False leaves out combinations and meaning."""
        tags = self._matcher.find(text)
        found = self._found(text, tags, bounds, wanted)
        beside = {tag.index for tag in tags if isinstance(tag, _Beside)}
        if wanted and beside:
            # A tenant that allows a category does not allow what a word beside it makes of it.
            policys = self._found(text, tags, self.bounds, wanted)
            refused, doubtful = found.refused | policys.refused, found.doubtful | policys.doubtful
            for at, one in enumerate(self._combinations):
                if at in beside and one.base in refused:
                    found.refused.add(one.category)
                elif at in beside and one.base in doubtful:
                    self._doubt(found, one.category, doubtful[one.base])
        for category in found.refused:
            found.doubtful.pop(category, None)
        return found

    def _found(self, text: str, tags: set[_Term | _Beside], bounds: Bounds, meaning: bool) -> _Found:
        """By terms; by meaning if none refuses."""
        found = _Found(set(), {})
        for term in tags:
            if isinstance(term, _Term):
                self._note(found, term.category, bounds.term(term.category, term.severity), 0.0)
        if meaning and not found.refused and self._meaning is not None:
            for category, score in self._meaning.scores(text).items():
                self._note(found, category, bounds.meaning(category, score), score.probability)
        return found

    def _note(self, found: _Found, category: Category, finding: Finding, score: float) -> None:
        if finding == "block":
            found.refused.add(category)
        elif finding == "review":
            self._doubt(found, category, score)

    @staticmethod
    def _doubt(found: _Found, category: Category, score: float) -> None:
        """A person is asked, but not about sexual/minors: that is refused."""
        if category == NEVER_LOOSENED:
            found.refused.add(category)
        else:
            found.doubtful[category] = max(found.doubtful.get(category, 0.0), score)


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
