"""Texts made of the examples' templates and words, the same for the same seed. Train and test share neither."""

import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from stream_processors.moderate.examples.obfuscations import FITS, OBFUSCATIONS

Split = Literal["train", "test"]
FOLDER = Path(__file__).parent
SEED = 20261127
MAX_FILLINGS = 400
"""Of one template; beyond that they differ in little."""
CARRIERS = (
    "{}", "a video of {} at night", "Slow pan: {}, cinematic light, 35mm", "please show me {} now",
    "4k | {} | trending", "first a green meadow, then {}, then the sea",
)  # fmt: skip
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Example:
    """One text. label: its category, or its kind when it is harmless. source: index of the template that it is from.
    about: the word of its first slot."""

    label: str
    text: str
    source: int
    about: str = ""


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text())


def _filled(template: str, slots: Mapping[str, Sequence[str]], chance: Random) -> Iterator[tuple[str, str]]:
    """(text, word of its first slot): a template's fillings, all of them in random order, at most MAX_FILLINGS."""
    names = list(dict.fromkeys(_SLOT.findall(template)))
    every = list(itertools.product(*(slots[name] for name in names)))
    for words in chance.sample(every, min(len(every), MAX_FILLINGS)):
        yield template.format(**dict(zip(names, words, strict=True))), words[0] if words else ""


def _examples(label: str, templates: Sequence[str], slots: Mapping[str, Sequence[str]], count: int) -> list[Example]:
    """At most `count` different texts, the templates in turn."""
    chance = Random(f"{SEED} {label}")
    fillings = [(at, _filled(template, slots, chance)) for at, template in enumerate(templates)]
    made: dict[str, Example] = {}
    while fillings and len(made) < count:
        for entry in list(fillings):
            filled = next(entry[1], None)
            if filled is None:
                fillings.remove(entry)
            elif len(made) < count:
                made.setdefault(filled[0], Example(label, filled[0], entry[0], filled[1]))
    return list(made.values())


def blocked(split: Split, count: int) -> list[Example]:
    """At most `count` paraphrases of every category."""
    file = _read("blocked.toml")
    return [
        example
        for meaning in file["meaning"]
        for example in _examples(meaning["category"], meaning[split], file["slots"][split], count)
    ]


def benign(split: Split, count: int) -> list[Example]:
    """At most `count` harmless texts of every kind."""
    made = []
    for kind in _read("benign.toml")["kind"]:
        part = {name: words for name, words in kind[split].items() if name != "templates"}
        made += _examples(kind["name"], kind[split]["templates"], part, count)
    return made


def sentences() -> dict[str, list[Example]]:
    """Sentences to be refused, by language."""
    file = _read("sentences.toml")
    return {
        language: [Example(category, text, at) for at, (category, text) in enumerate(rows)]
        for language, rows in file.items()
    }


def disguised(
    terms: Sequence[tuple[str, str]], carriers_each: int, tricks: Iterable[str] = OBFUSCATIONS
) -> Iterator[tuple[str, Example]]:
    """(trick, text): every term in every disguise that it can wear, each in some of the carriers."""
    for trick in tricks:
        disguise, chance = OBFUSCATIONS[trick], Random(f"{SEED} {trick}")
        for at, (category, term) in enumerate(terms):
            if FITS.get(trick, bool)(term):
                for carrier in chance.sample(CARRIERS, carriers_each):
                    yield trick, Example(category, carrier.format(disguise(term, chance)), at)
