"""The prompt policy: terms by category, exceptions, combinations. Pure; the shell reads the file.

Words are matched whole ("sex" is not in "Essex"); a term that ends in * matches every word that starts so. A run of
single letters is put together first and then searched for terms of four letters and more.

Negative prompts say what is *not* wanted ("negative: gore, nudity" is how careful users keep a picture clean), so only
categories marked `everywhere` are looked up in them.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from schemas.errors import Fatal
from stream_processors.moderate.normalise import fold, squeeze, views

Category = Literal[
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
]  # fmt: skip
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""OpenAI's moderation categories, so that a policy can be checked against other providers."""
MIN_JOINED_LETTERS = 4
_WORD = re.compile(r"[^\W_]+")
Term = tuple[str, ...]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Category
    terms: tuple[str, ...]
    everywhere: bool = False


class _Combination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"base": "with"}):
    category: Category
    base: Category
    words: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    category: tuple[_Table, ...]
    exceptions: tuple[str, ...] = ()
    combination: tuple[_Combination, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """field: "shots[2].prompt", or "shots" when only all prompts together match."""

    field: str
    category: Category


class _Index:
    """Terms by their first word. Looking a text up costs a few dictionary reads per word."""

    def __init__(self, terms: Sequence[str]) -> None:
        self._phrases: defaultdict[str, list[tuple[Term, bool]]] = defaultdict(list)
        self._prefixes: set[str] = set()
        self.joined: set[str] = set()
        # Stretched words ("coool") are looked up squeezed, so every term has a squeezed twin.
        twins = {(form, term.endswith("*")) for term in terms for form in (fold(term), squeeze(fold(term)))}
        for term, open_end in twins:
            words = tuple(_WORD.findall(term))
            self.joined.add("".join(words))
            if open_end and len(words) == 1:
                self._prefixes.add(words[0])
            else:
                self._phrases[words[0]].append((words, open_end))
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})

    def spans(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """(start, end) of every match, in words."""
        found = []
        for at, word in enumerate(words):
            if any(word[:length] in self._prefixes for length in self._prefix_lengths):
                found.append((at, at + 1))
            for term, open_end in self._phrases.get(word, ()):
                end = at + len(term)
                head, last = tuple(words[at : end - 1]), words[end - 1] if end <= len(words) else ""
                if head == term[:-1] and (last.startswith(term[-1]) if open_end else last == term[-1]):
                    found.append((at, end))
        return found


class Policy:
    """A compiled policy. `version` goes into the audit trail."""

    def __init__(self, file: _File) -> None:
        self.version = file.version
        self._order = tuple(table.name for table in file.category)
        self._everywhere = frozenset(table.name for table in file.category if table.everywhere)
        self._tables = {table.name: _Index(table.terms) for table in file.category}
        self._exceptions = _Index(file.exceptions)
        self._combinations = tuple((c.category, c.base, _Index(c.words)) for c in file.combination)

    def refuse(self, prompts: Sequence[str], negative_prompts: Sequence[str]) -> Refusal | None:
        """The first prompt that the policy refuses, or None. Prompts are read alone, then all together."""
        for name, texts in (("prompt", prompts), ("negative_prompt", negative_prompts)):
            for index, text in enumerate(texts):
                negative = name == "negative_prompt"
                found = self.categories(text, combine=not negative)
                if negative:
                    found &= self._everywhere
                if found:
                    return Refusal(f"shots[{index}].{name}", self._worst(found))
        together = self.categories(" ".join(prompts)) if len(prompts) > 1 else frozenset()
        return Refusal("shots", self._worst(together)) if together else None

    def categories(self, text: str, *, combine: bool = True) -> frozenset[Category]:
        """Every category that `text` matches; with the combinations, unless told otherwise."""
        if not text:
            return frozenset()
        forms = views(text)
        found: set[Category] = set()
        for form in forms.texts:
            found |= self._in_words(_WORD.findall(form), combine)
        for run in forms.joined:
            found |= self._in_run(run)
        return frozenset(found)

    def _in_words(self, words: list[str], combine: bool) -> set[Category]:
        allowed = {at for start, end in self._exceptions.spans(words) for at in range(start, end)}

        def hit(index: _Index) -> bool:
            return any(not allowed.issuperset(range(start, end)) for start, end in index.spans(words))

        found = {name for name, index in self._tables.items() if hit(index)}
        if not combine:
            return found
        return found | {category for category, base, index in self._combinations if base in found and hit(index)}

    def _in_run(self, run: str) -> set[Category]:
        if run in self._exceptions.joined:
            return set()
        return {
            name
            for name, index in self._tables.items()
            if run in index.joined or any(len(t) >= MIN_JOINED_LETTERS and t in run for t in index.joined)
        }

    def _worst(self, found: frozenset[Category]) -> Category:
        return min(found, key=self._order.index)


def parse(text: str) -> Policy:
    """Policy file (TOML) -> policy. Raises Fatal that names the fault."""
    try:
        file = msgspec.toml.decode(text, type=_File)
    except msgspec.DecodeError as exc:
        raise Fatal(f"prompt policy: {exc}") from None
    missing = [name for name in CATEGORIES if name not in {table.name for table in file.category}]
    if missing:
        raise Fatal(f"prompt policy: no [[category]] named {missing[0]}")
    named = [term for table in file.category for term in table.terms] + list(file.exceptions)
    named += [word for combination in file.combination for word in combination.words]
    empty = [term for term in named if not _WORD.findall(fold(term))]
    if empty:
        raise Fatal(f"prompt policy: {empty[0]!r} has no letter or digit")
    return Policy(file)
