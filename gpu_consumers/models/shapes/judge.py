"""Reads a clip by rule: background, colour, shape, motion, and whether there is exactly one object.

The judge tolerates blur and small dents (intersection over union above 0.75), so 1.0 does not mean "pixel-perfect".
True renders of the world score 1.0 on every attribute (tested).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_consumers.models.shapes.world import ATTRIBUTES, BACKGROUNDS, COLORS, SHAPES, SIZE_PX, Scene, signed_distance

Mask = NDArray[np.bool_]
NONE = "none"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the judge saw; "none" where it could not tell."""

    color: str = NONE
    shape: str = NONE
    motion: str = NONE
    background: str = NONE
    single: bool = False
    """Exactly one object."""

    def right(self, scene: Scene) -> bool:
        """Every attribute as asked, and exactly one object."""
        return self.single and all(getattr(self, name) == getattr(scene, name) for name in ATTRIBUTES)


def judge(clip: NDArray[np.uint8]) -> Seen:
    """What a clip (T, 64, 64, 3) uint8 shows."""
    video = clip.astype(np.float64)
    background = _background(video)
    if background == NONE:
        return Seen()
    ground = np.array(BACKGROUNDS[background], np.float64)
    color = _color(video, ground)
    if color == NONE:
        return Seen(background=background)
    axis = np.array(COLORS[color], np.float64) - ground
    masks: Mask = ((video - ground) @ axis / (axis @ axis)) > 0.5
    sampled = [mask for mask in masks[::4] if mask.sum() > 40]
    if len(sampled) < min(3, len(masks[::4])):
        return Seen(background=background, color=color)
    shapes = [_shape(mask) for mask in sampled]
    objects = float(np.median([_components(mask) for mask in sampled]))
    return Seen(
        color=color,
        shape=max(sorted(set(shapes)), key=shapes.count),
        motion=_motion(masks),
        background=background,
        single=objects == 1,
    )


def accuracy(seen: Sequence[Seen], scenes: Sequence[Scene]) -> dict[str, float]:
    """Share of right answers per attribute; `single`: exactly one object; `all`: everything right. 0..1."""
    pairs = list(zip(seen, scenes, strict=True))
    table = {n: float(np.mean([getattr(got, n) == getattr(asked, n) for got, asked in pairs])) for n in ATTRIBUTES}
    table["single"] = float(np.mean([got.single for got in seen]))
    table["all"] = float(np.mean([got.right(asked) for got, asked in pairs]))
    return table


def _background(video: NDArray[np.float64]) -> str:
    """Nearest background colour of most pixels, if at least 30 % of the pixels are near it."""
    colors = np.array(list(BACKGROUNDS.values()), np.float64)
    distance = ((video.reshape(-1, 1, 3) - colors[None]) ** 2).sum(-1)
    votes = np.bincount(distance.argmin(1)[distance.min(1) < 40**2], minlength=len(colors))
    return list(BACKGROUNDS)[votes.argmax()] if votes.max() >= 0.3 * len(distance) else NONE


def _color(video: NDArray[np.float64], ground: NDArray[np.float64]) -> str:
    """Nearest shape colour of most pixels that are far from the background."""
    far = video[((video - ground) ** 2).sum(-1) > 80**2]
    if len(far) < len(video) * 40:
        return NONE
    colors = np.array(list(COLORS.values()), np.float64)
    distance = ((far[:, None] - colors[None]) ** 2).sum(-1)
    near = distance.min(1) < 60**2
    if near.mean() < 0.3:
        return NONE
    return list(COLORS)[np.bincount(distance.argmin(1)[near], minlength=len(colors)).argmax()]


def _motion(masks: Mask) -> str:
    """Direction from the median shift of the centre over two frames, on the torus."""
    centres = np.array([_centre(mask) if mask.sum() > 40 else (np.nan, np.nan) for mask in masks])
    shift = (np.diff(centres[::2], axis=0) + SIZE_PX / 2) % SIZE_PX - SIZE_PX / 2
    dy, dx = np.nan_to_num(np.nanmedian(shift, 0)) / 2
    speed = max(abs(dy), abs(dx))
    if speed < 0.35:
        return "still"
    if abs(dx) > 2 * abs(dy) and speed > 1:
        return "right" if dx > 0 else "left"
    if abs(dy) > 2 * abs(dx) and speed > 1:
        return "down" if dy > 0 else "up"
    return NONE


def _components(mask: Mask, least_px: int = 20) -> int:
    """Connected components (4 neighbours, on the torus) of at least `least_px` pixels."""
    left, count = mask.copy(), 0
    while left.any():
        grown = np.zeros_like(mask)
        grown[tuple(np.argwhere(left)[0])] = True
        size = 0
        while grown.sum() != size:
            size = int(grown.sum())
            for axis in (0, 1):
                grown |= np.roll(grown, 1, axis) | np.roll(grown, -1, axis)
            grown &= mask
        count += size >= least_px
        left &= ~grown
    return count


def _centre(mask: Mask) -> tuple[float, float]:
    """Centre of mass (y, x) in pixels on the torus: the circular mean."""

    def circular(positions: NDArray[np.intp]) -> float:
        angle = np.angle(np.exp(2j * np.pi * (positions + 0.5) / SIZE_PX).mean())
        return float((angle * SIZE_PX / (2 * np.pi)) % SIZE_PX)

    rows, columns = np.nonzero(mask)
    return circular(rows), circular(columns)


def _centred(mask: Mask) -> Mask:
    y, x = _centre(mask)
    return np.roll(mask, (round(SIZE_PX / 2 - y), round(SIZE_PX / 2 - x)), (0, 1))


def _template(shape: str, scale: float) -> Mask:
    axis = torch.arange(SIZE_PX, dtype=torch.float32) - SIZE_PX / 2 + 0.5
    inside: Mask = (signed_distance(shape, axis[None] / scale, axis[:, None] / scale) < 0).numpy()
    return _centred(inside)


_TEMPLATES = [(shape, _template(shape, scale)) for shape in SHAPES for scale in (0.8, 0.9, 1.0, 1.1, 1.2)]


def _shape(mask: Mask) -> str:
    """Shape with the best intersection over union at five scales and small shifts; "none" when even that is poor."""
    mask = _centred(mask)
    best, name = 0.0, NONE
    for shape, template in _TEMPLATES:
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                moved = np.roll(template, (dy, dx), (0, 1))
                overlap = float((moved & mask).sum() / (moved | mask).sum())
                if overlap > best:
                    best, name = overlap, shape
    return name if best > 0.75 else NONE
