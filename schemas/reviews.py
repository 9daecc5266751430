"""Frames that a person has to look at, and what that person says. Pure."""

import hashlib
from typing import Annotated, Literal

from msgspec import Meta

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


class ReviewCase(Record, frozen=True, kw_only=True):
    """A job that waits for a person (topic reviews.open, compacted; key = job). A tombstone means that it does not
    wait any more."""

    job: str
    """tenant/job_id."""
    tenant: str
    """Whose job it is."""
    provider: str
    """Name and version of the moderation provider."""
    at_ms: int
    """When the first of the chunks came."""
    chunks: tuple[ReviewChunk, ...]
    """What is to be looked at, in plan order; at most 16 at a time, the others follow."""


class ReviewDecision(Record, frozen=True, kw_only=True):
    """What a person says of frames (topic reviews.decided; key = job). It holds for the objects that it names and no
    others: chunks that came in meanwhile are still to be looked at."""

    job: str
    """tenant/job_id."""
    verdict: Literal["approve", "refuse"]
    """approve: the frames may leave. refuse: the job ends."""
    objects: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")], ...], Meta(min_length=1, max_length=MOST_CHUNKS)
    ]
    """Hashes of the objects that were looked at, hex."""
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    """Why; kept in the audit trail, not shown to the caller."""
    by: Annotated[str, Meta(min_length=1, max_length=100)]
    """Who decided."""
    at_ms: int = 0
    """When, by the clock of who decided."""


def name_of(case: ReviewCase) -> str:
    """Eight hex digits that say what is to be looked at: of other chunks, or of more of them, they are others."""
    return hashlib.sha256(" ".join(chunk.sha256 for chunk in case.chunks).encode()).hexdigest()[:8]
