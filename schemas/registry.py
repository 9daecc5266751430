"""The model registry: what each model can do, as data. Pure; the file is read by `ops.registry`."""

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.errors import Fatal
from schemas.topics import POOLS


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model. Sizes and limits bind requests; the rest binds workers."""

    name: str
    family: str
    """Module of gpu_consumers.pipelines that knows this family's arguments, e.g. "ltx"."""
    source: str
    """Folder (absolute, or relative to the registry file) or hub id, for from_pretrained."""
    revision: str
    """Hub commit, or for a folder its digest ("sha256:<16 hex>"): part of every chunk's name."""
    pools: tuple[str, ...]
    clip_frames: Annotated[int, Meta(ge=1)]
    """Frames that one call yields at most."""
    given_frames: Annotated[int, Meta(ge=0)]
    """Last frames of a chunk that its chained successor starts from; 0: the model cannot continue a clip."""
    sizes: tuple[tuple[int, int], ...]
    """Native (width_px, height_px); the one with the nearest aspect is rendered, the muxer scales."""
    fps_min: int
    fps_max: int
    steps: Annotated[int, Meta(ge=1)]
    guidance: float
    chunk_cost_s: Annotated[float, Meta(gt=0)]
    """Prior of device-seconds per chunk."""
    load_s: Annotated[float, Meta(ge=0)] = 30.0
    """Prior of the seconds that it takes to have the model warm; learnt from what workers measure."""
    max_batch: Annotated[int, Meta(ge=1)] = 1
    """Compatible chunks in one forward pass."""
    chunk_codec: Literal["ffv1", "h264"] = "h264"
    """ffv1: lossless (small pictures). h264: high quality (large ones)."""

    def native_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """The native (width_px, height_px) whose aspect is nearest to the one asked for; of equals, the largest."""
        aspect = math.log(width_px / height_px)
        return min(self.sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - aspect), -size[0] * size[1]))


class _Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: tuple[ModelEntry, ...]


def parse(text: str) -> dict[str, ModelEntry]:
    """Registry file (TOML, [[model]] tables) -> entries by name. Raises Fatal that names the fault."""
    try:
        entries = msgspec.toml.decode(text, type=_Registry).model
    except msgspec.DecodeError as exc:
        raise Fatal(f"model registry: {exc}") from None
    if len({e.name for e in entries}) != len(entries):
        raise Fatal("model registry: two models share a name")
    for entry in entries:
        if not entry.sizes or not entry.pools:
            raise Fatal(f"model registry: {entry.name} needs at least one size and one pool")
        if entry.given_frames >= entry.clip_frames:
            raise Fatal(
                f"model registry: {entry.name} is given {entry.given_frames} of {entry.clip_frames} frames: none left"
            )
        if unknown := sorted(set(entry.pools) - set(POOLS)):
            raise Fatal(f"model registry: {entry.name} is for unknown pool {unknown[0]}; known are {', '.join(POOLS)}")
    return {e.name: e for e in entries}
