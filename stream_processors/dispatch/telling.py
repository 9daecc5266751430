"""When an estimate is told again: never late in silence, and no flood. Pure."""

from msgspec.structs import replace

from schemas.events import Progress
from stream_processors.dispatch.job import Job

FIRST = 100
"""Positions behind this one are told with other things, and not for their own sake: they change with every chunk."""
SOONEST_MS = 3_000
"""Between two tellings of a job with nothing new but its position and its finish,"""
FAR_SHARE = 0.05
"""and this share of what remains, where that is longer."""
LEAST_MS = 100
"""A job that is not rendered needs this long at least."""
DRIFT = 0.1
"""A finish is told again when it has moved by more than this share of what remained."""


def worth_telling(job: Job, position: int | None, finish_ms: int | None, now_ms: int) -> Progress | None:
    """What to tell of a job now, which is then taken for told; None: nothing. position, finish_ms: as estimated."""
    if finish_ms is not None:
        finish_ms = max(finish_ms, now_ms + LEAST_MS)
    drifted = _drifted(job, position, finish_ms, now_ms)
    if not drifted and job.reported_row is job.row and job.reported is not None and job.reported.stopped == job.stopped:
        return None  # nothing can have changed: there may be thousands of jobs to look at
    progress = job.progress(position, None if finish_ms is None else round((finish_ms - now_ms) / 1_000, 1))
    if not drifted and job.reported is not None and _bare(progress) == _bare(job.reported):
        return None
    job.reported, job.reported_row, job.reported_at_ms, job.told_finish_ms = progress, job.row, now_ms, finish_ms
    return progress


def _bare(progress: Progress) -> Progress:
    """What is told at once when it changes."""
    return replace(progress, eta_s=None, queue_position=None)


def _drifted(job: Job, position: int | None, finish_ms: int | None, now_ms: int) -> bool:
    """Is it another place in line or another finish than was told, and time to tell it?"""
    told_ms = job.told_finish_ms
    if job.reported is None or told_ms is None or finish_ms is None:
        if told_ms is not finish_ms:  # what was not known is now, or the other way round
            return True
        left_ms, moved = 0, False
    else:
        left_ms = max(0, min(told_ms, finish_ms) - now_ms)
        moved = told_ms <= now_ms or abs(finish_ms - told_ms) > DRIFT * (finish_ms - now_ms)
    if now_ms - job.reported_at_ms < max(SOONEST_MS, FAR_SHARE * left_ms):
        return False
    before = job.reported.queue_position if job.reported is not None else None
    return moved or (position != before and (position is None or position < FIRST))
