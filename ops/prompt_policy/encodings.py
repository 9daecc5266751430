"""Text that stands in a prompt as base64, hexadecimal or escapes: decoded, so that its words are looked up too. Pure.

What is found in one layer is one text; it is looked through again, as often as MAX_LAYERS. Every pattern is linear and
a layer is at most a few times as long as the one that it came from, so the work is bounded by the length of the prompt.
"""

import base64
import binascii
import re
from collections.abc import Iterator

MAX_LAYERS = 3
# Base64 and its alphabet for URLs, padded or not. "nude" is six characters without padding, so short words are tried
# too; those that are just words decode to bytes that are no text.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{4,}")
_URL_SAFE = str.maketrans("-_", "+/")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ :,]?){3,}(?![0-9A-Za-z])")
# "736578" is three letters, and far more often an order number.
_NUMBER = re.compile(r"[0-9]{1,7}")
_HEX_NOISE = re.compile(r"0x|\\x|[ :,]")
# Digits are bounded: int() refuses thousands of them.
_ESCAPE = re.compile(
    r"((?:%[0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2})+)|\\u\{?([0-9A-Fa-f]{4,6})\}?|&#x([0-9A-Fa-f]{1,6});?|&#([0-9]{1,7});?"
)
_LETTER = re.compile(r"[^\W\d_]")
_LAST_CODE_POINT = 0x10FFFF


def layers(text: str) -> Iterator[str]:
    """What is hidden in `text`, and in that again; each layer as one text."""
    for _ in range(MAX_LAYERS):
        text = " ".join(_hidden(text))
        if not text:
            return
        yield text


def _hidden(text: str) -> Iterator[str]:
    if any(sign in text for sign in "%\\&"):
        plain = _ESCAPE.sub(_unescaped, text)
        if plain != text:
            yield plain
    for found in _BASE64.findall(text):
        if (decoded := _from_base64(found)) is not None:
            yield decoded
    for found in _HEX.findall(text):
        if _NUMBER.fullmatch(found):
            continue
        digits = _HEX_NOISE.sub("", found)
        decoded = _readable(bytes.fromhex(digits)) if len(digits) % 2 == 0 else None
        if decoded is not None:
            yield decoded


def _unescaped(found: re.Match[str]) -> str:
    octets, unicode, hexadecimal, decimal = found.groups()
    if octets:
        return bytes.fromhex(re.sub(r"%|\\x", "", octets)).decode(errors="replace")
    code = int(decimal) if decimal else int(unicode or hexadecimal, 16)
    # A surrogate alone is no character and could not be encoded again.
    return chr(code) if code <= _LAST_CODE_POINT and not 0xD800 <= code <= 0xDFFF else found[0]


def _from_base64(found: str) -> str | None:
    letters = found.translate(_URL_SAFE)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    try:
        return _readable(base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except binascii.Error:
        return None


def _readable(raw: bytes) -> str | None:
    """`raw` as text if it is one that somebody could read."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    seen = text.replace("\n", " ").replace("\t", " ")
    return text if seen.isprintable() and _LETTER.search(seen) else None
