"""Which objects may go. Pure.

Nothing goes that is not known to be useless: an object whose name has another form than ours is left alone, whatever
its age. An object that is younger than its limit is never touched, so what is just being made needs no protection.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ops.storage.store import Listed
from schemas.events import State
from schemas.lifecycle import TERMINAL
from schemas.topics import DAY_MS, HOUR_MS

Why = Literal["chunk_unused", "input_unused", "video_of_ended_job", "video_of_unknown_job"]

CHUNKS, INPUTS, VIDEOS = "chunks/", "inputs/", "videos/"
UNKNOWN: Why = "video_of_unknown_job"
ORPHAN_AGE_MS = DAY_MS
MANY_UNKNOWN = 10

_NAMED = re.compile(r"(?:chunks|inputs)/(?:[a-z0-9_.-]+/)*([0-9a-f]{64})(?:\.[a-z0-9]+)?")
_VIDEO = re.compile(r"videos/([0-9a-f]{32})/[a-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """Ages, in ms, below which nothing is touched."""

    chunk_ms: int
    input_ms: int
    orphan_ms: int = ORPHAN_AGE_MS


def limits(chunk_retention_h: int, input_retention_h: int) -> Limits:
    """From the settings."""
    return Limits(chunk_retention_h * HOUR_MS, input_retention_h * HOUR_MS)


@dataclass(frozen=True, slots=True)
class Living:
    """What jobs need.

    names:        of chunks and inputs (hex SHA-256) that a live job's plan names
    jobs:         state by job uid, of all jobs that `jobs.state` knows; None for a row that cannot be read
    scheduled:    uids of jobs that the scheduler knows, also those that it has just finished
    all_told:     `jobs.state` has every job that began more than half of ORPHAN_AGE_MS ago, so that an older file of a
                  job that it does not know is nobody's
    """

    names: frozenset[str]
    jobs: Mapping[str, State | None]
    scheduled: frozenset[str] = frozenset()
    all_told: bool = True


@dataclass(frozen=True, slots=True)
class Doomed:
    """An object that may go, and why."""

    key: str
    size_bytes: int
    why: Why


def doomed(found: Iterable[Listed], living: Living, limits: Limits, now_ms: int) -> Iterator[Doomed]:
    """Objects that nobody needs."""
    for one in found:
        why = _why(one.key, now_ms - one.made_at_ms, living, limits)
        if why is not None:
            yield Doomed(one.key, one.size_bytes, why)


def _why(key: str, age_ms: int, living: Living, limits: Limits) -> Why | None:
    if (video := _VIDEO.fullmatch(key)) is not None:
        return _video(video[1], living) if age_ms > limits.orphan_ms else None
    named = _NAMED.fullmatch(key)
    if named is None or named[1] in living.names:
        return None
    if key.startswith(CHUNKS):
        return "chunk_unused" if age_ms > limits.chunk_ms else None
    return "input_unused" if age_ms > limits.input_ms else None


def _video(uid: str, living: Living) -> Why | None:
    if uid in living.scheduled:
        return None
    if uid not in living.jobs:
        return UNKNOWN if living.all_told else None
    state = living.jobs[uid]
    return "video_of_ended_job" if state in TERMINAL and state != "completed" else None


def too_many_unknown(doomed: Iterable[Doomed], videos: int) -> bool:
    """Whether so many of the store's files under videos/ are of unknown jobs that they are rather another
    installation's than orphans.

    videos: all files there
    """
    unknown = sum(one.why == UNKNOWN for one in doomed)
    return unknown > MANY_UNKNOWN and 2 * unknown > videos
