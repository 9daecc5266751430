"""What live jobs take of the windows that their lines are read through. Pure."""

from stream_processors.dispatch.backlog import Backlog, line_of
from stream_processors.dispatch.job import Job

ASIDE_JOBS = 2_000
"""Held jobs, and jobs in review, that are kept in memory beside the windows; more of them take room there."""


class Windows:
    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._counted: dict[str, tuple[str, int]] = {}
        """What a job takes of the window of its line, by job."""
        self._aside: set[str] = set()
        """Those of them that take nothing of a window."""

    def follow(self, job: Job, lives: bool) -> None:
        """Keep the windows true: a job counts while it wants chunks, and so does what waits beside it. One that is
        held or in review does not, or a few of them would keep the rest of their line in Kafka."""
        line, before = self._counted.pop(job.key, ("", 0))
        if before:
            self._backlog.count(line, -before)
        self._aside.discard(job.key)
        if not lives:
            return
        wants = job.row.phase == "active"
        stands = job.row.steering.held or job.row.review_at_ms > 0
        if wants and stands and len(self._aside) < ASIDE_JOBS:
            self._aside.add(job.key)
            wants = False
        if jobs := wants + len(job.rivals):
            line = line_of(job.plan, job.lane)
            self._counted[job.key] = line, jobs
            self._backlog.count(line, jobs)
