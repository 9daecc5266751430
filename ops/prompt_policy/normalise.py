"""From a prompt to the forms in which its words are looked up, so that spelling tricks do not hide them. Pure.

The order matters. Tag characters are decoded to ASCII; marks and invisible characters go before NFKD, because sorting
a long run of marks is quadratic; NFKD undoes fullwidth, mathematical, circled and ligature forms; lookalikes from
other scripts become the Latin letter (the idea of the skeleton in UTS #39, but towards Latin only).
What stands there encoded (base64, hexadecimal, escapes) is decoded and goes the same way (encodings.py); words that are
written backwards are found by the matcher, which knows every term backwards too. Every step is linear in the text.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from confusable_homoglyphs.confusables import confusables_data

from ops.prompt_policy.encodings import layers

_TAGS = {code: code - 0xE0000 for code in range(0xE0020, 0xE007F)}
# They draw nothing, yet Unicode does not call them format characters: Hangul fillers and the blank Braille cell.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# Enclosed and flag letters without a decomposition.
_ENCLOSED = {start + i: 97 + i for start in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}
# Lookalikes that the Unicode table lists only as capitals or not at all. Capitals first become their own Latin letter.
_LOOKALIKES = dict(
    zip(
        "ЬьІΙӀВНКМТУГвнкмтугпиѕіјԁᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢΗΝΥΜΒΕΖΧηνυμβεζχωτκα",
        "bbiiibhkmtyrbhkmtyrnusijdabcdefghijklmnoprstuvwyzhnymbezxnvuubezxwtka",
        strict=True,
    )
)
_SEPARATED = re.compile(r"(?<=[^\W_])[._\-*~'`^\\/|+,:]+(?=[^\W_])")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][\W_]{1,3}){2,}[^\W_](?![^\W_])")
_RUN = re.compile(r"(.)\1{2,}")
_TWICE = re.compile(r"([^\W\d_])\1+")
_LEET = str.maketrans("013456789@$€£", "oieasgtbgasel")
_SIGNS = str.maketrans("@$€£", "asel")
_LEET_DIGITS = re.compile(r"[0-9@$€£!|+(]")
# Signs that stand for letters: before or inside a word, | and + at its end too. A bracket only inside.
# A run is only begun at its start, or a long one would take quadratic time.
_INNER = re.compile(r"(?<![!|+])[!|+]+(?=[\w@$€£])|(?<=[\w@$€£])!*[|+]+|(?<=[\w@$€£])\((?=[\w@$€£])")
_INNER_LETTER = str.maketrans("!|+(", "iltc")
_NUMBERED = re.compile(r"([^\W\d_]{2,})[-_#:.]([0-9]{3,})")
_LETTER = re.compile(r"[^\W\d_]")
_LETTER_OR_SIGN = re.compile(r"[^\W\d_]|[@$€£!|+]")
# Letters drawn with several characters. Only looked for where one of their signs stands.
_DRAWN = {
    "|\\/|": "m", "/\\/\\": "m", "|\\|": "n", "/\\/": "n", "\\/\\/": "w", "\\/": "v", "/\\": "a", "/-\\": "a",
    "|-|": "h", "|_|": "u", "|<": "k", "|)": "d", "()": "o", "[]": "o", "><": "x", "|_": "l", "'/": "y",
}  # fmt: skip
_DRAWN_LETTER = re.compile("|".join(re.escape(drawn) for drawn in sorted(_DRAWN, key=len, reverse=True)))


@dataclass(frozen=True, slots=True)
class Views:
    """The forms of one text.

    texts:  the text itself and its readings, words still apart
    joined: letters that stood alone in a row ("n o p e"), put together
    """

    texts: frozenset[str]
    joined: frozenset[str]


@cache
def _skeleton() -> dict[int, str]:
    """Code point -> Latin letter, from the Unicode confusables table."""
    table: dict[int, str] = {}
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for entry in confusables_data.get(letter, ()):
            alike = entry["c"].strip("\u200e")
            if len(alike) == 1 and not alike.isascii():
                table.setdefault(ord(alike), letter.lower())
    table.update({ord(alike): letter for alike, letter in _LOOKALIKES.items()})
    table.update({code: chr(letter) for code, letter in _ENCLOSED.items()})
    return table


def _visible(text: str, instead: str) -> str:
    """`text` without marks; every invisible character becomes `instead`."""
    out = []
    for char in text:
        kind = unicodedata.category(char)
        if (kind in ("Cf", "Cc", "Co", "Cn") and not char.isspace()) or char in _BLANK:
            out.append(instead)
        elif kind not in ("Mn", "Me"):
            out.append(char)
    return "".join(out)


def plain(text: str, instead: str = "") -> str:
    """`text` with its own letters and case, but without what is invisible, and styled characters as plain ones.

    instead: what an invisible character becomes
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _visible(text.translate(_TAGS), instead))


def fold(text: str, instead: str = "") -> str:
    """Lower-case Latin skeleton of `text`. Policy terms and prompts go through it alike."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", _visible(text.translate(_TAGS), instead))
        text = _visible(text, instead).translate(_skeleton()).casefold().translate(_skeleton())
    return text.casefold()


def squeeze(text: str) -> str:
    """Every letter once where it stands several times: "gooood" and "good" become "god"."""
    return _TWICE.sub(r"\1", text)


def merge(text: str) -> str:
    """i and l as one letter: in leet 1, ! and | stand for both."""
    return text.replace("l", "i")


def _unleet(text: str) -> str:
    """Digits and signs as the letters they stand for, in words that have a letter, and in short numbers beside such
    words: "4 cats" keeps its 4, "m4k3 4 c4k3" does not. i and l are merged."""
    if not any(_LETTER.search(word) and _LEET_DIGITS.search(word) for word in text.split()):
        return text

    def word(found: re.Match[str]) -> str:
        old = found[0]
        if not _LETTER_OR_SIGN.search(old) and len(old) > 2:
            return old
        if number := _NUMBERED.fullmatch(old):
            return f"{number[1]} {number[2]}"  # "many-5350": a number beside a name, no part of it
        return _INNER.sub(lambda signs: signs[0].translate(_INNER_LETTER), old).translate(_LEET)

    return merge(re.sub(r"\S+", word, text))


def _readings(text: str) -> Iterator[str]:
    yield text
    yield _unleet(text)
    drawn = _DRAWN_LETTER.sub(lambda found: _DRAWN[found[0]], text)
    if drawn != text:
        yield merge(_unleet(drawn))


def hidden(text: str) -> tuple[str, ...]:
    """What is written in `text` as base64, hexadecimal or escapes."""
    return tuple(layers(plain(text)))


def readings_of_meaning(text: str) -> tuple[str, ...]:
    """The forms in which a model reads `text`: its skeleton, and what is written in it as base64 and the like."""
    return tuple(dict.fromkeys((fold(text), *(fold(layer) for layer in hidden(text)))))


def gist(text: str) -> str:
    """One form for comparing texts with each other: letters and digits alone, leet undone, every run once."""
    return squeeze("".join(filter(str.isalnum, merge(_unleet(fold(text))))))


def views(text: str) -> Views:
    """All forms of `text` in which words are looked up."""
    bases = {fold(text), *(fold(layer) for layer in hidden(text))}
    if not text.isascii():
        # Invisible characters may hide inside a word, or stand where spaces should be.
        bases.add(fold(text, " "))
    for base in tuple(bases):
        if _RUN.search(base):
            bases.add(squeeze(base))
    texts: set[str] = set()
    joined: set[str] = set()
    for base in bases:
        for reading in _readings(base):
            texts |= {reading, _SEPARATED.sub("", reading)}
        for run in _SPACED.findall(base.translate(_SIGNS)):
            joined.update(_readings(re.sub(r"[\W_]+", "", run)))
    return Views(frozenset(texts), frozenset(joined))
