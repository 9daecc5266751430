"""Bench of the scheduler on the real stack, with a renderer of known duration, beside first in, first out and Celery.

Express jobs under a backlog of bulk jobs, and a tenant with one job beside a tenant with all the others. A wait runs
from the moment before a job is sent to the moment when a device begins its chunk, in chunk times. First in, first out
is the same stack with all jobs in one lane and of one tenant, behind a backlog that is small enough to wait for.
"""

import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.bench import scheduling_celery as celery
from ops.bench.scheduling_stack import Ran, Stack, job, stack
from ops.local.kafka import LocalKafka
from ops.simulate.measures import percentile

WAIT_BAR, BUSY_BAR, TENANT_BAR = 1.2, 0.97, 2.0


@dataclass(frozen=True, slots=True)
class _Size:
    chunk_s: float
    workers: int
    backlog: int
    probes: int
    fifo_backlog: int


FULL = _Size(chunk_s=2.0, workers=4, backlog=10_000, probes=60, fifo_backlog=80)
QUICK = _Size(chunk_s=0.4, workers=2, backlog=30, probes=4, fifo_backlog=10)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: small and short, for tests; the figures are then not worth quoting."""
    size = QUICK if quick else FULL
    with (
        tempfile.TemporaryDirectory(prefix="reelbus-bench-") as folder,
        LocalKafka(Path(folder) / "kafka", "auto") as kafka,
    ):
        with stack(Path(folder), kafka.bootstrap_servers, "ours", size.chunk_s, size.workers) as running:
            ours = _ours(running, size)
        with stack(Path(folder), kafka.bootstrap_servers, "fifo", size.chunk_s, size.workers) as running:
            fifo = _fifo(running, size)
    peer = _celery(size) if celery.available() else None
    wait, busy = _p95(ours["express"]), ours["busy"]
    more = _p95(ours["beside"]) - _p95(ours["alone"])
    return {
        "bench": "scheduling",
        "figures": [
            figure(f"express wait under {size.backlog} bulk jobs, p95", wait, "chunk times", WAIT_BAR,
                    wait <= WAIT_BAR),
            figure("share of the time that workers rendered meanwhile", busy, "share", BUSY_BAR, busy >= BUSY_BAR),
            figure(f"a tenant's one job beside {size.backlog} of another, p95, over alone", more, "chunk times",
                    TENANT_BAR, more <= TENANT_BAR),
        ],
        "machine": {
            "cpus": len(os.sched_getaffinity(0)), "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2), "quick": quick, "chunk_s": size.chunk_s, "workers": size.workers,
            "took_in_per_s": round(ours["took_in_per_s"]),
        },
        "peers": [
            {"name": "reelbus", **_waits(ours, "express", "alone", "beside"), "busy": round(busy, 3)},
            {"name": f"the same stack, one lane and tenant, behind {size.fifo_backlog} jobs", **_waits(fifo, "behind")},
            {"name": f"Celery on Redis with priorities, {size.backlog} tasks", **_waits(peer, "express", "behind"),
             "busy": round(peer["busy"], 3), "behind_is": f"same priority, behind {size.fifo_backlog} tasks"}
            if peer is not None
            else {"name": "Celery on Redis", "not_measured": "redis-server is not installed"},
        ],
    }  # fmt: skip


def figure(name: str, value: float, unit: str, bar: float, holds: bool) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit, "bar": bar, "holds": holds}


def _p95(waits: Sequence[float]) -> float:
    return percentile(waits, 0.95) or 0.0


def _waits(found: dict[str, Any], *names: str) -> dict[str, float]:
    waits = {name: found[name] for name in names}
    return {
        f"{name}_wait_{which}": round(value, 2)
        for name, all_of_it in waits.items()
        for which, value in (("p50", statistics.median(all_of_it)), ("p95", _p95(all_of_it)), ("max", max(all_of_it)))
    }


def _ours(running: Stack, size: _Size) -> dict[str, Any]:
    alone = _probe(running, size, "alone", lambda n: job(f"alone-{n}", "small", "bulk"))
    began_s = time.monotonic()
    backlog = running.submit(job(f"many-{number}", "big", "bulk") for number in range(size.backlog))
    running.until_queued(backlog)
    took_s = time.monotonic() - began_s
    from_s = time.time()
    express = _probe(running, size, "express", lambda n: job(f"express-{n}", "quick", "express"))
    busy = _busy(list(running.ran.values()), from_s, time.time() - size.chunk_s, size.workers)
    beside = _probe(running, size, "beside", lambda n: job(f"beside-{n}", "small", "bulk"))
    return {
        "alone": alone, "express": express, "beside": beside, "busy": busy, "took_in_per_s": size.backlog / took_s,
    }  # fmt: skip


def _fifo(running: Stack, size: _Size) -> dict[str, Any]:
    running.until_queued(running.submit(job(f"many-{n}", "all", "standard") for n in range(size.fifo_backlog)))
    sent_s = time.time()
    late = running.submit(job(f"late-{n}", "all", "standard") for n in range(4))
    running.until_ran(late)
    return {"behind": [(running.ran[name].began_s - sent_s) / size.chunk_s for name in late]}


def _probe(running: Stack, size: _Size, name: str, make: Callable[[int], Any]) -> list[float]:
    """Waits of jobs that come one by one, at moments that have nothing to do with those of the workers."""
    pick = random.Random(name)
    sent: dict[str, float] = {}
    for number in range(size.probes):
        until_s = time.monotonic() + size.chunk_s * pick.uniform(0.9, 1.9)
        while (left_s := until_s - time.monotonic()) > 0:
            running.look(min(left_s, 0.05))
        before_s = time.time()
        sent[running.submit([make(number)])[0]] = before_s
    running.until_ran(sent)
    return [max(0.0, running.ran[job].began_s - at_s) / size.chunk_s for job, at_s in sent.items()]


def _busy(ran: Sequence[Ran], from_s: float, to_s: float, workers: int) -> float:
    """Share of the devices' time in which they rendered."""
    inside = sum(max(0.0, min(one.ended_s, to_s) - max(one.began_s, from_s)) for one in ran)
    return inside / (workers * (to_s - from_s))


def _celery(size: _Size) -> dict[str, Any]:
    pick = random.Random("express")
    with celery.cluster(size.workers) as chunk:
        many = [chunk.apply_async((size.chunk_s,), priority=celery.PATIENT) for _ in range(size.backlog)]
        many[size.workers].get(timeout=600)
        from_s, probes = time.time(), []
        for _ in range(size.probes):
            time.sleep(size.chunk_s * pick.uniform(0.9, 1.9))
            probes.append((time.time(), chunk.apply_async((size.chunk_s,), priority=celery.URGENT)))
        express = [(asked.get(timeout=600)[0] - at_s) / size.chunk_s for at_s, asked in probes]
        to_s = time.time() - size.chunk_s
        done = [one.result for one in many if one.ready()] + [asked.result for _, asked in probes]
        busy = _busy([Ran("", str(pid), began, ended) for began, ended, pid in done], from_s, to_s, size.workers)
    with celery.cluster(size.workers) as chunk:
        for _ in range(size.fifo_backlog):
            chunk.apply_async((size.chunk_s,), priority=celery.PATIENT)
        at_s = time.time()
        late = [chunk.apply_async((size.chunk_s,), priority=celery.PATIENT) for _ in range(4)]
        behind = [(one.get(timeout=600)[0] - at_s) / size.chunk_s for one in late]
    return {"express": express, "busy": busy, "behind": behind}
