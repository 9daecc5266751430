"""Jobs that should have ended by now. Pure.

track knows every live job, dispatch ends them: the sweeper asks dispatch to, again and again with back-off until the
job has ended. It goes by what is, not by what happened, so nothing of it is kept: after a restart it asks anew.

Two causes:
- the deadline passed: wherever the job is;
- no progress: nothing was heard of the job for the time-out. Waiting in line is progress. A job that dispatch holds is
  judged by dispatch, which answers that it is still there. One that dispatch has not reported yet waits in Kafka, for
  days if the line is long: it is lost only if its line has moved past it (a job of its lane that was asked for a whole
  time-out later has reached dispatch), or if Kafka has deleted what it waited in.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.events import JobState, State
from schemas.lifecycle import TERMINAL, expiry_reason
from schemas.records import Outgoing
from schemas.request import Lane
from schemas.topics import HOUR_MS, JOBS_CONTROL, PLANS_WAIT_MS
from schemas.work import Command

GRACE_MS = 5_000
"""dispatch ends what it holds by itself; only what it does not is asked for."""
ASK_FIRST_MS, ASK_LAST_MS = 30_000, HOUR_MS
"""Between two requests to expire the same job, doubled each time."""
MOST = 500
"""Requests in one transaction."""
_WAITS_IN_KAFKA = ("accepted", "planned")


@dataclass(slots=True)
class _Watched:
    """What of a job's state tells when it should have ended: a million of them fit into memory, their states do not."""

    state: State
    lane: Lane
    requested_at_ms: int
    deadline_ms: int | None
    heard_ms: int
    tries: int = 0
    not_before_ms: int = 0


class Sweeper:
    """The live jobs of one partition of jobs.events.

    timeout_ms: silence after which a job without progress is given up; 0: never
    """

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._jobs: dict[str, _Watched] = {}
        self._due: list[tuple[int, str]] = []
        """Heap of (when to look, job); at least one entry per job that can become due, none later than it does."""
        self._front_ms: dict[Lane, int] = {}
        """By lane: latest request whose job has reached dispatch."""

    def __len__(self) -> int:
        return len(self._jobs)

    def hear(self, state: JobState, now_ms: int) -> None:
        """A job's state was written at now_ms."""
        moved = state.steering is not None and state.steering.lane_at_ms > 0  # it came by the line of another lane
        if state.timeline.queued_at_ms and not moved:
            self._front_ms[state.lane] = max(self._front_ms.get(state.lane, 0), state.requested_at_ms)
        if state.state in TERMINAL:
            self._jobs.pop(state.job, None)
            return
        watched = self._jobs.get(state.job)
        before_ms = None if watched is None else self._when(watched)
        if watched is None:
            watched = _Watched(state.state, state.lane, state.requested_at_ms, state.deadline_ms, now_ms)
            self._jobs[state.job] = watched
        if state.deadline_ms != watched.deadline_ms:
            watched.tries = watched.not_before_ms = 0
        watched.state, watched.lane, watched.deadline_ms = state.state, state.lane, state.deadline_ms
        watched.heard_ms = now_ms
        when_ms = self._when(watched)
        # What becomes due later is seen when its entry comes up; a push for every event would never be taken out.
        if when_ms is not None and (before_ms is None or when_ms < before_ms):
            heapq.heappush(self._due, (when_ms, state.job))

    def restore(self, states: Iterable[tuple[JobState, int]]) -> None:
        """Take over the states of a partition, each with when it was written."""
        for state, written_ms in states:
            self.hear(state, written_ms)

    def sweep(self, now_ms: int) -> list[Outgoing]:
        """Requests to expire what should have ended, at most MOST of them. now_ms: wall clock, never broker time, which
        stands still when nothing is sent; a clock that is stepped shifts ends by the size of the step, once."""
        out: list[Outgoing] = []
        while self._due and self._due[0][0] <= now_ms and len(out) < MOST:
            _, job = heapq.heappop(self._due)
            watched = self._jobs.get(job)
            when_ms = None if watched is None else self._when(watched)
            if watched is None or when_ms is None:
                continue
            if when_ms <= now_ms:
                code = self._cause(watched, now_ms)
                if code is not None:
                    out.append(_asked(job, code, now_ms))
                self._put_off(watched, now_ms, asked=code is not None)
                when_ms = watched.not_before_ms
            else:
                watched.tries = 0
            heapq.heappush(self._due, (when_ms, job))
        return out

    def _when(self, watched: _Watched) -> int | None:
        """When to look at a job next; None: never."""
        times = []
        if watched.deadline_ms is not None:
            times.append(watched.deadline_ms + GRACE_MS)
        if self._timeout_ms:
            times.append(watched.heard_ms + self._timeout_ms)
        return max(min(times), watched.not_before_ms) if times else None

    def _cause(self, watched: _Watched, now_ms: int) -> str | None:
        """Why a job is to be expired now; None while it may only be waiting in line."""
        if watched.deadline_ms is not None and watched.deadline_ms + GRACE_MS <= now_ms:
            return "deadline_passed"
        if watched.state in _WAITS_IN_KAFKA:
            passed = self._front_ms.get(watched.lane, 0) >= watched.requested_at_ms + self._timeout_ms
            deleted = now_ms >= watched.heard_ms + self._timeout_ms + PLANS_WAIT_MS
            return "no_progress" if passed or deleted else None
        return "no_progress"

    def _put_off(self, watched: _Watched, now_ms: int, asked: bool) -> None:
        wait_ms = min(ASK_FIRST_MS * 2 ** min(watched.tries, 16), ASK_LAST_MS) if asked else ASK_LAST_MS
        watched.tries += asked
        watched.not_before_ms = now_ms + wait_ms
        deadline_ms = watched.deadline_ms
        if not asked and deadline_ms is not None:
            watched.not_before_ms = min(watched.not_before_ms, deadline_ms + GRACE_MS)


def _asked(job: str, code: str, now_ms: int) -> Outgoing:
    reason = f"{code}: {expiry_reason(code).message}"
    return Outgoing(JOBS_CONTROL, job, Command(job=job, action="expire", reason=reason, requested_at_ms=now_ms))
