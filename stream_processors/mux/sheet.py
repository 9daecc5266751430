"""Thumbnail and contact sheet, made from finished frames while they stream by."""

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.labels import Corner
from schemas.mark_keys import PUBLIC
from schemas.request import Output
from stream_processors.mux.core import fit, spread
from stream_processors.mux.label import Labeller, stamp_image
from stream_processors.mux.mark import BOOSTS, Embedder, Reading, read
from stream_processors.mux.planes import planes_of

TILES = 12
_COLUMNS = 4
_TILE_LONG_SIDE_PX = 320
_GAP_PX = 8
_STAMP_PX = 16
_BACK, _INK = (24, 24, 24), (235, 235, 235)
_SHARPNESS_AT_PX = 256
_KEYED_CONFIDENCE = 2.0
_PNG_LEVEL = 2
"""The default of 6 takes four times as long for 10 % fewer bytes."""

Rgb = NDArray[np.uint8]


def sharpness(luma: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian at a fixed size: higher is less blurred (Pech-Pacheco et al., ICPR 2000)."""
    height, width = luma.shape
    scale = _SHARPNESS_AT_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return float(cv2.Laplacian(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), cv2.CV_32F).var())


def _tile_size(output: Output) -> tuple[int, int]:
    scale = min(1.0, _TILE_LONG_SIDE_PX / max(output.width_px, output.height_px))
    return max(2, round(output.width_px * scale / 2) * 2), max(2, round(output.height_px * scale / 2) * 2)


def _judged_area(output: Output, native: tuple[int, int], labeller: Labeller) -> tuple[slice, slice]:
    """Rows and columns of the picture beside the plate, without bars: their edges would outweigh the picture's."""
    place, art = fit(*native, output), labeller.plate(output.width_px, output.height_px)
    top, bottom = place.y_px, min(place.y_px + place.height_px, output.height_px)
    if labeller.words.corner.startswith("top"):
        top = min(max(top, art.y_px + art.height_px), output.height_px // 2)
    else:
        bottom = max(min(bottom, art.y_px), output.height_px // 2)
    right = min(place.x_px + place.width_px, output.width_px)
    return np.s_[top + 2 : max(bottom - 2, top + 4), place.x_px + 2 : max(right - 2, place.x_px + 4)]


class Sampler:
    """Keeps small copies of a few frames and the sharpest one in full: constant memory."""

    def __init__(self, frames: int, output: Output, native: tuple[int, int], labeller: Labeller) -> None:
        """native: (width_px, height_px) of the chunks, which tells where bars are."""
        self._wanted = frozenset(spread(frames, TILES))
        self._fps, self._tile = output.fps, _tile_size(output)
        self._judged = _judged_area(output, native, labeller)
        self._labeller = labeller
        self._to_tile, self._to_rgb = VideoReformatter(), VideoReformatter()
        self._tiles: list[tuple[float, Rgb]] = []
        self._best: tuple[float, Rgb] | None = None

    def see(self, number: int, frame: av.VideoFrame) -> None:
        """Look at finished frame `number`; most are passed over."""
        if number not in self._wanted:
            return
        self._tiles.append((number / self._fps, _rgb(self._to_tile, frame, *self._tile)))
        sharp = sharpness(planes_of(frame).luma[self._judged])
        if self._best is None or sharp > self._best[0]:
            self._best = sharp, _rgb(self._to_rgb, frame, frame.width, frame.height)

    def write(self, thumbnail: Path, contact_sheet: Path, payload: str, key: bytes = PUBLIC) -> None:
        """Thumbnail: the sharpest frame as it is in the video, both marks included. Sheet: marked as a whole."""
        assert self._best is not None
        Image.fromarray(self._best[1]).save(thumbnail, "JPEG", quality=90)
        # The sheet has its head above the pictures, so the mark is there whatever corner it has in the video.
        corner: Corner = "top-left" if self._labeller.words.corner.endswith("left") else "top-right"
        labeller = replace(self._labeller, words=self._labeller.words._replace(corner=corner))
        sheet = _sheet(self._tiles, self._tile, labeller)
        stamp_image(sheet, labeller.plate(*sheet.size))
        _marked(sheet, payload, key).save(contact_sheet, "PNG", compress_level=_PNG_LEVEL)


def _rgb(scaler: VideoReformatter, frame: av.VideoFrame, width_px: int, height_px: int) -> Rgb:
    rgb = scaler.reformat(
        frame,
        width=width_px,
        height=height_px,
        format="rgb24",
        interpolation=Interpolation.AREA,
        src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return rgb.to_ndarray().astype(np.uint8, copy=True)


def _sheet(tiles: list[tuple[float, Rgb]], tile: tuple[int, int], labeller: Labeller) -> Image.Image:
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    cell = tile[0] + _GAP_PX, tile[1] + _STAMP_PX + _GAP_PX
    width = max(columns * cell[0] + _GAP_PX, _TILE_LONG_SIDE_PX)
    body = rows * cell[1] + _GAP_PX
    art = labeller.plate(width, body)
    # The plate is measured on the whole sheet, which the header makes a little higher: hence twice its margin.
    header = art.height_px + 3 * art.y_px + _GAP_PX
    sheet = Image.new("RGB", (width, (body + header) // 2 * 2), _BACK)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=_STAMP_PX - 4)
    for number, (time_s, pixels) in enumerate(tiles):
        x, y = _GAP_PX + number % columns * cell[0], header + number // columns * cell[1]
        sheet.paste(Image.fromarray(pixels), (x, y))
        draw.text((x + 2, y + tile[1] + 1), f"{int(time_s // 60)}:{time_s % 60:05.2f}", font=font, fill=_INK)
    return sheet


def _has_room(reading: Reading) -> bool:
    """What a key reads must be clearer: some of it is lost in the conversion to RGB and, at the reader's, back."""
    return reading.repaired_bits == 0 and reading.confidence >= _KEYED_CONFIDENCE


def _marked(image: Image.Image, payload: str, key: bytes) -> Image.Image:
    """The picture with the invisible mark in its luma, as strong as one picture with many edges needs."""
    yuv = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2YCrCb)
    luma = np.ascontiguousarray(yuv[..., 0], dtype=np.uint8)
    out = np.empty_like(luma)
    for boost in BOOSTS:
        Embedder(payload, image.width, image.height, boost, key).embed(luma, out)
        reading = read([out], key)
        if reading.says(payload) and (not key or _has_room(reading)):
            break
    yuv[..., 0] = out
    return Image.fromarray(cv2.cvtColor(yuv, cv2.COLOR_YCrCb2RGB))
