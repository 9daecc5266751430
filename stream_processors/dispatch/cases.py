"""What a person is shown of a job that waits for one: its texts before the first chunk, and frames after that. Pure."""

from schemas.events import Reason
from schemas.records import Outgoing
from schemas.reviews import MOST_CHUNKS, ReviewCase, ReviewChunk, ReviewText
from schemas.texts import digest, texts_of
from schemas.topics import REVIEWS_OPEN
from stream_processors.dispatch.ended import event
from stream_processors.dispatch.job import Job

MOST_LETTERS = 500
"""Of a prompt beside frames; texts that are looked at themselves are shown whole."""


def open_case(job: Job) -> ReviewCase:
    """What a person is to look at."""
    return _of_texts(job) if job.texts_in_review else _of_frames(job)


def texts_wanted(job: Job, now_ms: int) -> list[Outgoing]:
    """A job came in and a person is to read its texts: nothing of it is rendered until then."""
    case = open_case(job)
    about = f"{case.texts_sha256} {job.plan.fingerprint}"
    progress = job.progress()
    told = event(job.plan, "job.review-wanted", now_ms, about=about, prompts=job.plan.prompts, progress=progress)
    return [Outgoing(REVIEWS_OPEN, job.key, case), told]


def closed(job: Job) -> list[Outgoing]:
    """The tombstone of the case of a job that leaves; nothing of one that has none."""
    return [Outgoing(REVIEWS_OPEN, job.key, None)] if job.row.review_at_ms else []


def texts_refused(job: Job) -> Reason:
    """Why the job ends whose texts a person has refused."""
    doubt = job.plan.doubts[0]
    what = "the texts of the job together were" if doubt.field == "shots" else "the text was"
    message = f"{doubt.field}: {what} refused by a reviewer, category {doubt.category}"
    return Reason(code="prompt_refused", message=message, field=doubt.field)


def _of_texts(job: Job) -> ReviewCase:
    plan = job.plan
    texts = texts_of(plan.request)
    return ReviewCase(
        job=job.key,
        tenant=job.tenant,
        provider=plan.prompts.policy if plan.prompts is not None else "",
        at_ms=job.row.review_at_ms,
        chunks=(),
        texts=tuple(ReviewText(field=text.field, text=text.text) for text in texts),
        texts_sha256=digest(texts),
        doubts=plan.doubts,
    )


def _of_frames(job: Job) -> ReviewCase:
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
