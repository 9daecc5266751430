"""Which jobs of a batch have ended, as they end. About 150 bytes of memory a job."""

import time
from collections.abc import Iterator

from ops.settings import Settings
from producers.client.reader import TopicReader
from schemas.events import JobFinished, JobState
from schemas.ids import job_key
from schemas.lifecycle import TERMINAL
from schemas.topics import JOBS_FINISHED, JOBS_STATE

POLL_S = 0.25
SLACK_S = 60.0
"""Clocks of machines differ."""
QUIET_S, MOST_QUIET_S = 5.0, 120.0
"""After so long without a result jobs.state is read once: a job may have ended before its batch began."""


class Following:
    """Told of every job by `expect`, it says which have ended. As a context manager.

    A job whose id was used before this batch, or twice in it, is one job and ends once; it is found in jobs.state.

    since_ms: when the batch was begun
    """

    def __init__(self, settings: Settings, batch_id: str, tenant: str, since_ms: int) -> None:
        self._settings, self._batch_id, self._tenant = settings, batch_id, tenant
        recent_s = max(0.0, time.time() - since_ms / 1000) + SLACK_S
        self._reader = TopicReader(settings, [JOBS_FINISHED], {JOBS_FINISHED.entity: recent_s})
        # Hashes: 64 bits, so two of a hundred million jobs are mixed up once in 4,000 batches.
        self._waiting: set[int] = set()
        self._ended: set[int] = set()
        self._heard_s = time.monotonic()
        self._quiet_s = QUIET_S

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more."""
        self._reader.__exit__()

    def expect(self, job_id: str) -> None:
        """This job belongs to the batch and is sent."""
        name = hash(job_key(self._tenant, job_id))
        if name not in self._ended:
            self._waiting.add(name)

    @property
    def unfinished(self) -> int:
        """Jobs that were sent and have not ended."""
        return len(self._waiting)

    def poll(self, timeout_s: float) -> Iterator[JobFinished | JobState]:
        """Those that ended since."""
        for entry in self._reader.poll(timeout_s):
            if isinstance(entry.record, JobFinished) and self._take(entry.record):
                yield entry.record
        if self._waiting and time.monotonic() - self._heard_s > self._quiet_s:
            self._heard_s = time.monotonic()
            self._quiet_s = min(self._quiet_s * 2, MOST_QUIET_S)
            yield from self._look_back()

    def _take(self, job: JobFinished | JobState) -> bool:
        name = hash(job.job)
        if name in self._ended or (name not in self._waiting and job.batch_id != self._batch_id):
            return False
        self._ended.add(name)
        self._waiting.discard(name)
        self._heard_s, self._quiet_s = time.monotonic(), QUIET_S
        return True

    def _look_back(self) -> Iterator[JobState]:
        with TopicReader(self._settings, [JOBS_STATE]) as reader:
            while not reader.caught_up:
                for entry in reader.poll(POLL_S):
                    state = entry.record
                    if isinstance(state, JobState) and state.state in TERMINAL and self._take(state):
                        yield state
