"""Frames that moderation neither allows nor blocks: the job waits for a person, and goes on or ends. Pure.

A decision names the objects that were looked at. What it does not name waits on, what it names twice changes nothing,
and bytes that were approved once are not asked about again when a chunk is rendered anew.
"""

import hashlib

from msgspec.structs import replace

from schemas.events import Reason
from schemas.records import Outgoing
from schemas.reviews import MOST_CHUNKS, ReviewCase, ReviewChunk, ReviewDecision
from schemas.topics import REVIEWS_OPEN
from schemas.work import ChunkRendered, FrameVerdict
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job

MOST_LETTERS = 500
"""Of a prompt in a case, which must stay a record that fits."""


def open_case(job: Job) -> ReviewCase:
    """What a person is to look at."""
    request = job.plan.request
    return ReviewCase(
        job=job.key,
        tenant=job.tenant,
        provider=job.row.moderator,
        at_ms=job.row.review_at_ms,
        chunks=tuple(
            ReviewChunk(
                index=index,
                shot=(shot := job.plan.chunks[index].shot),
                prompt=_short(request.shots[shot].prompt),
                key=job.object_key(index),
                sha256=(chunk := job.chunk(index)).sha256,
                size_bytes=chunk.size_bytes,
                frames=job.plan.chunks[index].frames,
                category=chunk.category,
                score=chunk.score,
            )
            for index in job.in_review[:MOST_CHUNKS]
        ),
    )


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= MOST_LETTERS else f"{prompt[: MOST_LETTERS - 1]}…"


class Reviews:
    def __init__(self, book: Book) -> None:
        self._book = book

    def wanted(self, job: Job, rendered: ChunkRendered, verdict: FrameVerdict, now_ms: int) -> list[Outgoing]:
        """A chunk came back and a person is to look at it: the job gets no further chunk until then."""
        assert rendered.object is not None
        job.set_rendered(rendered, verdict, "v")
        job.row = replace(job.row, review_at_ms=job.row.review_at_ms or now_ms)
        about = f"{rendered.object.sha256} {rendered.index} {rendered.attempt}"
        progress = job.progress()
        told = event(job.plan, "job.review-wanted", now_ms, about=about, frames=verdict, progress=progress)
        return [self._book.saved(job), Outgoing(REVIEWS_OPEN, job.key, open_case(job)), told]

    def decide(self, decision: ReviewDecision, job: Job, now_ms: int) -> list[Outgoing]:
        """A person has looked. Returns nothing for what is not in review, or not any more; the row of a job that lives
        on is still to be saved."""
        looked_at = [i for i in job.in_review if job.chunk(i).sha256 in decision.objects]
        if not looked_at:
            return []
        decision = replace(decision, objects=tuple(dict.fromkeys(job.chunk(i).sha256 for i in looked_at)))
        if decision.verdict == "refuse":
            return self._refused(job, decision, looked_at[0], now_ms)
        for index in looked_at:
            job.set_chunk(index, state="r", category="", approved=True)
        facts = (*map(str, looked_at), *decision.objects, decision.by, str(decision.at_ms))
        about = hashlib.sha256(" ".join(facts).encode()).hexdigest()
        told = event(job.plan, "job.review-approved", now_ms, about=about, review=decision, progress=job.progress())
        if job.in_review:
            return [told, Outgoing(REVIEWS_OPEN, job.key, open_case(job))]
        job.row = replace(job.row, review_at_ms=0, at_ms=now_ms)
        return [told, Outgoing(REVIEWS_OPEN, job.key, None)]

    def _refused(self, job: Job, decision: ReviewDecision, index: int, now_ms: int) -> list[Outgoing]:
        chunk = job.chunk(index)
        verdict = replace(job.frame_verdict(), verdict="block", category=chunk.category, score=chunk.score)
        message = f"frames of chunk {index} were refused by a reviewer ({chunk.category})"
        reason = Reason(code="frames_refused", message=message)
        return self._book.end(job, "job.rejected", now_ms, reason, frames=verdict, review=decision)
