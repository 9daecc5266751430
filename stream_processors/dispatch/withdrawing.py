"""Chunks that are out when their job ends: taken over by a job that waits for the same ones, or withdrawn. Pure.

A withdrawal is for the worker that has the chunk: it drops it, or stops it within a denoise step. Nothing rests on its
coming through: a chunk that is finished all the same is stored under its name like any other.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from schemas.records import Outgoing
from schemas.topics import CHUNKS_WITHDRAWN
from schemas.work import ChunkWithdrawn
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job


def withdrawal(job: Job, index: int, named: str, now_ms: int) -> Outgoing:
    """Nobody wants this chunk any more. named: the job that its task was handed out for."""
    chunk_id = job.ids[index]
    record = ChunkWithdrawn(
        chunk_id=chunk_id,
        job=named,
        pool=job.placement.pool,
        dispatched_at_ms=job.chunk(index).at_ms,
        at_ms=now_ms,
    )
    return Outgoing(CHUNKS_WITHDRAWN, chunk_id, record)


def wanting(jobs: Iterable[Job], tenant: str, chunk_id: str) -> list[tuple[Job, int]]:
    """Live jobs that want this chunk, may have it and do not, in the order of their arrival, and where in their plan it
    is."""
    alike = (j for j in jobs if j.tenant == tenant and j.row.phase == "active" and chunk_id in j.ids)
    able = [j for j in alike if not j.stopped]
    return [(j, i) for j in able for i, name in enumerate(j.ids) if name == chunk_id and j.chunk(i).state != "r"]


def take_over(job: Job, index: int, handed_out_at_ms: int, now_ms: int) -> list[Outgoing]:
    """The job waits for the chunk as if it had been handed out for it. The row is still to be saved."""
    first = all(c.attempt == 0 for c in job.row.chunks)
    job.set_chunk(index, state="d", attempt=job.chunk(index).attempt + 1, at_ms=handed_out_at_ms)
    if not first:
        return []
    job.row = replace(job.row, started_at_ms=now_ms)
    return [event(job.plan, "job.started", now_ms, progress=job.progress())]
