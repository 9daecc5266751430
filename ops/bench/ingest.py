"""Bench of batch ingestion: rows of a JSONL file to acknowledged records, beside two peers in the same run.

Rounds alternate: `reelbus batch submit` as it is (reads, checks and encodes every row, checkpoints), a bare
confluent-kafka producer with the same keys, bytes, topic and client settings from memory, and Celery with Redis taking
the same payloads. Every side runs in a process of its own; times are inside it, without its start.
"""

import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops import topics_admin
from ops.local.kafka import LocalKafka
from ops.local.ports import free_port
from ops.settings import Settings

ROWS, QUICK_ROWS = 200_000, 5_000
CELERY_ROWS, QUICK_CELERY_ROWS = 10_000, 500
ROUNDS = 5
BAR_BARE, BAR_CELERY, BAR_MEMORY = 0.5, 20.0, 1.25


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: few rows and one round, for tests; the figures are then not worth quoting."""
    with (
        tempfile.TemporaryDirectory(prefix="reelbus-bench-") as name,
        LocalKafka(Path(name) / "kafka", "auto") as kafka,
    ):
        settings = Settings(bootstrap_servers=kafka.bootstrap_servers, prefix="bench", data_dir=name)
        topics_admin.apply(settings, topics_admin.plan(settings))
        return measure(settings, Path(name), quick)


def measure(settings: Settings, folder: Path, quick: bool) -> dict[str, Any]:
    """The same on a broker with all topics."""
    rows, rounds = (QUICK_ROWS, 1) if quick else (ROWS, ROUNDS)
    file, tenth = folder / "rows.jsonl", folder / "tenth.jsonl"
    write_rows(file, rows)
    write_rows(tenth, rows // 10)
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "bare": [], "celery": []}
    work: dict[str, Callable[[int], dict[str, float]]] = {
        "ours": lambda n: _child(settings, "submit", file, f"round-{n}"),
        "bare": lambda n: _child(settings, "bare", file, f"bare-{n}"),
    }
    with _Redis(folder) as redis:
        if redis.url:
            few = QUICK_CELERY_ROWS if quick else CELERY_ROWS
            work["celery"] = lambda n: _child(settings, "celery", file, redis.url, few)
        for number in range(rounds):
            order = list(work.items())
            for side, measured in order if number % 2 else reversed(order):
                sides[side].append(measured(number))
    return _result(rows, sides, _child(settings, "submit", tenth, "tenth"), quick)


def _result(
    rows: int, sides: dict[str, list[dict[str, float]]], small: dict[str, float], quick: bool
) -> dict[str, Any]:
    rates = {name: statistics.median(r["rows_per_s"] for r in found) for name, found in sides.items() if found}
    over_bare = _ratio(sides["ours"], sides["bare"])
    memory = statistics.median(r["peak_mib"] for r in sides["ours"]) / small["peak_mib"]
    figures = [
        {"name": f"jobs per second, {rows} rows of JSONL to acknowledged records, over a bare producer",
         "value": over_bare, "unit": "ratio", "bar": BAR_BARE, "holds": over_bare >= BAR_BARE},
        {"name": f"peak memory, {rows} rows over {rows // 10} rows", "value": memory, "unit": "ratio",
         "bar": BAR_MEMORY, "holds": memory <= BAR_MEMORY},
    ]  # fmt: skip
    over_celery = _ratio(sides["ours"], sides["celery"]) if sides["celery"] else None
    missing = "" if sides["celery"] else "; no redis-server on this machine's PATH"
    figures.append(
        {"name": f"jobs per second, over Celery with Redis{missing}", "value": over_celery, "unit": "ratio",
         "bar": BAR_CELERY, "holds": over_celery is not None and over_celery >= BAR_CELERY}
    )  # fmt: skip
    did = {
        "ours": "reelbus batch submit: read, checked, encoded, acks=all, idempotent, checkpointed",
        "bare": "confluent-kafka from memory: same keys, bytes, topic and client settings",
        "celery": "Celery task.apply_async with Redis as broker, results ignored",
    }
    names = {"ours": "reelbus", "bare": "confluent-kafka", "celery": "Celery"}
    return {
        "bench": "ingest",
        "figures": figures,
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2),
            "quick": quick,
            "peak_mib": {str(rows): round(statistics.median(r["peak_mib"] for r in sides["ours"]), 1),
                         str(rows // 10): round(small["peak_mib"], 1)},
        },
        "peers": [
            {"name": names[side], "rows_per_s": round(rate), "rows": int(sides[side][0]["rows"]),
             "rounds": [round(r["rows_per_s"]) for r in sides[side]], "did": did[side]}
            for side, rate in rates.items()
        ],
    }  # fmt: skip


def _ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    """Median over rounds of our rate over theirs."""
    pairs = zip(ours, theirs, strict=True)
    return round(statistics.median(a["rows_per_s"] / b["rows_per_s"] for a, b in pairs), 3)


def write_rows(file: Path, rows: int) -> None:
    """A JSONL file of plain requests of about 230 bytes, each with its own prompt and seed."""
    with file.open("w", encoding="utf-8") as stream:
        for n in range(rows):
            shot = {"prompt": f"a red ball number {n} moving left on a black background", "duration_s": 2, "seed": n}
            row = {"lane": "bulk", "shots": [shot], "output": {"width_px": 320, "height_px": 180, "fps": 12}}
            stream.write(json.dumps(row) + "\n")


def _child(settings: Settings, *arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.ingest_child", *map(str, arguments)],
        env={**os.environ, **settings.environment()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{arguments[0]}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _wait_for(port: int) -> None:
    until_s = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)
        else:
            return


class _Redis:
    """redis-server on a loopback port, in memory only; `url` is "" where there is none on this machine."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_Redis":
        if (program := shutil.which("redis-server")) is not None:
            port = free_port()
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)
            try:
                _wait_for(port)
            except OSError:
                self.__exit__()
                raise
            self.url = f"redis://127.0.0.1:{port}/0"
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
