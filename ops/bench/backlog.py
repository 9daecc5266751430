"""Bench of a very large backlog on the real stack: a million bulk jobs at once while express jobs keep arriving.

Until dispatch has taken every bulk job in. What is read: the peak memory of each process (VmHWM), and what express jobs
wait, from the moment before one is sent to the moment when a device begins its chunk, in chunk times.
"""

import contextlib
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from ops.bench.scheduling import figure
from ops.bench.scheduling_stack import Stack, job, stack
from ops.bus import clients
from ops.bus.table import partition_count
from ops.local.kafka import LocalKafka
from ops.settings import Settings
from ops.simulate.measures import percentile
from producers.client import Operator
from schemas.errors import Fatal
from schemas.request import JobRequest
from schemas.topics import CHUNKS_RENDERED, PLANS_READY

WAIT_BAR = 1.2
SCHEDULER_BAR_MB = 1_024
"""Its windows bound it, not the backlog; see stream_processors.dispatch.backlog."""
KEPT_SAMPLES = 60


@dataclass(frozen=True, slots=True)
class _Size:
    jobs: int
    chunk_s: float
    workers: int
    pause_s: float
    """Between two express jobs, on average."""
    sample_s: float
    patience_s: float


FULL = _Size(jobs=1_000_000, chunk_s=2.0, workers=2, pause_s=5.0, sample_s=30.0, patience_s=14_400.0)
QUICK = _Size(jobs=300, chunk_s=0.4, workers=1, pause_s=0.5, sample_s=1.0, patience_s=120.0)


def run(quick: bool = False, jobs: int | None = None) -> dict[str, Any]:
    """Measure. `quick`: a few hundred jobs, for tests. jobs: how many instead of a million."""
    size = QUICK if quick else FULL
    count = jobs or size.jobs
    with (
        tempfile.TemporaryDirectory(prefix="reelbus-bench-") as folder,
        LocalKafka(Path(folder) / "kafka", "auto", for_long=not quick) as kafka,
        stack(
            Path(folder), kafka.bootstrap_servers, "backlog", size.chunk_s, size.workers, (CHUNKS_RENDERED,)
        ) as running,
    ):
        found = _Run(running, size, count).measure()
    dispatch_mb = found["peak_mb"]["dispatch"]
    wait = found["express"]["p95"]
    return {
        "bench": "backlog",
        "figures": [
            figure(f"express wait while {count} bulk jobs come in, p95", wait, "chunk times", WAIT_BAR,
                   wait <= WAIT_BAR),
            figure(f"peak memory of dispatch with {count} jobs", dispatch_mb, "MiB", SCHEDULER_BAR_MB,
                   dispatch_mb <= SCHEDULER_BAR_MB),
        ],
        "machine": {
            "cpus": len(os.sched_getaffinity(0)), "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2), "quick": quick, "chunk_s": size.chunk_s, "workers": size.workers,
        },
        "peers": [],
        "run": found,
    }  # fmt: skip


@dataclass
class _Publisher:
    """Sends the bulk jobs as fast as the broker takes them, beside the rest."""

    settings: Settings
    count: int
    sent: int = 0
    failed: list[BaseException] = field(default_factory=list)
    took_s: float = 0.0

    def __call__(self) -> None:
        began_s = time.monotonic()
        try:
            for _ in Operator(self.settings).submit_many(_bulk(self.count)):
                self.sent += 1
        except BaseException as exc:
            self.failed.append(exc)
        self.took_s = time.monotonic() - began_s


def _bulk(count: int) -> Iterator[JobRequest]:
    return (job(f"many-{number}", "big", "bulk") for number in range(count))


class _Run:
    def __init__(self, running: Stack, size: _Size, count: int) -> None:
        self._stack, self._size, self._count = running, size, count
        self._settings = running.settings
        self._watcher = clients.consumer(self._settings, clients.group_id(self._settings, "dispatch"))
        self._publisher = _Publisher(self._settings, count)
        self._sent: dict[str, float] = {}
        self._peaks: dict[str, int] = {}
        self._samples: list[dict[str, Any]] = []
        self._taken = 0

    def measure(self) -> dict[str, Any]:
        thread = threading.Thread(target=self._publisher, name="publisher", daemon=True)
        began_s = time.monotonic()
        thread.start()
        pick, next_job_s, next_sample_s, taken = random.Random(7), began_s, began_s, 0
        while taken < self._count:
            now_s = time.monotonic()
            if self._publisher.failed:
                raise self._publisher.failed[0]
            if now_s > began_s + self._size.patience_s:
                raise Fatal(f"dispatch took in {taken} of {self._count} jobs in {self._size.patience_s:.0f} s")
            if now_s >= next_job_s:
                next_job_s = now_s + self._size.pause_s * pick.uniform(0.5, 1.5)
                before_s = time.time()
                self._sent[self._stack.submit([job(f"express-{len(self._sent)}", "quick", "express")])[0]] = before_s
            if now_s >= next_sample_s:
                next_sample_s = now_s + self._size.sample_s
                taken = self._taken_in()
                self._sample(now_s - began_s, taken)
            self._stack.look(0.1)
        took_s = time.monotonic() - began_s
        self._stack.until_ran(self._sent)
        self._sample(took_s, taken)
        self._watcher.close()
        return self._told(took_s)

    def _told(self, took_s: float) -> dict[str, Any]:
        waits = [self._wait(name) for name in self._sent]
        step = max(1, len(self._samples) // KEPT_SAMPLES)
        return {
            "jobs": self._count,
            "published_in_s": round(self._publisher.took_s, 1),
            "taken_in_after_s": round(took_s, 1),
            "taken_in_per_s": round(self._count / took_s),
            "express": {
                "jobs": len(waits), "p50": round(percentile(waits, 0.5) or 0.0, 2),
                "p95": round(percentile(waits, 0.95) or 0.0, 2), "longest": round(max(waits), 2),
            },
            "peak_mb": dict(sorted(self._peaks.items())),
            "samples": [*self._samples[:-1:step], self._samples[-1]],
        }  # fmt: skip

    def _wait(self, name: str) -> float:
        return max(0.0, self._stack.ran[name].began_s - self._sent[name]) / self._size.chunk_s

    def _taken_in(self) -> int:
        """Plans of bulk jobs that dispatch has taken in and committed; nothing is killed here, so none comes twice.
        While the broker has no time to answer: as many as were known before."""
        topic = PLANS_READY["bulk"].name(self._settings.prefix)
        with contextlib.suppress(KafkaException):
            ready = [TopicPartition(topic, p) for p in range(partition_count(self._watcher, topic))]
            self._taken = sum(max(0, p.offset) for p in self._watcher.committed(ready, timeout=10.0))
        return self._taken

    def _sample(self, at_s: float, taken: int) -> None:
        now: dict[str, int] = {}
        for name, pid in self._stack.pids().items():
            if (memory := _memory_mb(pid)) is not None:
                self._peaks[name] = max(self._peaks.get(name, 0), memory[1])
                now[name] = memory[0]
        recent = [self._wait(name) for name in list(self._sent)[-20:] if name in self._stack.ran]
        self._samples.append(
            {"at_s": round(at_s), "published": self._publisher.sent, "taken_in": taken, "now_mb": now,
             "express_waits_longest": round(max(recent, default=0.0), 2)}
        )  # fmt: skip
        print(self._samples[-1], file=sys.stderr, flush=True)


def _memory_mb(pid: int) -> tuple[int, int] | None:
    """Resident memory of a process now and at its highest, MiB; None: it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in lines:
        return None
    now, peak = (int(lines[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak
