"""Texts and frames that a person is to look at: read from reviews.open, answered on reviews.decided."""

import time
from pathlib import Path
from typing import Literal

from PIL import Image

from ops.levels import put, read
from ops.media.chunk_file import opened
from ops.settings import Settings
from ops.storage.store import Store, fetch_promised
from schemas.reviews import ReviewCase, ReviewChunk, ReviewDecision, objects_of
from schemas.topics import REVIEWS_DECIDED, REVIEWS_OPEN

MAX_PICTURES = 16
"""Pictures that are taken out of a chunk, spread evenly, first and last among them."""


def open_cases(settings: Settings) -> list[ReviewCase]:
    """Jobs that wait for a person, the oldest first. Raises Transient when the topic cannot be read."""
    known = read(settings, REVIEWS_OPEN, ReviewCase)
    return sorted((case for key, case in known.items() if case.job == key), key=lambda case: case.at_ms)


def decide(
    settings: Settings, case: ReviewCase, verdict: Literal["approve", "refuse"], reason: str, by: str
) -> ReviewDecision:
    """Say of all texts or chunks of a case that they may go on, or not. by: who says so.

    Raises Transient when the broker does not take it.
    """
    decision = ReviewDecision(
        job=case.job,
        verdict=verdict,
        objects=objects_of(case),
        reason=reason,
        by=by,
        at_ms=time.time_ns() // 1_000_000,
    )
    put(settings, REVIEWS_DECIDED, case.job, decision, f"the review of {case.job} could not be told")
    return decision


def fetch(store: Store, job: str, chunk: ReviewChunk, folder: Path) -> list[Path]:
    """Fetch a chunk as <tenant>/<job>/<chunk>-<hash>.mkv and pictures of it as ...-<frame>.png; returns the files.

    Raises ObjectMissing, ObjectCorrupt (also for other bytes than those that are to be looked at), UnreadableChunk.
    """
    tenant, _, job_id = job.partition("/")
    place = folder / tenant / job_id.replace(":", "_")
    place.mkdir(parents=True, exist_ok=True)
    video = place / f"{chunk.index}-{chunk.sha256[:8]}.mkv"
    fetch_promised(store, chunk.key, chunk.sha256, video, "the case")
    last = max(chunk.frames - 1, 1)
    count = min(chunk.frames, MAX_PICTURES)
    wanted = {0} if count == 1 else {i * last // (count - 1) for i in range(count)}
    made = [video]
    with opened(video) as (_, pictures):
        for number, picture in enumerate(pictures):
            if number in wanted:
                made.append(video.with_name(f"{video.stem}-{number:04}.png"))
                Image.fromarray(picture.to_ndarray(format="rgb24")).save(made[-1])
    return made
