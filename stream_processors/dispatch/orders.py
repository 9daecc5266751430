"""What callers order of jobs that are under way, besides cancelling them. Pure.

An order that came before changes nothing, wherever its job stands now; what came of it was said then.
"""

from msgspec.structs import replace

from schemas.events import Reason
from schemas.records import Outgoing
from schemas.steering import merged, of_command
from schemas.work import Command
from stream_processors.dispatch.awaited import refused, steered
from stream_processors.dispatch.backlog import line_of
from stream_processors.dispatch.book import Book

MOST_MOVED = 2_000
"""Jobs that a line may have in memory beyond its window because they were moved into its lane."""


class Orders:
    def __init__(self, book: Book) -> None:
        self._book = book

    def take(self, control: Command, now_ms: int) -> list[Outgoing]:
        """An order. It acts at the next chunk boundary: what is with a worker is finished."""
        job = self._book.jobs.get(control.job)
        if job is None:
            return self._not_here(control, now_ms)
        after = merged(job.row.steering, of_command(control))
        if after == job.row.steering:
            return []
        if job.row.phase == "assembling":
            message = "all chunks are rendered and the video is being assembled"
            return [refused(control, now_ms, Reason(code="order_too_late", message=message))]
        lane = control.lane if control.action == "move_lane" else None
        if lane is not None and lane != job.lane and self._book.backlog.room(line_of(job.plan, lane)) <= -MOST_MOVED:
            message = f"{MOST_MOVED} jobs were moved into your part of lane {lane}; give the order again later"
            return [refused(control, now_ms, Reason(code="lane_full", message=message))]
        job.row = replace(job.row, steering=after)
        return [self._book.saved(job), steered(job, now_ms)]

    def _not_here(self, control: Command, now_ms: int) -> list[Outgoing]:
        if not self._book.ended.speaks_for(control.job):
            return self._book.awaited.order(control, now_ms)
        known = self._book.ended.rows[control.job].steering
        if merged(known, of_command(control)) == known:
            return []
        return [refused(control, now_ms, Reason(code="job_ended", message="the job has ended"))]
