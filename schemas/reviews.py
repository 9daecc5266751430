"""Texts and frames that a person has to look at, and what that person says. Pure."""

import hashlib
from typing import Annotated, Literal

from msgspec import Meta

from schemas.prompts import Doubts
from schemas.request import Record

MOST_CHUNKS = 16
"""Of a case, and so of a decision: both must stay records that fit."""


class ReviewChunk(Record, frozen=True, kw_only=True):
    """A chunk that moderation neither allows nor blocks."""

    index: int
    """Position of the chunk in the plan."""
    shot: int
    """0-based index of the shot that it belongs to."""
    prompt: str
    """What the shot was asked to show, cut off after 500 characters."""
    key: str
    """Key of the frames in the object store."""
    sha256: str
    """Hash of that object, hex: what is approved or refused."""
    size_bytes: int
    """Length of the object."""
    frames: int
    """Frames of the chunk."""
    category: str
    """What moderation suspects."""
    score: float
    """Highest score seen, 0..1."""


class ReviewText(Record, frozen=True, kw_only=True):
    """A text of a job."""

    field: str
    """Which one, e.g. shots[0].prompt."""
    text: str
    """As it was sent."""


class ReviewCase(Record, frozen=True, kw_only=True):
    """A job that waits for a person (topic reviews.open, compacted; key = job). A tombstone means that it does not
    wait any more."""

    job: str
    """tenant/job_id."""
    tenant: str
    """Whose job it is."""
    provider: str
    """Name and version of the moderation provider, or of the prompt policy."""
    at_ms: int
    """When the job came, or the first of the chunks."""
    chunks: tuple[ReviewChunk, ...]
    """What is to be looked at, in plan order; at most 16 at a time, the others follow. None while its texts are."""
    texts: tuple[ReviewText, ...] = ()
    """All texts of the job, when they are to be looked at: before the first chunk."""
    texts_sha256: str = ""
    """Hash of all texts and their fields, hex: what is approved or refused."""
    doubts: Doubts = ()
    """What moderation suspects in the texts."""


class ReviewDecision(Record, frozen=True, kw_only=True):
    """What a person says of texts or frames (topic reviews.decided; key = job). It holds for what it names and nothing
    else: chunks that came in meanwhile are still to be looked at."""

    job: str
    """tenant/job_id."""
    verdict: Literal["approve", "refuse"]
    """approve: the texts may be rendered, the frames may leave. refuse: the job ends."""
    objects: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")], ...], Meta(min_length=1, max_length=MOST_CHUNKS)
    ]
    """Hashes of the objects that were looked at, or that of the texts, hex."""
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    """Why; kept in the audit trail, not shown to the caller."""
    by: Annotated[str, Meta(min_length=1, max_length=100)]
    """Who decided."""
    at_ms: int = 0
    """When, by the clock of who decided."""


def objects_of(case: ReviewCase) -> tuple[str, ...]:
    """Hashes of all that is to be looked at, as a decision names them."""
    return (case.texts_sha256,) if case.texts else tuple(chunk.sha256 for chunk in case.chunks)


def name_of(case: ReviewCase) -> str:
    """Eight hex digits that say what is to be looked at: of other chunks, or of more of them, they are others."""
    return hashlib.sha256(" ".join(objects_of(case)).encode()).hexdigest()[:8]
