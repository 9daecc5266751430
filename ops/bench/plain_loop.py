"""The peer of `bench overhead`: diffusers as its documentation shows it, in a loop, in a process of its own.

`python -m ops.bench.plain_loop MODEL_FOLDER CPU` reads lines of JSON (a list of batches, each a list of [prompt, seed],
and the call's numbers), and answers each with the seconds that the calls took: [wall clock, CPU]. It keeps nothing of
what it renders.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging

from gpu_consumers.pipelines.ltx import read_tuning, shifted_timesteps


def main(folder: str, cpu: int) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, {cpu})
    torch.set_num_threads(1)
    diffusers_logging.disable_progress_bar()
    load: Any = DiffusionPipeline.from_pretrained
    pipe = load(folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    tuning = read_tuning(Path(folder) / "reelbus.json")
    for line in sys.stdin:
        order = json.loads(line)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for batch in order["batches"]:
            with torch.no_grad():
                pipe(
                    prompt=[prompt for prompt, _ in batch],
                    negative_prompt=[""] * len(batch),
                    width=order["width_px"],
                    height=order["height_px"],
                    num_frames=order["frames"],
                    num_inference_steps=order["steps"],
                    guidance_scale=order["guidance"],
                    timesteps=shifted_timesteps(order["steps"], tuning.sigma_shift or 1.0),
                    frame_rate=tuning.frame_rate_fps or 25,
                    max_sequence_length=tuning.max_sequence_length or 128,
                    generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in batch],
                    output_type="np",
                )
        print(json.dumps([time.perf_counter() - began_s, time.process_time() - began_cpu_s]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
