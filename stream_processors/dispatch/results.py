"""Chunks that come back: ready, failed, refused or withdrawn. Pure."""

from msgspec.structs import replace

from schemas.events import Reason
from schemas.records import Outgoing
from schemas.reviews import ReviewDecision
from schemas.work import ChunkInspected, ChunkRendered, FrameVerdict
from stream_processors.dispatch.assembly import Assembly
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.losses import MAX_LOSSES, pause_ms
from stream_processors.dispatch.metering import spend, spend_late
from stream_processors.dispatch.reviews import Reviews
from stream_processors.dispatch.workers import Workers

MAX_FAILURES = 3
"""Times that rendering a chunk may fail before its job fails."""


def _for_another(inspected: ChunkInspected, job: Job, index: int) -> ChunkInspected:
    """The result of a chunk as one of another job that waits for the same: it cost that one nothing."""
    given = inspected.rendered
    status = "reused" if given.status == "rendered" else given.status
    return replace(inspected, rendered=replace(given, job=job.key, index=index, status=status, device_s=0.0))


class Results:
    def __init__(self, book: Book, workers: Workers, assembly: Assembly) -> None:
        self._book, self._workers, self._assembly = book, workers, assembly
        self._reviews = Reviews(book)

    def take(self, inspected: ChunkInspected, now_ms: int) -> list[Outgoing]:
        """A chunk came back. What it cost is counted once, whatever became of its job. Beside that late, repeated and
        foreign results change nothing, except that a job that has the same chunk out takes them for its own."""
        rendered = inspected.rendered
        owner = self._book.out.holder(rendered.chunk_id, rendered.job)
        if rendered.status != "withdrawn" or owner == rendered.job:
            self._workers.finished(rendered.chunk_id)
        job = self._book.jobs.get(rendered.job)
        if job is not None and job.wants(rendered):
            booked = spend(self._book, job, rendered, now_ms)
            out = self._came_back(job, inspected, now_ms)
            return [*booked, *(out or ([self._book.saved(job)] if booked else []))]
        out = spend_late(self._book, rendered, now_ms)
        if owner != rendered.job and rendered.status != "withdrawn":
            other = self._book.jobs[owner]
            for index in [i for i, c in enumerate(other.row.chunks) if c.state == "d"]:
                if other.ids[index] == rendered.chunk_id:
                    return [*out, *self._came_back(other, _for_another(inspected, other, index), now_ms)]
        return out

    def _came_back(self, job: Job, inspected: ChunkInspected, now_ms: int) -> list[Outgoing]:
        """A chunk of a job that renders came back, its cost being counted."""
        rendered = inspected.rendered
        chunk = job.chunk(rendered.index)
        if chunk.state in ("v", "r"):
            return []
        if rendered.status == "withdrawn":
            # Of a job that lives only when it is about another request of the same id: then nothing is out.
            if (chunk.state, chunk.attempt, chunk.at_ms) != ("d", rendered.attempt, rendered.dispatched_at_ms):
                return []
            self._book.out.landed(job, rendered.index)
            job.set_chunk(rendered.index, state="w")
            return [self._book.saved(job)]
        self._book.out.landed(job, rendered.index)
        if rendered.status == "rendered":
            self._workers.measured(rendered.worker_id, rendered.device_s, job.chunk_cost_s)
            self._book.costs.learn(rendered.pool, job.specs[rendered.index], rendered.device_s, now_ms)
        if rendered.status == "failed" or rendered.object is None:
            lost = inspected.lost or rendered.given_lost
            return (self._chunk_lost if lost else self._chunk_failed)(job, rendered, now_ms)
        verdict = self._judged(job, inspected)
        if verdict is not None and verdict.verdict == "review":
            return self._reviews.wanted(job, rendered, verdict, now_ms)
        if verdict is None or verdict.verdict != "allow":
            category = verdict.category if verdict else "unjudged"
            message = f"frames of chunk {rendered.index} were refused by moderation ({category})"
            reason = Reason(code="frames_refused", message=message)
            return self._book.end(job, "job.rejected", now_ms, reason, frames=verdict)
        job.set_rendered(rendered, verdict, "r")
        return self.onward(job, now_ms)

    def _judged(self, job: Job, inspected: ChunkInspected) -> FrameVerdict | None:
        """The verdict; what a person has let through already is allowed."""
        verdict = inspected.verdict
        if verdict is not None and verdict.verdict == "review" and job.approved(inspected.rendered):
            return replace(verdict, verdict="allow", category="")
        return verdict

    def reviewed(self, decision: ReviewDecision, now_ms: int) -> list[Outgoing]:
        """A person has looked at texts or frames."""
        job = self._book.jobs.get(decision.job)
        if job is None or not (out := self._reviews.decide(decision, job, now_ms)):
            return []
        return [*out, *self.onward(job, now_ms)] if self._book.jobs.get(job.key) is job else out

    def onward(self, job: Job, now_ms: int) -> list[Outgoing]:
        """To the muxer, once all chunks are ready and the id is this request's: two requests under one id would share
        one video."""
        return self._assembly.hand_over(job, now_ms) if job.complete and job.row.admitted else [self._book.saved(job)]

    def _chunk_failed(self, job: Job, rendered: ChunkRendered, now_ms: int) -> list[Outgoing]:
        index = rendered.index
        failures = job.chunk(index).failures + 1
        if failures >= MAX_FAILURES:
            message = f"chunk {index} could not be rendered in {failures} tries: {rendered.error}"
            return self._book.end(job, "job.failed", now_ms, Reason(code="render_failed", message=message))
        job.set_chunk(index, state="w", failures=failures)
        return [self._book.saved(job)]

    def _chunk_lost(self, job: Job, rendered: ChunkRendered, now_ms: int) -> list[Outgoing]:
        """The store has not kept an object: rendered again, later each time, since this is not the chunk's fault."""
        index = rendered.index
        losses = job.chunk(index).losses + 1
        if losses >= MAX_LOSSES:
            message = f"chunk {index} was lost {losses} times: {rendered.error}"
            return self._book.end(job, "job.failed", now_ms, Reason(code="chunks_lost", message=message))
        job.set_chunk(index, state="w", losses=losses)
        after = job.plan.chunks[index].after
        if rendered.given_lost and after >= 0 and job.chunk(after).state == "r":
            job.set_chunk(after, state="w")
        self._book.put_off(job, pause_ms(losses), now_ms)
        return [self._book.saved(job)]
