"""Draws the visible mark: a plate with the words of `schemas.labels`, in a corner, over the whole clip.

White on a dark plate reads on any background.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ops.media.lettering import Lettering, plate_size
from schemas.labels import PROFILES, Wording

USUAL = PROFILES["eu"]
PLAIN = Lettering()

_PLATE_OPACITY = 0.68
_WHITE, _BLACK, _NEUTRAL = 235, 16, 128
"""Luma of white and black and chroma of grey, limited range."""

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


_NOTHING = Plate(0, 0, 0, np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8))


@lru_cache(maxsize=64)
def plate(width_px: int, height_px: int, words: Wording = USUAL, lettering: Lettering = PLAIN) -> Plate:
    """The plate for pictures of this size; cut off where it would be wider than the picture. Without words: empty."""
    if not words.text:
        return _NOTHING
    size = lettering.size(words.text, width_px, height_px)
    box = lettering.box(words.text, size)
    plate_width, plate_height = plate_size(box)
    letters = Image.new("L", (plate_width, plate_height), 0)
    origin = ((plate_width - box.width_px) // 2 - box.left, (plate_height - box.height_px) // 2 - box.top)
    ImageDraw.Draw(letters).text(origin, words.text, font=lettering.font(words.text, size), fill=255)
    back = Image.new("L", letters.size, 0)
    ImageDraw.Draw(back).rounded_rectangle((0, 0, plate_width - 1, plate_height - 1), plate_height // 5, fill=255)
    ink = np.asarray(letters, dtype=np.float32) / 255
    opacity = np.maximum(np.asarray(back, dtype=np.float32) / 255 * _PLATE_OPACITY, ink)
    margin = max(2, round(0.03 * min(width_px, height_px)) // 2 * 2)
    plate_width = min(plate_width, width_px)
    left, top = (words.corner.endswith("left"), words.corner.startswith("top"))
    spare_x, spare_y = width_px - plate_width, max(0, height_px - plate_height)
    return Plate(
        x_px=(min(margin, spare_x) if left else max(0, spare_x - margin)) // 2 * 2,
        y_px=(min(margin, spare_y) if top else max(0, spare_y - margin)) // 2 * 2,
        letter_height_px=box.height_px,
        luma=np.rint(_BLACK + (_WHITE - _BLACK) * ink).astype(np.uint8)[:, :plate_width],
        opacity=np.rint(255 * opacity).astype(np.uint8)[:, :plate_width],
    )


class Stamp:
    """Blends a plate into planes of one size. Products are made once; a frame costs a multiplication per pixel."""

    def __init__(self, art: Plate) -> None:
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


def stamp_image(image: Image.Image, art: Plate) -> None:
    """Paste the plate onto an RGB image in place."""
    if not art.luma.size:
        return
    ink = np.clip((art.luma.astype(np.int32) - _BLACK) * 255 // (_WHITE - _BLACK), 0, 255).astype(np.uint8)
    image.paste(Image.merge("RGB", [Image.fromarray(ink)] * 3), (art.x_px, art.y_px), Image.fromarray(art.opacity))


@dataclass(frozen=True, slots=True)
class Labeller:
    """What is drawn on the pictures of one video, and with which fonts."""

    words: Wording = USUAL
    lettering: Lettering = PLAIN

    def plate(self, width_px: int, height_px: int) -> Plate:
        """The plate for pictures of this size. Own words that do not fit (on a contact sheet) give way to the usual."""
        words = self.words
        if words.text and not self.lettering.fits(words.text, width_px, height_px):
            words = Wording(USUAL.text, words.corner)
        return plate(width_px, height_px, words, self.lettering)
