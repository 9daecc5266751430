"""What all diffusers families share: opening a pipeline safely, and running it with our errors."""

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DiffusionPipeline
from numpy.typing import NDArray

from gpu_consumers.models.digest import verify
from gpu_consumers.pipelines.renderer import Frames, OnStep
from schemas.errors import Fatal, Transient
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# diffusers is partly untyped.
_from_pretrained: Any = DiffusionPipeline.from_pretrained
_COMMIT = re.compile(r"[0-9a-f]{40}")


def open_pipeline(entry: ModelEntry, device: str, dtype: str, classes: Sequence[str]) -> Any:
    """The entry's pipeline on `device`: safetensors only, no code from the model, exactly the registry's revision.

    classes: names of the pipeline classes that the caller can drive.
    Raises Fatal that says what is wrong with the folder, revision, dtype, device or class.
    """
    if dtype not in DTYPES:
        raise Fatal(f"dtype {dtype!r} is not supported; known are {', '.join(DTYPES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Fatal(f"device {device!r} was asked for, but torch sees no CUDA device")
    options: dict[str, Any] = {"torch_dtype": DTYPES[dtype], "use_safetensors": True}
    if Path(entry.source).is_dir():
        verify(Path(entry.source), entry.revision)
        options["local_files_only"] = True
    elif _COMMIT.fullmatch(entry.revision):
        options["revision"] = entry.revision
    else:
        raise Fatal(
            f"model {entry.name}: {entry.source} is not a folder, and revision {entry.revision!r} is not the full "
            "40-hex commit of a hub repository; branches and tags can move, so chunk names would lie"
        )
    _quiet_libraries()
    try:
        pipe = _from_pretrained(entry.source, **options)
    except Exception as exc:  # whatever it is, this process has no model; diffusers raises all kinds, KeyError too
        raise Fatal(f"model {entry.name} cannot be loaded from {entry.source}: {type(exc).__name__}: {exc}") from exc
    if type(pipe).__name__ not in classes:
        raise Fatal(f"model {entry.name} is a {type(pipe).__name__}; family {entry.family} drives {', '.join(classes)}")
    # The pipelines log the part of a prompt that they cut off; prompts must never be logged.
    logging.getLogger(type(pipe).__module__).setLevel(logging.ERROR)
    pipe.set_progress_bar_config(disable=True)
    with device_errors():
        return pipe.to(device)


def _quiet_libraries() -> None:
    """No progress bars for loading weights: a worker's stderr is a log."""
    for library in (diffusers, transformers):
        quiet: Any = library.utils.logging.disable_progress_bar
        quiet()


def call_arguments(specs: Sequence[ChunkSpec], clip_frames: int, on_step: OnStep) -> dict[str, Any]:
    """Arguments that every text-to-video pipeline of diffusers takes, for compatible specs."""
    first = specs[0]

    def after_step(_pipe: object, step: int, _timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(step + 1, first.steps)
        return tensors

    return {
        "prompt": [spec.prompt for spec in specs],
        "negative_prompt": [spec.negative_prompt for spec in specs],
        "width": first.width_px,
        "height": first.height_px,
        "num_frames": clip_frames,
        "num_inference_steps": first.steps,
        "guidance_scale": first.guidance,
        # One generator per item, on the CPU: the noise of a chunk is the same on every device and in every batch.
        "generator": [torch.Generator("cpu").manual_seed(spec.seed) for spec in specs],
        "output_type": "np",
        "callback_on_step_end": after_step,
    }


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Device memory that ran out is Transient (the cache is emptied, so that a smaller batch can succeed); any other
    error of the device is Fatal, because a CUDA context cannot be used after one."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise Transient(f"device out of memory: {str(exc).splitlines()[0]}") from None
    except torch.AcceleratorError as exc:
        raise Fatal(f"device lost: {str(exc).splitlines()[0]}") from exc


def new_frames(video: NDArray[np.floating[Any]], specs: Sequence[ChunkSpec]) -> list[Frames]:
    """(N, T, H, W, 3) in 0..1 -> each chunk's new frames as uint8. Raises Transient when a value is not finite."""
    if not np.isfinite(video).all():
        raise Transient("the model produced NaN")
    pixels = np.rint(video * 255).astype(np.uint8)
    return [clip[s.given_frames : s.given_frames + s.frames].copy() for clip, s in zip(pixels, specs, strict=True)]
