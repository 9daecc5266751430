"""Bench of the whole pipeline: frames per second through it with one worker, over those of a plain diffusers loop.

One core stands for the GPU: the worker's device process and the plain loop are pinned to it, and broker, all stages and
this bench to one other. Rounds of both alternate, in one run, with the same model, prompts, seeds, steps and threads.
The plain loop throws its frames away; the pipeline encodes, stores, inspects, assembles, marks and publishes them.

Other programs on the machine disturb both, and the pipeline more, because it leaves them no other core. So each peer
also says which share of its core it got (`core_share`: near 1 on a quiet machine), and `machine` says what the ratio
would be if both had got all of it: frames per CPU-second, times the share of the time that the device was held.
"""

import json
import os
import platform
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from ops import registry, topics_admin
from ops.bench.overhead_peers import SHOTS_PER_JOB, Pipeline, Plain, Prompt, Round
from ops.local.kafka import LocalKafka
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from ops.stages import STAGES
from schemas.errors import Fatal

MODEL = "shapes"
BAR = 0.90


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: few chunks and one round, for tests; the figures are then not worth quoting.

    Raises Fatal when the machine has one core only, or when a job of the bench does not complete.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Fatal("bench overhead needs two CPU cores: one stands for the GPU")
    rounds, chunks = (1, 16) if quick else (2, 96)
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="reelbus-bench-") as folder,
        _pinned({cpus[0]}),
        LocalKafka(Path(folder) / "kafka", "auto") as kafka,
    ):
        for batch in (1, 4):
            settings = _settings(Path(folder), kafka.bootstrap_servers, cpus[-1], batch)
            results.append(_measure(settings, batch, chunks, rounds, cpus[-1]))
    return {
        "bench": "overhead",
        "figures": [
            {
                "name": f"frames per second, pipeline over plain loop, batch {r['batch']}",
                "value": r["ratio"],
                "unit": "ratio",
                "bar": BAR,
                "holds": r["ratio"] >= BAR,
            }
            for r in results
        ],
        "machine": {
            "cpus": len(cpus),
            "device_cpu": cpus[-1],
            "everything_else_cpu": cpus[0],
            "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2),
            "quick": quick,
            "chunks_per_round": chunks,
            "share_of_time_device_held": {f"batch {r['batch']}": r["held"] for r in results},
            "ratio_if_undisturbed": {f"batch {r['batch']}": r["undisturbed"] for r in results},
        },
        "peers": [
            {
                "name": name,
                "batch": r["batch"],
                "frames_per_s": round(_median(r[key], "frames_per_s"), 2),
                "rounds": [round(one.frames_per_s, 2) for one in r[key]],
                "core_share": [round(one.core_share, 2) for one in r[key]],
                "did": did,
            }
            for r in results
            for name, key, did in (
                ("reelbus, request to published video", "pipeline", f"jobs of {SHOTS_PER_JOB} shots of one chunk each; "
                 "time from one chunk's report to the last, all videos completed"),
                ("plain diffusers loop", "plain", "the pipeline object called in a loop, frames thrown away"),
            )
        ],
    }  # fmt: skip


def _median(rounds: Sequence[Round], name: str) -> float:
    return float(statistics.median(getattr(r, name) for r in rounds))


def _measure(settings: Settings, batch: int, chunks: int, rounds: int, device_cpu: int) -> dict[str, Any]:
    """B P B P B: rounds of the plain loop around those of the pipeline, so that a drift of the machine hits both."""
    entry = registry.load(settings.registry)[MODEL]
    topics_admin.apply(settings, topics_admin.plan(settings))
    with (
        Plain(entry, device_cpu) as plain,
        Supervisor([(s.name, s.processes) for s in STAGES.values()], settings) as stages,
    ):
        bench = Pipeline(settings, entry, stages)
        plain.measure(_prompts(-1, 2 * batch), batch)
        bench.measure(_prompts(-1, 2 * SHOTS_PER_JOB), batch, "warm-up")
        ours, theirs = [], [plain.measure(_prompts(0, chunks // 2), batch)]
        for number in range(rounds):
            ours.append(bench.measure(_prompts(number, chunks), batch, f"round-{number}"))
            theirs.append(plain.measure(_prompts(number, chunks // 2), batch))
        bench.close()
    per_cpu_s = _median(ours, "frames_per_cpu_s") / _median(theirs, "frames_per_cpu_s")
    return {
        "batch": batch,
        "ratio": round(_median(ours, "frames_per_s") / _median(theirs, "frames_per_s"), 3),
        "undisturbed": round(per_cpu_s * min(1.0, _median(ours, "held")), 3),
        "held": round(_median(ours, "held"), 3),
        "pipeline": ours,
        "plain": theirs,
    }


def _prompts(number: int, count: int) -> list[Prompt]:
    """Different seeds in every round: no chunk may be found in the store."""
    words = list(
        product(("red", "green", "blue", "yellow"), ("circle", "square", "triangle"), ("left", "right", "up", "down"))
    )
    pick = random.Random(number)
    first_seed = 1_000_000 * (number + 2)
    return [
        ("a {} {} moving {} on a black background".format(*pick.choice(words)), first_seed + i) for i in range(count)
    ]


def _settings(folder: Path, bootstrap_servers: str, device_cpu: int, batch: int) -> Settings:
    """The registry's own entry, at this batch size."""
    entry = msgspec.structs.replace(registry.load(Settings().registry)[MODEL], max_batch=batch)
    file = folder / f"registry-{batch}.toml"
    # Strings, numbers and lists look the same in JSON and TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in msgspec.to_builtins(entry).items()]
    file.write_text("\n".join(["[[model]]", *lines]) + "\n")
    return Settings(
        bootstrap_servers=bootstrap_servers,
        prefix=f"bench{batch}",
        store=str(folder / f"store-{batch}"),
        data_dir=str(folder / f"data-{batch}"),
        registry=str(file),
        device_cpus=str(device_cpu),
    )


@contextmanager
def _pinned(cpus: set[int]) -> Iterator[None]:
    """This thread, and so what it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
