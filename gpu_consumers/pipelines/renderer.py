"""What a model family must be able to do, and the one way to load it.

A family is a module of this package with `load(entry, device, dtype) -> Renderer`. There is no base class: a family
shares code with the others by calling it.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import batch_key
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

FAMILIES = ("ltx", "wan", "fake")

Frames = NDArray[np.uint8]
"""(T, H, W, 3) uint8 RGB."""
OnStep = Callable[[int, int], None]
"""Called after each denoise step with (steps done, steps in all). It may raise to stop the work."""


class Renderer(Protocol):
    """A loaded model. Not thread-safe: one call at a time."""

    def render(self, specs: Sequence[ChunkSpec], given: Sequence[Frames | None], on_step: OnStep) -> list[Frames]:
        """Renders one or more chunks in one forward pass.

        specs:   chunks that are pairwise `compatible`
        given:   for each chunk the (given_frames, H, W, 3) last frames of its predecessor, or None
        on_step: see OnStep; what it raises comes through unchanged

        Returns (spec.frames, H, W, 3) uint8 RGB per chunk: only the NEW frames, the given ones are cut off.
        Raises Transient (device out of memory, NaN, another revision), InvalidMessage (a spec that the model cannot
        render).
        """
        ...


def compatible(a: ChunkSpec, b: ChunkSpec) -> bool:
    """Whether two chunks may share one forward pass.

    Whatever the pipeline takes once per call must agree: model, size, steps, guidance, fps, and the number of given
    frames. Prompt, seed and given frames go in per item, each with its own random generator, and no layer of these
    models mixes items, so the pixels of a chunk depend on its own spec only. The one thing that a batch changes is the
    order of floating-point sums inside matrix products: on a CPU in float32 a frame differs from the one rendered alone
    by at most one level of 255 (measured; tests/flow/test_pipelines.py holds it to two).
    """
    return batch_key(a) == batch_key(b)


def load(entry: ModelEntry, device: str, dtype: str) -> Renderer:
    """Loads a model of any family.

    device: torch device ("cpu", "cuda", "cuda:1"). dtype: "float32", "bfloat16" or "float16".
    Raises Fatal when the family, the folder or the dtype cannot be right.
    """
    if entry.family not in FAMILIES:
        raise Fatal(f"model {entry.name}: unknown family {entry.family!r}; known are {', '.join(FAMILIES)}")
    module = importlib.import_module(f"gpu_consumers.pipelines.{entry.family}")
    renderer: Renderer = module.load(entry, device, dtype)
    return renderer


def check(entry: ModelEntry, specs: Sequence[ChunkSpec], given: Sequence[Frames | None]) -> None:
    """Checks a call of `Renderer.render` against what the model can do.

    Raises InvalidMessage for a spec that this model can never render, Transient for another revision of it (another
    worker may have it), ValueError for a call that is wrong in itself (a bug of the caller).
    """
    if not specs or len(specs) != len(given):
        raise ValueError(
            f"{len(specs)} specs and {len(given)} given clips: there must be one given per spec, at least one"
        )
    if not all(compatible(specs[0], spec) for spec in specs[1:]):
        raise ValueError("chunks of one call must be compatible")
    for spec, frames in zip(specs, given, strict=True):
        _check_spec(entry, spec)
        shape = (spec.given_frames, spec.height_px, spec.width_px, 3)
        found = frames.shape if frames is not None else None
        if found != (shape if spec.given_frames else None):
            raise ValueError(
                f"given frames have shape {found}, the spec asks for {shape if spec.given_frames else None}"
            )


def _check_spec(entry: ModelEntry, spec: ChunkSpec) -> None:
    if spec.model != entry.name:
        raise ValueError(f"spec is for model {spec.model!r}, this renderer holds {entry.name!r}")
    if spec.model_revision != entry.revision:
        raise Transient(f"chunk asks for {spec.model} at {spec.model_revision}, this worker has {entry.revision}")
    if spec.given_frames not in (0, entry.given_frames):
        raise InvalidMessage(f"given_frames={spec.given_frames}: model {entry.name} takes 0 or {entry.given_frames}")
    most = entry.clip_frames - spec.given_frames
    if not 1 <= spec.frames <= most:
        raise InvalidMessage(f"frames={spec.frames}: model {entry.name} renders 1 to {most} new frames a chunk")
    if (spec.width_px, spec.height_px) not in entry.sizes:
        sizes = ", ".join(f"{w}x{h}" for w, h in entry.sizes)
        raise InvalidMessage(f"size {spec.width_px}x{spec.height_px}: model {entry.name} renders {sizes}")
