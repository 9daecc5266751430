"""The visible mark: a plate that says AI GENERATED, top-right, over the whole clip.

Its letters are at least 5 % of the picture's shorter side high (GB 45438-2025, 4.1; the EU code of practice on marking
asks for a place that nothing covers and names the top-right corner). White on a dark plate reads on any background.
The font is the scalable one inside Pillow, so nothing needs to be installed.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TEXT = "AI GENERATED"
LETTER_SHARE = 0.05
"""Height of the letters over the shorter side of the picture, at least."""
_PLATE_OPACITY = 0.68
_WHITE, _BLACK, _NEUTRAL = 235, 16, 128
"""Luma of white and black and chroma of grey, limited range."""
_LETTER_MIN_PX = 8
_WIDTH_SHARE_MAX = 0.9

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Plate:
    """The drawn plate. Position and size are even."""

    x_px: int
    y_px: int
    letter_height_px: int
    luma: Plane
    """Shape (height, width)."""
    opacity: Plane
    """0 leaves the picture, 255 covers it; shape (height, width)."""

    @property
    def width_px(self) -> int:
        return int(self.luma.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.luma.shape[0])


def letter_box(size: int) -> tuple[int, int, int, int]:
    """Bounding box of the text in pixels at a font size: left, top, right, bottom."""
    left, top, right, bottom = ImageFont.load_default(size=size).getbbox(TEXT)
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


@cache
def letter_share() -> float:
    """Height of the text over the font size, a little less for small sizes because of rounding."""
    _, top, _, bottom = letter_box(100)
    return (bottom - top) / 100


def _font_size(width_px: int, height_px: int) -> int:
    """Smallest font size whose letters are high enough; legible on tiny pictures as far as the width allows."""
    needed = math.ceil(LETTER_SHARE * min(width_px, height_px))
    wanted = max(needed, _LETTER_MIN_PX)
    # Parsing the font anew for every size is slow: begin just below the size that will do.
    size = max(4, math.floor(needed / letter_share()) - 2)
    while True:
        left, top, right, bottom = letter_box(size)
        if bottom - top >= wanted:
            return size
        too_wide = _plate_size(right - left, bottom - top)[0] > _WIDTH_SHARE_MAX * width_px
        if too_wide and bottom - top >= needed:
            return size
        size += 1


def _plate_size(text_width_px: int, text_height_px: int) -> tuple[int, int]:
    pad = max(2, text_height_px // 2)
    return (text_width_px + 2 * pad + 1) // 2 * 2, (text_height_px + 2 * pad + 1) // 2 * 2


@cache
def plate(width_px: int, height_px: int) -> Plate:
    """The plate for pictures of this size; at most as wide as the picture."""
    size = _font_size(width_px, height_px)
    left, top, right, bottom = letter_box(size)
    plate_width, plate_height = _plate_size(right - left, bottom - top)
    letters = Image.new("L", (plate_width, plate_height), 0)
    origin = ((plate_width - (right - left)) // 2 - left, (plate_height - (bottom - top)) // 2 - top)
    ImageDraw.Draw(letters).text(origin, TEXT, font=ImageFont.load_default(size=size), fill=255)
    back = Image.new("L", letters.size, 0)
    ImageDraw.Draw(back).rounded_rectangle((0, 0, plate_width - 1, plate_height - 1), plate_height // 5, fill=255)
    ink = np.asarray(letters, dtype=np.float32) / 255
    opacity = np.maximum(np.asarray(back, dtype=np.float32) / 255 * _PLATE_OPACITY, ink)
    margin = max(2, round(0.03 * min(width_px, height_px)) // 2 * 2)
    plate_width = min(plate_width, width_px)
    return Plate(
        x_px=max(0, width_px - plate_width - margin) // 2 * 2,
        y_px=min(margin, max(0, height_px - plate_height)) // 2 * 2,
        letter_height_px=bottom - top,
        luma=np.rint(_BLACK + (_WHITE - _BLACK) * ink).astype(np.uint8)[:, :plate_width],
        opacity=np.rint(255 * opacity).astype(np.uint8)[:, :plate_width],
    )


class Stamp:
    """Blends a plate into planes of one size. Products are made once; a frame costs a multiplication per pixel."""

    def __init__(self, width_px: int, height_px: int) -> None:
        art = plate(width_px, height_px)
        self.area = np.s_[art.y_px : art.y_px + art.height_px, art.x_px : art.x_px + art.width_px]
        x, y, w, h = (n // 2 for n in (art.x_px, art.y_px, art.width_px, art.height_px))
        self.chroma_area = np.s_[y : y + h, x : x + w]
        opacity = art.opacity.astype(np.uint16)
        chroma = opacity.reshape(h, 2, w, 2).mean(axis=(1, 3)).astype(np.uint16)
        self._keep, self._put = 255 - opacity, art.luma * opacity + 127
        self._chroma_keep, self._chroma_put = 255 - chroma, _NEUTRAL * chroma + 127

    def apply(self, luma: Plane, blue: Plane, red: Plane) -> None:
        """Blend in place."""
        area = luma[self.area]
        area[...] = (area * self._keep + self._put) // 255
        for plane in (blue, red):
            area = plane[self.chroma_area]
            area[...] = (area * self._chroma_keep + self._chroma_put) // 255


def stamp_image(image: Image.Image) -> None:
    """Paste the plate onto an RGB image in place."""
    art = plate(*image.size)
    ink = np.clip((art.luma.astype(np.int32) - _BLACK) * 255 // (_WHITE - _BLACK), 0, 255).astype(np.uint8)
    image.paste(Image.merge("RGB", [Image.fromarray(ink)] * 3), (art.x_px, art.y_px), Image.fromarray(art.opacity))
