"""Spelling tricks by name: what people do to words so that a filter does not see them. Pure; chance comes in."""

import base64
from collections.abc import Callable
from random import Random

from ops.prompt_policy.matcher import is_unspaced

Trick = Callable[[str, Random], str]

_CYRILLIC = dict(zip("aceopxyisjABCEHKMOPTX", "асеорхуіѕјАВСЕНКМОРТХ", strict=True))
_GREEK = dict(zip("aeikotuvpxn", "αειкοτυνρχη".replace("к", "κ"), strict=True))
_LEET = dict(zip("aeiost", "4310$7", strict=True))
_LEET_MORE = {"a": "4@", "e": "3€", "i": "1!", "o": "0", "s": "5$", "t": "7+", "l": "1|", "g": "9", "b": "8"}
_SMALL_CAPS = dict(zip("abcdefghijklmnoprtuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ", strict=True))
_DRAWN = {"v": "\\/", "n": "|\\|", "h": "|-|", "k": "|<", "d": "|)", "u": "|_|"}
_INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\u3164\ufeff\u180e\u2800"
_MARKS = "\u0301\u0323\u0336\u0489\u0308"
_SEPARATORS = ".-_*~'^|/+,:"


def _mapped(table: dict[str, str]) -> Trick:
    return lambda text, chance: "".join(table.get(c, c) for c in text)


def _shifted(start: int) -> Trick:
    return lambda text, chance: "".join(chr(start + ord(c) - 97) if "a" <= c <= "z" else c for c in text)


def _between(mark: str) -> Trick:
    return lambda text, chance: " ".join(mark.join(word) for word in text.split())


def _after(mark: str) -> Trick:
    return lambda text, chance: "".join(c + mark if c.isalpha() else c for c in text)


def _fullwidth(text: str, chance: Random) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _tags(text: str, chance: Random) -> str:
    return "".join(chr(0xE0000 + ord(c)) for c in text)


def _spaced(text: str, chance: Random) -> str:
    return "  ".join(" ".join(word) for word in text.replace("-", " ").split())


def _cut(text: str, chance: Random) -> str:
    at = chance.randint(2, len(text) - 2)
    return f"{text[:at]} {text[at:]}"


def _address64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _some_lookalikes(text: str, chance: Random) -> str:
    """Half of the letters that have one, of any of three alphabets."""
    tables = (_CYRILLIC, _GREEK, _SMALL_CAPS)
    return "".join(chance.choice(tables).get(c, c) if chance.random() < 0.5 else c for c in text)


def _some_invisible(text: str, chance: Random) -> str:
    return "".join(c + chance.choice(_INVISIBLE) if chance.random() < 0.5 else c for c in text)


def _some_marks(text: str, chance: Random) -> str:
    return "".join(c + chance.choice(_MARKS) if c.isalpha() and chance.random() < 0.5 else c for c in text)


def _some_separators(text: str, chance: Random) -> str:
    mark = chance.choice(_SEPARATORS)
    return " ".join(mark.join(word) for word in text.split())


def _any_leet(text: str, chance: Random) -> str:
    return "".join(chance.choice(_LEET_MORE[c]) if c in _LEET_MORE and chance.random() < 0.7 else c for c in text)


def _random_case(text: str, chance: Random) -> str:
    return "".join(c.upper() if chance.random() < 0.5 else c for c in text)


OBFUSCATIONS: dict[str, Trick] = {
    "plain": lambda text, chance: text,
    "upper case": lambda text, chance: text.upper(),
    "random case": _random_case,
    "fullwidth": _fullwidth,
    "zero width space": _between("\u200b"),
    "zero width joiner": _between("\u200d"),
    "word joiner": _between("\u2060"),
    "soft hyphen": _between("\u00ad"),
    "invisible filler": _between("\u3164"),
    "some invisible characters": _some_invisible,
    "combining marks": _after("\u0336"),
    "stacked marks": _after("\u0301\u0323\u0489"),
    "some marks": _some_marks,
    "cyrillic": _mapped(_CYRILLIC),
    "greek": _mapped(_GREEK),
    "mathematical": _shifted(0x1D4EA),
    "circled": _shifted(0x24D0),
    "negative squared": _shifted(0x1F170),
    "flag letters": _shifted(0x1F1E6),
    "small capitals": _mapped(_SMALL_CAPS),
    "some lookalikes": _some_lookalikes,
    "tag characters": _tags,
    "leet": _mapped(_LEET),
    "any leet": _any_leet,
    "drawn letters": _mapped(_DRAWN),
    "dotted": _between("."),
    "dashed": _between("-"),
    "starred": _between("*"),
    "any separator": _some_separators,
    "spaced": _spaced,
    "spaced leet": lambda text, chance: " ".join(_mapped(_LEET)(text.replace(" ", ""), chance)),
    "cut in two": _cut,
    "stretched": lambda text, chance: "".join(c * 4 if c in "aeiou" else c for c in text),
    "spaces of zero width": lambda text, chance: f"\u200b{text.replace(' ', chr(0x200B))}\u200b",
    "backwards": lambda text, chance: text[::-1],
    "every word backwards": lambda text, chance: " ".join(word[::-1] for word in text.split()),
    "base64": lambda text, chance: base64.b64encode(text.encode()).decode(),
    "base64 for addresses, twice": lambda text, chance: _address64(_address64(text)),
    "hexadecimal": lambda text, chance: text.encode().hex(),
    "spaced hexadecimal": lambda text, chance: text.encode().hex(" "),
    "percent": lambda text, chance: "".join(f"%{octet:02x}" for octet in text.encode()),
    "character references": lambda text, chance: "".join(f"&#{ord(c)};" for c in text),
    "escapes": lambda text, chance: "".join(f"\\u{ord(c):04x}" for c in text),
    "cyrillic and dots": lambda text, chance: _between(".")(_mapped(_CYRILLIC)(text, chance), chance),
    "fullwidth and base64": lambda text, chance: _fullwidth(base64.b64encode(text.encode()).decode(), chance),
}


def _can_be_backwards(text: str) -> bool:
    """Two letters of Han or kana, and three of the others, are another word backwards."""
    return len(text) >= (3 if is_unspaced(text) else 4)


FITS: dict[str, Callable[[str], bool]] = {
    "tag characters": str.isascii,
    "cut in two": lambda text: text.isalpha() and len(text) > 5 and not is_unspaced(text),
    "backwards": _can_be_backwards,
    "every word backwards": _can_be_backwards,
}
"""Terms that a trick can be played on; all of them if it is not named."""
