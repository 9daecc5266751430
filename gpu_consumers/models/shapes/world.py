"""The closed world that the model knows: one flat shape that moves over a flat background.

The plane is a torus: what leaves on the right comes back on the left, so "moving right" has no end and a long video can
be continued chunk by chunk. Size and speed are constants, which keeps the number of things the model must invent small.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE_PX = 64
CLIP_FRAMES = 17
SPEED_PX_PER_FRAME = 2.0

COLORS = {
    "red": (225, 30, 35),
    "green": (40, 180, 60),
    "blue": (40, 90, 245),
    "yellow": (255, 230, 60),
    "orange": (255, 130, 0),
    "purple": (165, 45, 200),
}
BACKGROUNDS = {"black": (12, 12, 14), "white": (248, 248, 248), "gray": (128, 128, 128), "navy": (20, 25, 85)}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "motion": tuple(DIRECTIONS),
    "background": tuple(BACKGROUNDS),
}

Start = Literal["inside", "anywhere"]
"""inside: the shape stays in view for a whole clip. anywhere: it may cross the edges of the torus."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one clip shows; every field is one of ATTRIBUTES."""

    color: str
    shape: str
    motion: str
    background: str

    def key(self) -> tuple[str, ...]:
        """The attributes in the order of ATTRIBUTES."""
        values: tuple[str, ...] = astuple(self)
        return values


def all_scenes() -> list[Scene]:
    """The 360 scenes of the world, in a fixed order."""
    return [Scene(c, s, m, b) for c in COLORS for s in SHAPES for m in DIRECTIONS for b in BACKGROUNDS]


def random_scene(rng: random.Random) -> Scene:
    """One scene, every attribute drawn evenly."""
    return Scene(**{name: rng.choice(values) for name, values in ATTRIBUTES.items()})


def signed_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance in pixels from points to the edge of a shape centred at 0 (negative inside; y grows downwards).

    Formulas: Inigo Quilez, "2D distance functions" (circle, box); the triangle is the intersection of three
    half-planes, so its distance is exact only along its sides, which is all that anti-aliasing needs.
    """
    if shape == "circle":
        return (x * x + y * y).sqrt() - 13.0
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 11.5
    cos30 = math.cos(math.pi / 6)
    y = y - 3.0
    return torch.maximum(torch.maximum(y, cos30 * x - 0.5 * y), -cos30 * x - 0.5 * y) - 8.8


def start_points(scenes: Sequence[Scene], rng: random.Random, start: Start) -> Tensor:
    """Centres (N, 2) in pixels at frame 0."""
    travelled = SPEED_PX_PER_FRAME * (CLIP_FRAMES - 1) / 2
    points = []
    for scene in scenes:
        dx, dy = DIRECTIONS[scene.motion]
        if start == "anywhere":
            points.append((rng.uniform(0, SIZE_PX), rng.uniform(0, SIZE_PX)))
        else:
            middle = SIZE_PX / 2
            points.append((middle - dx * travelled + rng.uniform(-3, 3), middle - dy * travelled + rng.uniform(-3, 3)))
    return torch.tensor(points)


def velocities(scenes: Sequence[Scene]) -> Tensor:
    """Velocities (N, 2) in pixels per frame."""
    return torch.tensor([DIRECTIONS[s.motion] for s in scenes], dtype=torch.float32) * SPEED_PX_PER_FRAME


def paths(scenes: Sequence[Scene], first: Tensor, frames: int = CLIP_FRAMES) -> Tensor:
    """Centres (N, frames, 2) of shapes that are at `first` (N, 2) in frame 0."""
    return first[:, None] + velocities(scenes)[:, None] * torch.arange(frames)[None, :, None]


def draw(scenes: Sequence[Scene], centres: Tensor) -> Tensor:
    """Anti-aliased clips (N, 3, T, 64, 64), float in -1..1, from centres (N, T, 2)."""
    clips, frames = centres.shape[:2]
    pixel = torch.arange(SIZE_PX, dtype=torch.float32) + 0.5
    offset = torch.remainder(pixel - centres[..., None] + SIZE_PX / 2, SIZE_PX) - SIZE_PX / 2
    out = torch.empty(clips, 3, frames, SIZE_PX, SIZE_PX)
    for shape in SHAPES:
        index = [i for i, scene in enumerate(scenes) if scene.shape == shape]
        if not index:
            continue
        distance = signed_distance(shape, offset[index, :, 0, None, :], offset[index, :, 1, :, None])
        coverage = (0.5 - distance).clamp_(0, 1)[:, None]
        shape_rgb = torch.tensor([COLORS[scenes[i].color] for i in index]) / 127.5 - 1
        ground_rgb = torch.tensor([BACKGROUNDS[scenes[i].background] for i in index]) / 127.5 - 1
        ground = ground_rgb[:, :, None, None, None]
        out[index] = ground + (shape_rgb[:, :, None, None, None] - ground) * coverage
    return out


def clips(count: int, rng: random.Random, start: Start, frames: int = CLIP_FRAMES) -> tuple[Tensor, list[Scene]]:
    """`count` true clips (see `draw`) of random scenes."""
    scenes = [random_scene(rng) for _ in range(count)]
    return draw(scenes, paths(scenes, start_points(scenes, rng, start), frames)), scenes


def changing_clips(count: int, rng: random.Random, given: int, new_look: bool) -> tuple[Tensor, list[Scene]]:
    """Clips whose first `given` frames obey another prompt: what an edit in mid-video asks for.

    From frame `given` on the motion is new, and with `new_look` also most of the other attributes. The scenes returned
    are those of the second part.
    """
    before = [random_scene(rng) for _ in range(count)]
    after = [replace(scene, motion=rng.choice(tuple(DIRECTIONS))) for scene in before]
    if new_look:
        after = [_new_look(scene, rng) for scene in before]
    first = paths(before, start_points(before, rng, "anywhere"), given)
    steps = torch.arange(1, CLIP_FRAMES - given + 1)[None, :, None]
    second = first[:, -1:] + velocities(after)[:, None] * steps
    return torch.cat([draw(before, first), draw(after, second)], 2), after


def _new_look(scene: Scene, rng: random.Random) -> Scene:
    def pick(name: str) -> str:
        keep = name != "motion" and rng.random() >= 0.6
        return str(getattr(scene, name)) if keep else rng.choice(ATTRIBUTES[name])

    return Scene(**{name: pick(name) for name in ATTRIBUTES})


def to_uint8(video: Tensor) -> NDArray[np.uint8]:
    """(N, 3, T, H, W) in -1..1 -> (N, T, H, W, 3) uint8."""
    scaled = ((video.clamp(-1, 1) + 1) * 127.5).round().byte()
    frames: NDArray[np.uint8] = scaled.permute(0, 2, 3, 4, 1).numpy()
    return frames
