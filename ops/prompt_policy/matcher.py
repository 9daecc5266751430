"""Finds the terms of all packs in one pass over a text (Aho-Corasick). Pure.

Words are matched whole ("sex" is not in "Essex"); a term that ends in * matches every word that starts so. Scripts that
put no spaces between words are matched anywhere. Every term is known backwards too, and cut in two by a space.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import ahocorasick

from ops.prompt_policy.normalise import fold, merge, squeeze, views

WORD = re.compile(r"[^\W_]+")
MIN_JOINED_LETTERS = 4
"""A run of single letters is searched for terms of this length; shorter ones must be the whole run."""
MIN_BACKWARDS_LETTERS = 4
MIN_UNSPACED_BACKWARDS_LETTERS = 3
MIN_OPEN_BACKWARDS_LETTERS = 5
"""Backwards an open term is an ending: "Mord*" would be in "Syndrom"."""
MIN_CUT_LETTERS = 6
MIN_SQUEEZED_LETTERS = 2
# Thai, kana and Han.
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_TORN = re.compile(rf"(?<={_UNSPACED.pattern})[\W_]+(?={_UNSPACED.pattern})")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    """What a pattern means. length: of the pattern. tag: None for an exception."""

    tag: T | None
    length: int


class _Automaton(Generic[T]):
    """Patterns with what they mean."""

    def __init__(self, patterns: Iterable[tuple[str, T | None]]) -> None:
        meanings: dict[str, set[T | None]] = {}
        for pattern, tag in patterns:
            meanings.setdefault(pattern, set()).add(tag)
        self._machine = ahocorasick.Automaton()
        for pattern, tags in meanings.items():
            self._machine.add_word(pattern, tuple(_Found(tag, len(pattern)) for tag in tags))
        if meanings:
            self._machine.make_automaton()
        self._empty = not meanings

    def hits(self, text: str) -> Iterator[tuple[int, int, T | None]]:
        """(start, end, tag) of every pattern in `text`."""
        if self._empty:
            return
        for last, found in self._machine.iter(text):
            for one in found:
                yield last + 1 - one.length, last + 1, one.tag


class Matcher(Generic[T]):
    """Terms, each with a tag, and exceptions: phrases in which no term counts."""

    def __init__(self, terms: Iterable[tuple[str, T]], exceptions: Iterable[str] = ()) -> None:
        tagged = [(form, tag) for term, tag in terms for form in _twins(term)]
        passed = [form for phrase in exceptions for form in _twins(phrase)]
        self._spoken = _Automaton[T](
            [(pattern, tag) for term, tag in tagged for pattern in _patterns(term)]
            + [(_forwards(phrase), None) for phrase in passed]
        )
        self._runs = _Automaton[T](
            [(run, tag) for term, tag in tagged for run in (_joined(term), _joined(term)[::-1])]
            + [(_joined(phrase), None) for phrase in passed]
        )

    def find(self, text: str) -> set[T]:
        """Tags of all terms in any reading of `text`."""
        if not text:
            return set()
        forms = views(text)
        found: set[T] = set()
        for form in forms.texts:
            spoken = f" {' '.join(WORD.findall(_TORN.sub('', form)))} "
            found |= _uncovered(list(self._spoken.hits(spoken)))
        for run in forms.joined:
            hits = [h for h in self._runs.hits(run) if h[1] - h[0] >= min(MIN_JOINED_LETTERS, len(run))]
            found |= _uncovered(hits)
        return found


def _uncovered(hits: list[tuple[int, int, T | None]]) -> set[T]:
    """Tags of the terms that no exception, or several that touch each other, cover."""
    spans = sorted((start, end) for start, end, tag in hits if tag is None)
    merged: list[list[int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    starts = [start for start, _ in merged]

    def covered(start: int, end: int) -> bool:
        at = bisect_right(starts, start) - 1
        return at >= 0 and end <= merged[at][1]

    return {tag for start, end, tag in hits if tag is not None and not covered(start, end)}


def _twins(term: str) -> set[str]:
    """The folded term, squeezed, since stretched words ("coool") are looked up squeezed, and with i and l merged, as in
    leet. What is hardly anything squeezed is left out: "xxx" is not looked up as "x"."""
    folded = fold(term)
    squeezed = squeeze(folded)
    forms = (folded, squeezed) if len(_joined(squeezed)) >= MIN_SQUEEZED_LETTERS else (folded,)
    return {form for one in forms for form in (one, merge(one))}


def _joined(term: str) -> str:
    return "".join(WORD.findall(term))


def _forwards(term: str) -> str:
    words = WORD.findall(term)
    if is_unspaced(term):
        return "".join(words)
    return f" {' '.join(words)}" + ("" if term.endswith("*") else " ")


def _patterns(term: str) -> Iterator[str]:
    forwards = _forwards(term)
    yield forwards
    words, is_open = WORD.findall(term), term.endswith("*")
    letters = sum(map(len, words))
    if is_unspaced(term):
        if letters >= MIN_UNSPACED_BACKWARDS_LETTERS:
            yield forwards[::-1]
        return
    if is_open and letters >= MIN_OPEN_BACKWARDS_LETTERS:
        yield forwards[::-1]
    if letters >= MIN_BACKWARDS_LETTERS:
        yield f" {' '.join(words)[::-1]} "
        yield f" {' '.join(word[::-1] for word in words)} "
    if len(words) == 1 and letters >= MIN_CUT_LETTERS:
        for at in range(2, letters - 1):
            yield f" {words[0][:at]} {words[0][at:]}" + ("" if is_open else " ")


def is_unspaced(term: str) -> bool:
    """True when the term is of a script that puts no spaces between words."""
    return _UNSPACED.search(term) is not None


def has_word(term: str) -> bool:
    """True when the term has a letter or digit that can be looked for."""
    return bool(WORD.findall(fold(term)))
