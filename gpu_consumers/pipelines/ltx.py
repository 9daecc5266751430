"""LTX-Video and everything of its class: LTXPipeline (text) and LTXConditionPipeline (text, and continuing a clip)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from msgspec import Meta

from gpu_consumers.pipelines.diffusion import call_arguments, device_errors, new_frames, open_pipeline
from gpu_consumers.pipelines.renderer import Frames, OnStep, check
from schemas.errors import Fatal
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

CLASSES = ("LTXPipeline", "LTXConditionPipeline")
TUNING_FILE = "reelbus.json"
SIZE_MULTIPLE_PX = 32
"""Both pipelines refuse other sizes, whatever the VAE could do."""


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Call arguments that are a property of the weights: file reelbus.json in the model folder. None: as diffusers."""

    sigma_shift: Annotated[float, Meta(gt=0)] | None = None
    """Denoise along the shifted linear schedule sigma' = shift * sigma / (1 + (shift - 1) * sigma) instead of
    the linear-quadratic one that LTXConditionPipeline always uses. It cannot come from scheduler_config.json: the
    pipeline hands the scheduler ready-made timesteps, and the scheduler then shifts sigmas but not timesteps, so that
    the model would be told another noise level than the one it gets."""
    frame_rate_fps: Annotated[float, Meta(gt=0)] | None = None
    """Frame rate that the model is told, for models trained at one rate only. None: the chunk's own."""
    max_sequence_length: Annotated[int, Meta(ge=1)] | None = None
    """Tokens of a prompt; what is longer is cut."""


def load(entry: ModelEntry, device: str, dtype: str) -> "LTXRenderer":
    """See `renderer.load`. Raises Fatal also when the entry asks for what this model's pipeline class cannot do."""
    pipe = open_pipeline(entry, device, dtype, CLASSES)
    ratio = pipe.vae_temporal_compression_ratio
    conditions = type(pipe).__name__ == "LTXConditionPipeline"
    if entry.given_frames and not conditions:
        raise Fatal(f"model {entry.name}: LTXPipeline cannot continue a clip; given_frames must be 0")
    for name, frames in (("clip_frames", entry.clip_frames), ("given_frames", entry.given_frames)):
        if frames and frames % ratio != 1 % ratio:
            raise Fatal(f"model {entry.name}: {name}={frames}, but its VAE needs a multiple of {ratio} plus 1")
    for width, height in entry.sizes:
        if width % SIZE_MULTIPLE_PX or height % SIZE_MULTIPLE_PX:
            raise Fatal(
                f"model {entry.name}: size {width}x{height}, but LTX needs multiples of {SIZE_MULTIPLE_PX} pixels"
            )
    tuning = read_tuning(Path(entry.source) / TUNING_FILE)
    if tuning.sigma_shift is not None and not conditions:
        raise Fatal(
            f"model {entry.name}: sigma_shift is for LTXConditionPipeline; LTXPipeline obeys scheduler_config.json"
        )
    return LTXRenderer(entry, pipe, tuning)


def read_tuning(path: Path) -> Tuning:
    """The model's own call arguments; defaults when there is no file. Raises Fatal that names what is wrong in it."""
    if not path.is_file():
        return Tuning()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tuning)
    except msgspec.DecodeError as exc:
        raise Fatal(f"{path}: {exc}") from None


class LTXRenderer:
    """A loaded LTX model; see `renderer.Renderer`."""

    def __init__(self, entry: ModelEntry, pipe: Any, tuning: Tuning) -> None:
        self._entry, self._pipe, self._tuning = entry, pipe, tuning

    def render(self, specs: Sequence[ChunkSpec], given: Sequence[Frames | None], on_step: OnStep) -> list[Frames]:
        """See `renderer.Renderer.render`."""
        check(self._entry, specs, given)
        arguments = call_arguments(specs, self._entry.clip_frames, on_step)
        arguments["frame_rate"] = self._tuning.frame_rate_fps or specs[0].fps
        if self._tuning.max_sequence_length is not None:
            arguments["max_sequence_length"] = self._tuning.max_sequence_length
        if self._tuning.sigma_shift is not None:
            arguments["timesteps"] = shifted_timesteps(specs[0].steps, self._tuning.sigma_shift)
        clips = [frames for frames in given if frames is not None]
        if clips:
            video: Any = np.stack(clips).astype(np.float32) / 255
            arguments["conditions"] = [LTXVideoCondition(video=video, frame_index=0)]
        with device_errors():
            return new_frames(self._pipe(**arguments).frames, specs)


def shifted_timesteps(steps: int, shift: float) -> list[float]:
    """Timesteps 1000 .. >0 of a linear flow schedule, shifted towards noise (Esser et al. 2024, arXiv 2403.03206)."""
    sigmas = [1 - i / steps for i in range(steps)]
    return [1000 * shift * s / (1 + (shift - 1) * s) for s in sigmas]
