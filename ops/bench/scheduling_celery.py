"""The Celery peer of `bench scheduling`: the same work on Redis, with priorities as its documentation sets them up.

A worker process takes one task at a time (prefetch multiplier 1, late acknowledgement), so that an urgent task waits
for no reserved one.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery

from ops.local.ports import free_port
from schemas.errors import Fatal

URL_VARIABLE = "REELBUS_BENCH_REDIS"
STEPS = list(range(10))
URGENT, PATIENT = 0, 9
START_S = 30.0


def _made(url: str) -> Any:
    made = Celery("bench", broker=url, backend=url)
    made.conf.update(
        broker_transport_options={"priority_steps": STEPS, "sep": ":", "queue_order_strategy": "priority"},
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )
    made.task(name="chunk")(_chunk)
    return made


def _chunk(chunk_s: float) -> tuple[float, float, int]:
    """Holds a device. Returns when it began and ended, seconds since the epoch, and the process."""
    began_s = time.time()
    time.sleep(chunk_s)
    return began_s, time.time(), os.getpid()


app = _made(os.environ[URL_VARIABLE]) if URL_VARIABLE in os.environ else None
"""In Celery's own processes."""


def available() -> bool:
    return shutil.which("redis-server") is not None


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Redis and `workers` processes of Celery, until the block ends; yields the task."""
    with tempfile.TemporaryDirectory(prefix="reelbus-bench-redis-") as folder:
        port = free_port()
        redis = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        url = f"redis://127.0.0.1:{port}/0"
        log = Path(folder) / "celery.log"
        arguments = ["-A", "ops.bench.scheduling_celery", "worker", f"--concurrency={workers}", "--loglevel=WARNING"]
        with log.open("wb") as out:
            celery = subprocess.Popen(
                [sys.executable, "-m", "celery", *arguments],
                stdout=out,
                stderr=out,
                env={**os.environ, URL_VARIABLE: url},
            )
        try:
            made = _made(url)
            _ready(made.tasks["chunk"], log)
            yield made.tasks["chunk"]
            made.backend.result_consumer.stop()
            made.close()
        finally:
            celery.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                celery.wait(10)
            for process in (celery, redis):
                process.kill()
                process.wait()


def _ready(task: Any, log: Path) -> None:
    why = ""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        try:
            task.apply_async((0.0,), priority=URGENT).get(timeout=5)
        except Exception as exc:  # of Celery, kombu or redis, as long as one of them is not up
            why = repr(exc)
            time.sleep(0.2)
        else:
            return
    said = log.read_text(errors="replace")[-2000:]
    raise Fatal(f"Celery did not answer within {START_S:.0f} s ({why}):\n{said}")
