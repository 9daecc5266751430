"""Measures how well a model folder obeys prompts, through the same code that renders jobs.

`python -m gpu_consumers.models.shapes.evaluate [--model DIR] [--json]`

Prompts are fixed (one random seed, which training does not use) and cover four kinds of wording, see captions.py. Then
clips are continued over four chunks, each from the last frames of the one before: with the same prompt, and with
another motion asked for in every chunk. Only new frames are judged.
"""

import argparse
import importlib
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from gpu_consumers.models.digest import digest
from gpu_consumers.models.shapes import captions, world
from gpu_consumers.models.shapes.judge import accuracy, judge
from gpu_consumers.pipelines.renderer import Frames, Renderer, load
from ops.registry import load as load_registry
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

REGISTRY = Path(__file__).parent.parent / "registry.toml"
PROMPT_SEED, CONTINUATION_SEED = 20_261_123, 78
COLUMNS = (*world.ATTRIBUTES, "single", "all")


@dataclass(frozen=True)
class Case:
    """One prompt of the test set and the scene that it asks for."""

    kind: str
    prompt: str
    scene: world.Scene


def prompt_set(per_kind: int, kinds: Sequence[str] = captions.KINDS) -> list[Case]:
    """The same prompts every time: `per_kind` of each kind of wording."""
    cases = []
    for kind in kinds:
        rng = random.Random(f"{PROMPT_SEED} {kind}")
        for _ in range(per_kind):
            scene = world.random_scene(rng)
            cases.append(Case(kind, captions.wording(kind, scene, rng), scene))
    return cases


def shapes_entry(folder: Path | None = None) -> ModelEntry:
    """The registry's entry of this model, or the same entry over another folder."""
    entry = load_registry(str(REGISTRY))["shapes"]
    if folder is None:
        return entry
    return msgspec.structs.replace(entry, source=str(folder.resolve()), revision=digest(folder))


def spec_of(entry: ModelEntry, prompt: str, seed: int, continued: bool = False) -> ChunkSpec:
    """A chunk of as many new frames as the model can render at once."""
    given = entry.given_frames if continued else 0
    width, height = entry.sizes[0]
    return ChunkSpec(
        tenant="evaluation",
        model=entry.name,
        model_revision=entry.revision,
        prompt=prompt,
        negative_prompt="",
        seed=seed,
        steps=entry.steps,
        guidance=entry.guidance,
        width_px=width,
        height_px=height,
        fps=24,
        first_frame=0,
        frames=entry.clip_frames - given,
        given_frames=given,
        given_chunk="0" * 64 if continued else "",
    )


def render_all(
    renderer: Renderer, specs: Sequence[ChunkSpec], given: Sequence[Frames | None], batch: int
) -> list[Frames]:
    """Renders in batches of compatible chunks."""
    out: list[Frames] = []
    for i in range(0, len(specs), batch):
        out += renderer.render(specs[i : i + batch], given[i : i + batch], lambda _step, _steps: None)
    return out


def prompt_following(renderer: Renderer, entry: ModelEntry, cases: Sequence[Case]) -> dict[str, Any]:
    """Accuracy per kind of wording and over all of them, and the prompts that went wrong."""
    specs = [spec_of(entry, case.prompt, seed) for seed, case in enumerate(cases)]
    seen = [judge(clip) for clip in render_all(renderer, specs, [None] * len(specs), entry.max_batch)]
    groups = {kind: [i for i, c in enumerate(cases) if c.kind == kind] for kind in dict.fromkeys(c.kind for c in cases)}
    groups["all kinds"] = list(range(len(cases)))
    table = {
        kind: {"prompts": len(index), **accuracy([seen[i] for i in index], [cases[i].scene for i in index])}
        for kind, index in groups.items()
    }
    wrong = [
        {"kind": case.kind, "prompt": case.prompt, "seen": msgspec.to_builtins(got)}
        for case, got in zip(cases, seen, strict=True)
        if not got.right(case.scene)
    ]
    return {"table": table, "wrong": wrong}


def continuation(renderer: Renderer, entry: ModelEntry, clips: int, chunks: int, turn: bool) -> list[dict[str, float]]:
    """Accuracy per chunk of `clips` videos of `chunks` chunks; with `turn`, each chunk asks for another motion."""
    rng = random.Random(CONTINUATION_SEED)
    scenes = [world.random_scene(rng) for _ in range(clips)]
    last: list[Frames | None] = [None] * clips
    rows = []
    for chunk in range(chunks):
        if turn and chunk:
            motions = world.ATTRIBUTES["motion"]
            scenes = [replace(s, motion=rng.choice([m for m in motions if m != s.motion])) for s in scenes]
        specs = [
            spec_of(entry, captions.canonical(scene), 1000 + 100 * chunk + i, continued=chunk > 0)
            for i, scene in enumerate(scenes)
        ]
        new = render_all(renderer, specs, last, entry.max_batch)
        last = [frames[-entry.given_frames :] for frames in new]
        rows.append(accuracy([judge(frames) for frames in new], scenes))
    return rows


def seconds_per_clip(renderer: Renderer, entry: ModelEntry, clips: int = 10) -> float:
    """Mean wall time of one clip rendered alone, after one warm-up."""
    specs = [spec_of(entry, "a red circle moving left on a black background", seed) for seed in range(clips + 1)]
    render_all(renderer, specs[:1], [None], 1)
    start = time.perf_counter()
    render_all(renderer, specs[1:], [None] * clips, 1)
    return (time.perf_counter() - start) / clips


def measure(entry: ModelEntry, per_kind: int, clips: int, chunks: int, device: str, dtype: str) -> dict[str, Any]:
    """All figures of the model card."""
    importlib.import_module(f"gpu_consumers.pipelines.{entry.family}")
    start = time.perf_counter()
    renderer = load(entry, device, dtype)
    report: dict[str, Any] = {"revision": entry.revision, "steps": entry.steps, "guidance": entry.guidance}
    report["load_s"] = time.perf_counter() - start
    report["clip_s"] = seconds_per_clip(renderer, entry)
    report["prompt_following"] = prompt_following(renderer, entry, prompt_set(per_kind))
    report["continuation"] = {
        name: continuation(renderer, entry, clips, chunks, turn)
        for name, turn in (("same prompt", False), ("another motion in every chunk", True))
    }
    return report


def show(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    head = "".join(f"{name:>12}" for name in COLUMNS)
    lines = [f"revision {report['revision']}, {report['steps']} steps, guidance {report['guidance']}"]
    lines += [
        f"load {report['load_s']:.2f} s, {report['clip_s']:.3f} s a clip",
        "",
        f"{'wording':<16}{'prompts':>8}{head}",
    ]
    for kind, row in report["prompt_following"]["table"].items():
        lines.append(f"{kind:<16}{row['prompts']:>8}" + "".join(f"{row[name]:>12.3f}" for name in COLUMNS))
    for name, rows in report["continuation"].items():
        lines += ["", f"continuation, {name}", f"{'chunk':<24}{head}"]
        lines += [f"{i:<24}" + "".join(f"{row[n]:>12.3f}" for n in COLUMNS) for i, row in enumerate(rows, 1)]
    wrong = report["prompt_following"]["wrong"]
    lines += ["", f"wrong ({len(wrong)}):"] if wrong else []
    lines += [f"  {w['kind']}: {w['prompt']!r} -> {' '.join(str(v) for v in w['seen'].values())}" for w in wrong]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluate", description="Measures prompt following of the shapes model.")
    parser.add_argument("--model", type=Path, help="model folder (default: the one in the registry)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--per-kind", type=int, default=70, help="prompts per kind of wording (of four)")
    parser.add_argument("--clips", type=int, default=24, help="videos that are continued")
    parser.add_argument("--chunks", type=int, default=4, help="chunks per continued video")
    parser.add_argument("--steps", type=int, help="denoise steps (default: the registry's)")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the registry's)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    entry = shapes_entry(args.model)
    changes = {name: value for name in ("steps", "guidance") if (value := getattr(args, name)) is not None}
    entry = msgspec.structs.replace(entry, **changes)
    report = measure(entry, args.per_kind, args.clips, args.chunks, args.device, args.dtype)
    print(json.dumps(report) if args.json else show(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
