"""The two peers of `bench overhead`, each measured a round at a time: the plain loop and the running pipeline."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from gpu_consumers.render.process import environment
from ops.bus import clients
from ops.bus.table import partition_count
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from producers.client import Operator
from schemas.codec import decode
from schemas.errors import Fatal
from schemas.events import JobFinished
from schemas.registry import ModelEntry
from schemas.request import JobRequest, Output, Shot
from schemas.topics import CHUNKS_RENDERED, JOBS_FINISHED, Topic
from schemas.work import ChunkRendered

SHOTS_PER_JOB = 8
TIMEOUT_S = 300.0
Prompt = tuple[str, int]
"""A prompt and its seed."""


@dataclass(frozen=True, slots=True)
class Round:
    frames_per_s: float
    frames_per_cpu_s: float
    core_share: float
    """CPU seconds over wall-clock seconds of the process on the device's core, while it had work."""
    held: float = 1.0
    """Share of the time that the device was held."""


class Plain:
    """The plain loop in its process, loaded once."""

    def __init__(self, entry: ModelEntry, cpu: int) -> None:
        self._entry = entry
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ops.bench.plain_loop", entry.source, str(cpu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(1),
            text=True,
        )

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def measure(self, prompts: Sequence[Prompt], batch: int) -> Round:
        entry = self._entry
        order = {
            "batches": list(_batches(prompts, batch)),
            "width_px": entry.sizes[0][0],
            "height_px": entry.sizes[0][1],
            "frames": entry.clip_frames,
            "steps": entry.steps,
            "guidance": entry.guidance,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Fatal("the plain diffusers loop ended early; its error is above")
        wall_s, cpu_s = json.loads(answer)
        frames = len(prompts) * entry.clip_frames
        return Round(frames / wall_s, frames / cpu_s, cpu_s / wall_s)


class Pipeline:
    """The running pipeline, seen from outside: requests go in, reports and results are read."""

    def __init__(self, settings: Settings, entry: ModelEntry, stages: Supervisor) -> None:
        self._settings, self._entry, self._stages = settings, entry, stages
        self._client = Operator(settings)
        self._reader = clients.consumer(settings, clients.group_id(settings, "bench"))
        self._reader.assign(places(self._reader, settings, CHUNKS_RENDERED, JOBS_FINISHED))

    def close(self) -> None:
        self._reader.close()

    def measure(self, prompts: Sequence[Prompt], batch: int, name: str) -> Round:
        """Counts from the report of an early chunk, when all is under way, to that of the last one. Returns once every
        video is published.

        Raises Fatal when a job fails, or a chunk is not rendered once.
        """
        began_cpu_s = self._device_cpu_s()
        jobs = list(self._client.submit_many(self._requests(prompts, name)))
        rendered, finished = self._watch(len(jobs), name)
        wrong = [f"{f.job}: {f.state} {f.reason}" for f in finished if f.state != "completed"]
        if wrong or len(rendered) != len(prompts):
            raise Fatal(f"{len(rendered)} of {len(prompts)} chunks rendered; not completed: {wrong}")
        # The chunks of one forward pass share its device-seconds equally; start counting between two passes.
        early = next(i for i in range(2 * batch - 1, len(rendered)) if rendered[i][1] != rendered[i + 1][1])
        (early_ms, _), *counted = rendered[early:]
        span_s = (counted[-1][0] - early_ms) / 1000
        cpu_s = self._device_cpu_s() - began_cpu_s
        held_s = sum(device_s for _, device_s in rendered)
        return Round(
            frames_per_s=len(counted) * self._entry.clip_frames / span_s,
            frames_per_cpu_s=len(rendered) * self._entry.clip_frames / cpu_s,
            core_share=cpu_s / held_s,
            held=sum(device_s for _, device_s in counted) / span_s,
        )

    def _device_cpu_s(self) -> float:
        """CPU seconds of the device process so far (Linux): the only child of the render stage's process."""
        render = next(stage.pid for stage in self._stages.status() if stage.name == "render")
        device = Path(f"/proc/{render}/task/{render}/children").read_text().split()[0]
        times = Path(f"/proc/{device}/stat").read_text().rpartition(")")[2].split()
        return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")

    def _watch(self, jobs: int, name: str) -> tuple[list[tuple[int, float]], list[JobFinished]]:
        """(moment of the report in ms, device-seconds) of every chunk, in the order of time; and the jobs' ends."""
        rendered: list[tuple[int, float]] = []
        finished: list[JobFinished] = []
        until_s = time.monotonic() + TIMEOUT_S
        while len(finished) < jobs:
            if time.monotonic() > until_s:
                raise Fatal(f"{name}: {len(finished)} of {jobs} jobs finished within {TIMEOUT_S:.0f} s")
            for message in self._reader.consume(100, 0.2):
                if message.error() is not None:
                    continue
                if message.topic() == JOBS_FINISHED.name(self._settings.prefix):
                    finished.append(decode(JobFinished, message.value()))
                elif (report := decode(ChunkRendered, message.value())).status == "rendered":
                    rendered.append((message.timestamp()[1], report.device_s))
        return sorted(rendered), finished

    def _requests(self, prompts: Sequence[Prompt], name: str) -> Iterator[JobRequest]:
        fps = self._entry.clip_frames
        width_px, height_px = self._entry.sizes[0]
        for number, part in enumerate(_batches(prompts, SHOTS_PER_JOB)):
            yield JobRequest(
                job_id=f"{name}-{number}",
                model=self._entry.name,
                shots=tuple(Shot(prompt=p, duration_s=1.0, seed=seed, continuity="independent") for p, seed in part),
                output=Output(width_px=width_px, height_px=height_px, fps=fps),
            )


def places(reader: Consumer, settings: Settings, *topics: Topic) -> list[TopicPartition]:
    """All partitions of these topics, from their beginning."""
    names = [topic.name(settings.prefix) for topic in topics]
    return [TopicPartition(name, p, 0) for name in names for p in range(partition_count(reader, name))]


def _batches(prompts: Sequence[Prompt], size: int) -> Iterator[list[Prompt]]:
    return (list(prompts[i : i + size]) for i in range(0, len(prompts), size))
