"""Wan (2.1, 2.2): WanPipeline, text to video.

A Wan text-to-video model cannot start from given frames, so its registry entry must say given_frames = 0; shots then
render as independent chunks. (WanImageToVideoPipeline is another set of weights with an image encoder, starts from one
frame only, and is not driven here.)
"""

from collections.abc import Sequence
from typing import Any

from gpu_consumers.pipelines.diffusion import call_arguments, device_errors, new_frames, open_pipeline
from gpu_consumers.pipelines.renderer import Frames, OnStep, check
from schemas.errors import Fatal
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

CLASSES = ("WanPipeline",)


def load(entry: ModelEntry, device: str, dtype: str) -> "WanRenderer":
    """See `renderer.load`. Raises Fatal also when the entry asks for what this model cannot do."""
    if entry.given_frames:
        raise Fatal(f"model {entry.name}: WanPipeline cannot continue a clip; given_frames must be 0")
    pipe = open_pipeline(entry, device, dtype, CLASSES)
    ratio = pipe.vae_scale_factor_temporal
    # The pipeline silently rounds frames and sizes; chunks would then not have the frames that the plan counts on.
    if entry.clip_frames % ratio != 1 % ratio:
        raise Fatal(
            f"model {entry.name}: clip_frames={entry.clip_frames}, but its VAE needs a multiple of {ratio} plus 1"
        )
    _, rows, columns = (pipe.transformer or pipe.transformer_2).config.patch_size
    height_multiple, width_multiple = pipe.vae_scale_factor_spatial * rows, pipe.vae_scale_factor_spatial * columns
    for width, height in entry.sizes:
        if width % width_multiple or height % height_multiple:
            raise Fatal(
                f"model {entry.name}: size {width}x{height}, but this Wan needs a width that is a multiple of "
                f"{width_multiple} and a height that is a multiple of {height_multiple} pixels"
            )
    return WanRenderer(entry, pipe)


class WanRenderer:
    """A loaded Wan model; see `renderer.Renderer`."""

    def __init__(self, entry: ModelEntry, pipe: Any) -> None:
        self._entry, self._pipe = entry, pipe

    def render(self, specs: Sequence[ChunkSpec], given: Sequence[Frames | None], on_step: OnStep) -> list[Frames]:
        """See `renderer.Renderer.render`. The model does not know frame rates: spec.fps is when frames are shown."""
        check(self._entry, specs, given)
        with device_errors():
            return new_frames(self._pipe(**call_arguments(specs, self._entry.clip_frames, on_step)).frames, specs)
