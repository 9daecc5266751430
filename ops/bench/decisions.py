"""Bench of the scheduler's core: decisions per second with 100,000 jobs waiting, beside a plain heap of the same jobs.

No Kafka and no clock: what it costs to know whose chunk is next. The plain heap is first in, first out; it knows no
lanes, no tenants, no deadlines. The whole hand-out (row, task and event of every chunk, a worker found for it) is
measured by itself.
"""

import heapq
import os
import platform
import statistics
import time
from collections.abc import Iterator
from typing import Any

from schemas.ids import fingerprint, job_key
from schemas.plan import ChunkSpan, Placement, Plan, RenderSettings
from schemas.request import LANES, JobRequest, Lane, Output, Shot
from schemas.work import ChunkTask, WorkerState
from stream_processors.dispatch.backlog import Backlog
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.job import Job, new_job

BAR = 50_000.0
WEIGHTS: dict[Lane, float] = {"express": 8.0, "standard": 3.0, "bulk": 1.0}
TENANTS, CHUNKS, WORKERS = 1_000, 4, 64
RENDER = RenderSettings(
    model="bench", model_revision="r1", steps=8, guidance=1.0, width_px=64, height_px=64, clip_frames=17, given_frames=0
)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: few jobs and one round, for tests."""
    waiting, decisions, rounds = (2_000, 2_000, 1) if quick else (100_000, 50_000, 3)
    plans = list(_plans(waiting))
    book = _taken_in(plans)
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(_decide(book, decisions))
        plain.append(_first_in_first_out(book, decisions))
    whole = _hand_out(plans, decisions // 10)
    figure = statistics.median(ours)
    return {
        "bench": "decisions",
        "figures": [
            {
                "name": f"decisions per second, {waiting} jobs of {TENANTS} tenants waiting",
                "value": round(figure),
                "unit": "1/s",
                "bar": BAR,
                "holds": figure >= BAR,
            }
        ],
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2),
            "quick": quick,
            "chunks_handed_out_per_s_with_all_records": round(whole),
            "workers": WORKERS,
        },
        "peers": [
            {
                "name": "reelbus: lanes by weight, tenants by weight, deadline, age",
                "per_s": [round(one) for one in ours],
                "did": "whose chunk is next and which, booked, its row changed, the job put back",
            },
            {
                "name": "heapq, first in first out",
                "per_s": [round(one) for one in plain],
                "did": "the oldest job popped, its row changed, pushed back at the end",
            },
        ],
    }


def _plans(count: int) -> Iterator[Plan]:
    for number in range(count):
        tenant = f"tenant-{number * 7919 % TENANTS}"
        request = JobRequest(
            job_id=f"job-{number}",
            tenant=tenant,
            lane=LANES[number % len(LANES)],
            shots=(Shot(prompt="a ball", duration_s=1.0, seed=number),),
            output=Output(width_px=64, height_px=64, fps=17),
        )
        yield Plan(
            job=job_key(tenant, request.job_id),
            request=request,
            fingerprint=fingerprint(request),
            requested_at_ms=number,
            render=RENDER,
            chunks=tuple(ChunkSpan(0, index, 1, -1) for index in range(CHUNKS)),
            placement=Placement(pool="cpu", weight=1.0 + number % 3, chunk_cost_s=1.0 + number % 2),
        )


def _taken_in(plans: list[Plan]) -> Book:
    """All jobs; the names of their chunks are derived when a job is taken in, and so no part of a decision."""
    book = Book(Backlog(1, len(plans)))
    for plan in plans:
        book.open(plan, 0)
        assert book.jobs[plan.job].ids
    return book


def _waiting(book: Book) -> list[Job]:
    """All jobs, with all their chunks waiting again."""
    for job in book.jobs.values():
        job.row = new_job(job.plan, 0).row
    return list(book.jobs.values())


def _out(job: Job, index: int) -> None:
    """A chunk goes out and is ready at once. An endless job: its last chunk waits again."""
    job.set_chunk(index, state="r" if index + 1 < CHUNKS else "w")


def _decide(book: Book, decisions: int) -> float:
    queue = Queue(WEIGHTS, book.next_chunk, lambda job: job.placement.load_s)
    for waiting in _waiting(book):
        queue.put(waiting)
    began_s = time.perf_counter()
    for _ in range(decisions):
        turn = queue.pick(0)
        assert turn is not None
        queue.charge(turn)
        _out(turn.job, turn.chunk)
        queue.put(turn.job)
    return decisions / (time.perf_counter() - began_s)


def _first_in_first_out(book: Book, decisions: int) -> float:
    heap = [(job.plan.requested_at_ms, job.key, job) for job in _waiting(book)]
    heapq.heapify(heap)
    began_s = time.perf_counter()
    for number in range(decisions):
        _, key, job = heapq.heappop(heap)
        _out(job, next(job.waiting()))
        heapq.heappush(heap, (len(book.jobs) + number, key, job))
    return decisions / (time.perf_counter() - began_s)


def _hand_out(plans: list[Plan], chunks: int) -> float:
    """Chunks per second by `Scheduler.tick`, to workers that always have room."""
    scheduler = Scheduler(dict(WEIGHTS))
    scheduler.restore(plans, (new_job(plan, 0).row for plan in plans))
    scheduler.tick(0)  # what is done once a second
    for number in range(WORKERS):
        state = WorkerState(
            worker_id=f"w{number}", pool="cpu", device="cpu", partitions=(number,), models=("bench",), pending=(),
            capacity=chunks // WORKERS + 1,
        )  # fmt: skip
        scheduler.on_worker(state, 0)
    began_s = time.perf_counter()
    out = scheduler.tick(1)
    taken_s = time.perf_counter() - began_s
    return sum(isinstance(o.record, ChunkTask) for o in out) / taken_s
