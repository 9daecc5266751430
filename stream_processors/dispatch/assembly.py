"""A complete job and the muxer: handing it over, taking it back, and not waiting for ever. Pure."""

from msgspec.structs import replace

from schemas.events import Reason
from schemas.records import Outgoing
from schemas.topics import MUX_TASKS
from schemas.work import Command, MuxTask, ReadyChunk
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.losses import MAX_LOSSES, pause_ms

MAX_MUX_ATTEMPTS = 5
"""Times that a job is handed to the muxer and nothing comes back, or, counted with these, chunks are lost."""
MUX_SILENT_MS = 3_600_000
"""Silence after which a mux task that the muxer has passed is taken for lost, doubled each time: a video may take
hours. Without a sign that it was passed it may still lie in Kafka, and is lost only when Kafka has deleted it."""
_DELETED_MS = MUX_TASKS.retention_ms or 0


class Assembly:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._passed_ms = 0
        """The latest hand-over that the muxer has answered: what was handed over long before it has been passed. Not
        kept over a restart, which costs only time."""

    def hand_over(self, job: Job, now_ms: int) -> list[Outgoing]:
        """A complete job goes to the muxer, again when it was there before."""
        attempt = job.row.mux_attempt + 1
        job.row = replace(job.row, phase="assembling", at_ms=now_ms, mux_attempt=attempt)
        ready = tuple(ReadyChunk(c.sha256, c.size_bytes) for c in job.row.chunks)
        task = MuxTask(plan=job.plan, ready=ready, attempt=attempt, frames=job.frame_verdict())
        told = event(job.plan, "job.assembling", now_ms, about=str(attempt), progress=job.progress())
        return [self._book.saved(job), Outgoing(MUX_TASKS, job.key, task), told]

    def answer(self, job: Job, control: Command, now_ms: int) -> list[Outgoing]:
        """What the muxer says of a job that it was given: done with it, or a chunk is missing. Stale answers change
        nothing."""
        if control.mux_attempt < 1 or job.row.mux_attempt != control.mux_attempt:
            return []
        if job.row.phase == "assembling":
            self._passed_ms = max(self._passed_ms, job.row.at_ms)
        return self._book.close(job, now_ms) if control.action == "release" else self._redo(job, control, now_ms)

    def overdue(self, job: Job, now_ms: int) -> list[Outgoing]:
        """A job that the muxer has said nothing of for too long is handed over again, and at last given up."""
        patience_ms = min(MUX_SILENT_MS * 2 ** (job.row.mux_attempt - 1), _DELETED_MS)
        silent_ms = now_ms - job.row.at_ms
        passed = silent_ms > patience_ms and self._passed_ms > job.row.at_ms + patience_ms
        if not passed and silent_ms <= _DELETED_MS:
            return []
        if job.row.mux_attempt < MAX_MUX_ATTEMPTS:
            return self.hand_over(job, now_ms)
        message = f"the video was handed to assembly {job.row.mux_attempt} times and nothing came back"
        return self._book.end(job, "job.failed", now_ms, Reason(code="assembly_lost", message=message))

    def _redo(self, job: Job, control: Command, now_ms: int) -> list[Outgoing]:
        if not 0 <= control.chunk < len(job.ids):
            return []
        if job.row.mux_attempt >= MAX_LOSSES:
            message = f"chunk {control.chunk} was lost {job.row.mux_attempt} times: {control.reason}"
            return self._book.end(job, "job.failed", now_ms, Reason(code="chunks_lost", message=message))
        out: list[Outgoing] = []
        if job.row.phase == "assembling":
            job.row = replace(job.row, phase="active", at_ms=now_ms)
            about = f"redo {control.mux_attempt}"
            out.append(event(job.plan, "job.started", now_ms, about=about, progress=job.progress()))
        if job.chunk(control.chunk).state == "r":
            job.set_chunk(control.chunk, state="w")
        self._book.put_off(job, pause_ms(control.mux_attempt), now_ms)
        return [*out, self._book.saved(job)]
