"""Texts and frames that moderation neither allows nor blocks: the job waits for a person, and goes on or ends. Pure.

A decision names what was looked at: the texts by one hash, before the first chunk, or objects. What it does not name
waits on, what it names twice changes nothing, and bytes that were approved once are not asked about again when a chunk
is rendered anew.
"""

import hashlib

from msgspec.structs import replace

from schemas.events import Reason
from schemas.records import Outgoing
from schemas.reviews import ReviewDecision
from schemas.texts import digest, texts_of
from schemas.topics import REVIEWS_OPEN
from schemas.work import ChunkRendered, FrameVerdict
from stream_processors.dispatch.book import Book
from stream_processors.dispatch.cases import open_case, texts_refused
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job


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
        return (self._of_texts if job.texts_in_review else self._of_frames)(decision, job, now_ms)

    def _of_texts(self, decision: ReviewDecision, job: Job, now_ms: int) -> list[Outgoing]:
        read = digest(texts_of(job.plan.request))
        if read not in decision.objects:
            return []
        decision = replace(decision, objects=(read,))
        prompts = job.plan.prompts
        if decision.verdict == "refuse":
            blocked = prompts and replace(prompts, verdict="block")
            return self._book.end(job, "job.rejected", now_ms, texts_refused(job), prompts=blocked, review=decision)
        job.row = replace(job.row, texts_approved=True)
        allowed = prompts and replace(prompts, verdict="allow", category="")
        about = _named(decision, job.plan.fingerprint)
        return self._approved(job, event(
            job.plan, "job.review-approved", now_ms, about=about, review=decision, prompts=allowed,
            progress=job.progress(),
        ), now_ms)  # fmt: skip

    def _of_frames(self, decision: ReviewDecision, job: Job, now_ms: int) -> list[Outgoing]:
        looked_at = [i for i in job.in_review if job.chunk(i).sha256 in decision.objects]
        if not looked_at:
            return []
        decision = replace(decision, objects=tuple(dict.fromkeys(job.chunk(i).sha256 for i in looked_at)))
        if decision.verdict == "refuse":
            return self._frames_refused(job, decision, looked_at[0], now_ms)
        for index in looked_at:
            job.set_chunk(index, state="r", category="", approved=True)
        about = _named(decision, *map(str, looked_at))
        told = event(job.plan, "job.review-approved", now_ms, about=about, review=decision, progress=job.progress())
        return self._approved(job, told, now_ms)

    @staticmethod
    def _approved(job: Job, told: Outgoing, now_ms: int) -> list[Outgoing]:
        if job.in_review:
            return [told, Outgoing(REVIEWS_OPEN, job.key, open_case(job))]
        job.row = replace(job.row, review_at_ms=0, at_ms=now_ms)
        return [told, Outgoing(REVIEWS_OPEN, job.key, None)]

    def _frames_refused(self, job: Job, decision: ReviewDecision, index: int, now_ms: int) -> list[Outgoing]:
        chunk = job.chunk(index)
        verdict = replace(job.frame_verdict(), verdict="block", category=chunk.category, score=chunk.score)
        message = f"frames of chunk {index} were refused by a reviewer ({chunk.category})"
        reason = Reason(code="frames_refused", message=message)
        return self._book.end(job, "job.rejected", now_ms, reason, frames=verdict, review=decision)


def _named(decision: ReviewDecision, *what: str) -> str:
    """Names the fact that somebody has approved this."""
    facts = (*what, *decision.objects, decision.by, str(decision.at_ms))
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()
