"""Draws the visible mark: a plate with the words of `schemas.labels`, in a corner, over the whole clip.

White on a dark plate reads on any background; letters on a faint plate get a dark edge. A logo is drawn on their inner
side, so the words stand where they stand without it.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from ops.media.lettering import Lettering, plate_size
from schemas.labels import PROFILES, Wording
from stream_processors.mux.logos import Logo

USUAL = PROFILES["eu"]
PLAIN = Lettering()

FAINT_BELOW = 0.6
"""Opacity of the plate below which its letters get an edge. On a white picture they have 5.7 : 1 at 0.6, and 4.5 : 1,
which WCAG 2.2 (1.4.3) asks for, from 0.54 on."""
_WHITE, _BLACK, _NEUTRAL = 235, 16, 128
"""Luma of white and black and chroma of grey, limited range."""
_RED, _BLUE = 0.2126, 0.0722
_TO_YUV = np.array(
    [
        [219 * _RED, 219 * (1 - _RED - _BLUE), 219 * _BLUE],
        [-112 * _RED / (1 - _BLUE), -112 * (1 - _RED - _BLUE) / (1 - _BLUE), 112],
        [112, -112 * (1 - _RED - _BLUE) / (1 - _RED), -112 * _BLUE / (1 - _RED)],
    ],
    np.float32,
)
"""Red, green and blue, 0 to 1, to luma, Cb, Cr above _ZERO (ITU-R BT.709, limited range)."""
_ZERO = np.array((_BLACK, _NEUTRAL, _NEUTRAL), np.float32)

Plane = NDArray[np.uint8]
Real = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plate:
    """The drawn plate. Position and size are even; all planes have the shape (height, width), chroma too."""

    x_px: int
    y_px: int
    letter_height_px: int
    luma: Plane
    blue: Plane
    """Cb, limited range."""
    red: Plane
    """Cr, limited range."""
    opacity: Plane
    """0 leaves the picture, 255 covers it."""
    logo: bool = False
    """Whether the logo is on it: one that does not fit beside the words is left out."""

    @property
    def width_px(self) -> int:
        return int(self.luma.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.luma.shape[0])


_NONE = np.zeros((0, 0), np.uint8)
_NOTHING = Plate(0, 0, 0, _NONE, _NONE, _NONE, _NONE)


class _Canvas:
    """A plate in the making: luma, Cb and Cr times opacity, shape (3, height, width), and opacity, 0 to 1."""

    def __init__(self, width_px: int, height_px: int, opacity: float) -> None:
        self._put: Real = np.zeros((3, height_px, width_px), np.float32)
        self._opacity: Real = np.zeros((height_px, width_px), np.float32)
        back = Image.new("L", (width_px, height_px), 0)
        ImageDraw.Draw(back).rounded_rectangle((0, 0, width_px - 1, height_px - 1), height_px // 5, fill=255)
        self._over(_share(back) * opacity, _grey(_BLACK))

    def _over(self, opacity: Real, colour: Real) -> None:
        """Put something on top; opacity (height, width), colour (3, height, width) or (3, 1, 1)."""
        self._put = colour * opacity + self._put * (1 - opacity)
        self._opacity = opacity + self._opacity * (1 - opacity)

    def write(self, text: str, x_px: int, y_px: int, font: FreeTypeFont, edge_px: int) -> None:
        """White letters, with an edge of black unless edge_px is 0."""
        letters = Image.new("L", self._opacity.shape[::-1], 0)
        ImageDraw.Draw(letters).text((x_px, y_px), text, font=font, fill=255)
        ink = _share(letters)
        if edge_px:
            round_brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * edge_px + 1, 2 * edge_px + 1))
            self._over(cv2.dilate(ink, round_brush).astype(np.float32), _grey(_BLACK))
        self._over(ink, _grey(_WHITE))

    def put(self, rgba: NDArray[np.uint8], x_px: int, y_px: int) -> None:
        """A picture, in its colours."""
        height, width = rgba.shape[:2]
        shape = self._opacity.shape
        opacity, colour = np.zeros(shape, np.float32), np.zeros((3, *shape), np.float32)
        opacity[y_px : y_px + height, x_px : x_px + width] = rgba[..., 3].astype(np.float32) / 255
        yuv = np.tensordot(_TO_YUV, rgba[..., :3].astype(np.float32) / 255, axes=(1, 2)) + _ZERO[:, None, None]
        colour[:, y_px : y_px + height, x_px : x_px + width] = yuv
        self._over(opacity, colour)

    def planes(self) -> tuple[Plane, Plane, Plane, Plane]:
        """Luma, Cb, Cr, opacity."""
        clear = self._opacity <= 0
        colour = np.where(clear, _grey(_BLACK), self._put / np.where(clear, 1, self._opacity))
        luma, blue, red = (np.rint(plane).astype(np.uint8) for plane in colour)
        return luma, blue, red, np.rint(255 * self._opacity).astype(np.uint8)


def _share(image: Image.Image) -> Real:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _grey(luma: int) -> Real:
    return np.array((luma, _NEUTRAL, _NEUTRAL), np.float32).reshape(3, 1, 1)


@lru_cache(maxsize=64)
def plate(
    width_px: int, height_px: int, words: Wording = USUAL, lettering: Lettering = PLAIN, logo: Logo | None = None
) -> Plate:
    """The plate for pictures of this size; cut off where it would be wider than the picture. Without words: empty."""
    if not words.text:
        return _NOTHING
    size = lettering.size(words.text, width_px, height_px)
    box = lettering.box(words.text, size)
    plate_width, plate_height = plate_size(box)
    pad_x, pad_y, gap = (plate_width - box.width_px) // 2, (plate_height - box.height_px) // 2, box.height_px // 4 * 2
    margin = max(2, round(0.03 * min(width_px, height_px)) // 2 * 2)
    more = 0 if logo is None else logo.width_at(box.height_px) + gap
    if plate_width + more > width_px - 2 * margin:
        more, logo = 0, None
    plate_width += more
    left, top = (words.corner.endswith("left"), words.corner.startswith("top"))
    canvas = _Canvas(plate_width, plate_height, words.opacity)
    edge_px = max(1, box.height_px // 10) if words.opacity < FAINT_BELOW else 0
    x = pad_x if left else pad_x + more
    canvas.write(words.text, x - box.left, pad_y - box.top, lettering.font(words.text, size), edge_px)
    if logo is not None:
        canvas.put(logo.drawn(box.height_px), pad_x + box.width_px + gap if left else pad_x, pad_y)
    spare_x, spare_y = max(0, width_px - plate_width), max(0, height_px - plate_height)
    luma, blue, red, opacity = (plane[:, :width_px] for plane in canvas.planes())
    return Plate(
        x_px=(min(margin, spare_x) if left else max(0, spare_x - margin)) // 2 * 2,
        y_px=(min(margin, spare_y) if top else max(0, spare_y - margin)) // 2 * 2,
        letter_height_px=box.height_px,
        luma=luma,
        blue=blue,
        red=red,
        opacity=opacity,
        logo=logo is not None,
    )


class Stamp:
    """Blends a plate into planes of one size. Products are made once; a frame costs a multiplication per pixel."""

    def __init__(self, art: Plate) -> None:
        self.area = np.s_[art.y_px : art.y_px + art.height_px, art.x_px : art.x_px + art.width_px]
        x, y, w, h = (n // 2 for n in (art.x_px, art.y_px, art.width_px, art.height_px))
        self.chroma_area = np.s_[y : y + h, x : x + w]
        opacity = art.opacity.astype(np.uint16)
        self._keep, self._put = 255 - opacity, art.luma * opacity + 127
        self._chroma_keep = 255 - _halved(opacity)
        self._blue_put, self._red_put = (_halved(plane * opacity) + 127 for plane in (art.blue, art.red))

    def apply(self, luma: Plane, blue: Plane, red: Plane) -> None:
        """Blend in place."""
        area = luma[self.area]
        area[...] = (area * self._keep + self._put) // 255
        for plane, put in ((blue, self._blue_put), (red, self._red_put)):
            area = plane[self.chroma_area]
            area[...] = (area * self._chroma_keep + put) // 255


def _halved(plane: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Means of 2 x 2 pixels: chroma has half the resolution."""
    height, width = plane.shape
    means: NDArray[np.uint16] = plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)).astype(np.uint16)
    return means


def stamp_image(image: Image.Image, art: Plate) -> None:
    """Paste the plate onto an RGB image in place."""
    if not art.luma.size:
        return
    yuv = np.stack((art.luma, art.blue, art.red)).astype(np.float32) - _ZERO[:, None, None]
    rgb = np.rint(255 * np.tensordot(yuv, np.linalg.inv(_TO_YUV), axes=(0, 1))).clip(0, 255).astype(np.uint8)
    image.paste(Image.fromarray(rgb), (art.x_px, art.y_px), Image.fromarray(art.opacity))


@dataclass(frozen=True, slots=True)
class Labeller:
    """What is drawn on the pictures of one video, and with which fonts and logo."""

    words: Wording = USUAL
    lettering: Lettering = PLAIN
    logo: Logo | None = None

    def plate(self, width_px: int, height_px: int) -> Plate:
        """The plate for pictures of this size. Own words that do not fit (on a contact sheet) give way to the usual."""
        words = self.words
        if words.text and not self.lettering.fits(words.text, width_px, height_px):
            words = words._replace(text=USUAL.text)
        return plate(width_px, height_px, words, self.lettering, self.logo)
