"""Fonts that draw one line of text: Pillow's own for plain Latin, a part of Noto Sans CJK (European letters, kana, the
words for "made by AI" in Chinese and Korean), and one that the installation names for all others.
"""

import math
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

from schemas.errors import Fatal

LETTER_SHARE = 0.05
"""Height of the letters over the shorter side of the picture, at least."""
LETTER_MIN_PX = 8
WIDTH_SHARE_MAX = 0.9
NOTO = Path(__file__).parent / "fonts" / "noto-sans-label.otf"
_PROBE_PX = 32
_NOWHERE = "\uffff"
"""No font has it, so every font shows its sign for what it lacks."""


class Box(NamedTuple):
    """Of the drawn letters, pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width_px(self) -> int:
        return self.right - self.left

    @property
    def height_px(self) -> int:
        return self.bottom - self.top


@lru_cache(maxsize=256)
def _font(path: str, size: int) -> FreeTypeFont:
    if not path:
        font = ImageFont.load_default(size=size)
        assert isinstance(font, FreeTypeFont)
        return font
    return ImageFont.truetype(BytesIO(_bytes_of(path)), size)


@cache
def _bytes_of(path: str) -> bytes:
    # Kept: a child in the sandbox opens no file once it has begun.
    return Path(path).read_bytes()


class Lettering:
    """own: a TrueType or OpenType file that is tried first; "": none. Raises Fatal when it cannot be used."""

    def __init__(self, own: str = "") -> None:
        self._paths = (own, "", str(NOTO)) if own else ("", str(NOTO))
        try:
            for path in self._paths:
                _font(path, _PROBE_PX)
        except OSError as exc:
            raise Fatal(f"label_font: cannot read {own}: {exc}; give a TrueType or OpenType file") from None

    def lacking(self, text: str) -> str:
        """Letters for which the font with most of them has no shape; "" when the text can be drawn."""
        return min((_lacking(path, text) for path in self._paths), key=len)

    def font(self, text: str, size: int) -> FreeTypeFont:
        """The first font that has all its letters, or most of them."""
        return _font(min(self._paths, key=lambda path: len(_lacking(path, text))), size)

    def box(self, text: str, size: int) -> Box:
        left, top, right, bottom = self.font(text, size).getbbox(text)
        return Box(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))

    def size(self, text: str, width_px: int, height_px: int) -> int:
        """Smallest font size whose letters are high enough for a picture; legible on tiny ones as far as they fit."""
        needed = math.ceil(LETTER_SHARE * min(width_px, height_px))
        wanted = max(needed, LETTER_MIN_PX)
        # Parsing the font anew for every size is slow: begin just below the size that will do.
        size = max(4, math.floor(needed / (self.box(text, 100).height_px / 100)) - 2)
        while True:
            box = self.box(text, size)
            if box.height_px >= wanted:
                return size
            if box.height_px >= needed and plate_size(box)[0] > WIDTH_SHARE_MAX * width_px:
                return size
            size += 1

    def undrawable(self, text: str, width_px: int, height_px: int) -> str:
        """Why it cannot be drawn on such a picture and what would be right, or ""."""
        if lacking := self.lacking(text):
            return f"no font has {lacking[:20]!r}; use others, or name a font that has them in REELBUS_LABEL_FONT"
        if self.fits(text, width_px, height_px):
            return ""
        most = next((n for n in range(len(text) - 1, 0, -1) if self.fits(text[:n], width_px, height_px)), 0)
        wide = f"its {len(text)} letters are wider than {width_px} pixels at 5 % of the shorter side"
        return f"{wide}; {most} of them would fit"

    def fits(self, text: str, width_px: int, height_px: int) -> bool:
        """Is it no wider than the picture, at the height that its letters must have?"""
        return plate_size(self.box(text, self.size(text, width_px, height_px)))[0] <= width_px


def plate_size(box: Box) -> tuple[int, int]:
    """Width and height in pixels, even, of the plate behind letters."""
    pad = max(2, box.height_px // 2)
    return (box.width_px + 2 * pad + 1) // 2 * 2, (box.height_px + 2 * pad + 1) // 2 * 2


@cache
def _lacking(path: str, text: str) -> str:
    return "".join(letter for letter in dict.fromkeys(text) if not letter.isspace() and not _has(path, letter))


@cache
def _has(path: str, letter: str) -> bool:
    font = _font(path, _PROBE_PX)
    shape, absent = font.getmask(letter), font.getmask(_NOWHERE)
    return shape.size != absent.size or bytes(shape) != bytes(absent)
