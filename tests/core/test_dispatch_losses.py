"""Objects that the store does not keep: made again, later each time, and given up at last."""

import pytest
from msgspec.structs import replace

from schemas.records import Outgoing
from schemas.work import ChunkInspected, ChunkTask, Command
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.losses import MAX_LOSSES, pause_ms
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, tasks

PAUSES_MS = [0, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]
RESTARTED_MS = 90_000
"""How long the pauses must outlast."""


def lost(task: ChunkTask, which: str) -> ChunkInspected:
    rendered = result(task, status="failed").rendered
    failed = replace(rendered, given_lost=which == "given", error=f"{which} object missing")
    return ChunkInspected(rendered=failed, lost=which == "own")


def made(chunks: int, chained: bool = True) -> tuple[Scheduler, str]:
    job = plan(chunks=chunks, chained=chained)
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(job, 0)
    scheduler.on_control(answer("admit", job), 0)
    return scheduler, job.job


def next_tasks(scheduler: Scheduler, now_ms: int) -> tuple[list[ChunkTask], int]:
    """What is handed out next, and when, to the second."""
    for ms in range(now_ms, now_ms + 100_000, 1_000):
        scheduler.on_worker(worker(), ms)
        if found := tasks(scheduler.tick(ms)):
            return found, ms
    return [], now_ms


def test_the_pauses_outlast_a_restart_of_the_store() -> None:
    assert [pause_ms(n) for n in range(1, MAX_LOSSES)] == PAUSES_MS
    assert sum(PAUSES_MS) > RESTARTED_MS
    assert pause_ms(10**6) == 60_000


def test_a_missing_predecessor_is_rendered_again_first() -> None:
    scheduler, _ = made(chunks=2)
    (first,), _ = next_tasks(scheduler, 0)
    scheduler.on_inspected(result(first), 0)
    (second,), _ = next_tasks(scheduler, 0)
    scheduler.on_inspected(lost(second, "given"), 0)
    assert [t.index for t in next_tasks(scheduler, 0)[0]] == [0]


@pytest.mark.parametrize("which", ["own", "given"])
def test_a_chunk_whose_objects_are_lost_is_made_again_later_each_time_and_given_up_at_last(which: str) -> None:
    scheduler, _ = made(chunks=2)
    pauses: list[int] = []
    out: list[Outgoing] = []
    lost_ms = None
    ms = 0
    while "job.failed" not in events(out):
        (task, *_), ms = next_tasks(scheduler, ms)
        if lost_ms is not None:
            pauses.append(ms - lost_ms)
        lost_ms = ms if task.index == 1 else None
        out = scheduler.on_inspected(lost(task, which) if task.index == 1 else result(task), ms)
    assert pauses == PAUSES_MS
    (reason,) = [one.record.reason for one in out if getattr(one.record, "type", "") == "job.failed"]
    why = f"chunk 1 was lost {MAX_LOSSES} times: {which} object missing"
    assert (reason.code, reason.message) == ("chunks_lost", why)


def test_a_job_that_waits_after_a_loss_says_so_and_waits_on_after_a_restart() -> None:
    scheduler, job = made(chunks=1)
    for _ in range(2):
        (task,), ms = next_tasks(scheduler, 1_000)
        scheduler.on_inspected(lost(task, "own"), ms)
    waiting = scheduler.jobs[job]
    assert (waiting.stopped, waiting.resumes_at_ms) == ("chunks of it were lost", ms + PAUSES_MS[1])
    restarted = Scheduler(WEIGHTS)
    restarted.restore([waiting.plan], [waiting.row])
    assert next_tasks(restarted, ms)[1] == ms + PAUSES_MS[1]


def test_chunks_that_assembly_misses_are_rendered_again_later_each_time_until_the_job_fails() -> None:
    scheduler, job = made(chunks=1)
    pauses: list[int] = []
    ms = lost_ms = 0
    for attempt in range(1, MAX_LOSSES + 1):
        (task,), ms = next_tasks(scheduler, ms)
        pauses.append(ms - lost_ms)
        assert [m.attempt for m in mux_tasks(scheduler.on_inspected(result(task), ms))] == [attempt]
        redo = Command(job=job, action="redo_chunk", chunk=0, mux_attempt=attempt, reason="missing")
        out, lost_ms = scheduler.on_control(redo, ms), ms
    assert pauses == [0, *PAUSES_MS]
    assert events(out) == ["job.failed"]
