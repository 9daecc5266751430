"""How many jobs have come of late, by pool, lane and tenant: estimates assume that it goes on like that. Pure.

Counted in windows. One window counts for at most a few times the mean of the others, so a million jobs sent at once are
what waits, not what will go on coming.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.plan import Plan
from schemas.request import Lane
from stream_processors.dispatch.playing_parts import Stream

WINDOW_MS = 60_000
WINDOWS = 20
"""What is looked back on."""
BURST = 3.0
"""Times the mean of the other windows that one may count for, and a job more."""
MOST_STREAMS = 50
"""Tenants of a pool that are expected by name; the smaller ones are not expected."""
MOST_KNOWN = 10_000


@dataclass(slots=True)
class _Recent:
    weight: float
    cost_s: float
    jobs: deque[tuple[int, int]] = field(default_factory=deque)
    """(window, jobs), of windows that had any."""
    chunks: float = 0.0
    """Of a job, on average; the newest ones count more."""
    chain: float = 0.0

    def note(self, window: int, chunks: int, chain: int) -> None:
        if self.jobs and self.jobs[-1][0] == window:
            self.jobs[-1] = window, self.jobs[-1][1] + 1
        else:
            self.jobs.append((window, 1))
        while self.jobs[0][0] <= window - WINDOWS:
            self.jobs.popleft()
        share = 0.05 if self.chunks else 1.0
        self.chunks += share * (chunks - self.chunks)
        self.chain += share * (chain - self.chain)

    def a_window(self, window: int, windows: int) -> float:
        """Jobs per window of the last `windows` ones."""
        seen = [jobs for at, jobs in self.jobs if window - windows < at <= window]
        total = sum(seen)
        others = max(1, windows - 1)
        return sum(min(jobs, 1 + BURST * (total - jobs) / others) for jobs in seen) / windows


def depth(plan: Plan) -> int:
    """Chunks of a plan that have to be rendered one after another."""
    depths: list[int] = []
    for span in plan.chunks:
        depths.append(1 if span.after < 0 else depths[span.after] + 1)
    return max(depths)


class Arrivals:
    def __init__(self) -> None:
        self._recent: dict[tuple[str, Lane, str], _Recent] = {}
        self._since_ms: int | None = None

    def note(self, plan: Plan, now_ms: int) -> None:
        """A job has come that was not known."""
        self._since_ms = now_ms if self._since_ms is None else self._since_ms
        placement = plan.placement
        assert placement is not None
        key = placement.pool, plan.request.lane, plan.request.tenant
        if (recent := self._recent.get(key)) is None:
            if len(self._recent) >= MOST_KNOWN:
                del self._recent[next(iter(self._recent))]
            recent = self._recent[key] = _Recent(placement.weight, placement.chunk_cost_s)
        recent.weight, recent.cost_s = placement.weight, placement.chunk_cost_s
        recent.note(now_ms // WINDOW_MS, len(plan.chunks), depth(plan))

    def streams(
        self, pool: str, costs_s: dict[Lane, float], now_ms: int, weight_of: Callable[[str], float] = lambda _: 0.0
    ) -> list[Stream]:
        """What is to be expected in a pool. costs_s: of a chunk of each lane, where that is known better than by what
        the plans say. weight_of: a tenant's weight by its quota, 0 where that of its plans holds."""
        if self._since_ms is None or (elapsed_ms := now_ms - self._since_ms) < WINDOW_MS:
            return []
        window = now_ms // WINDOW_MS - 1  # the last whole one
        windows = min(WINDOWS, max(1, elapsed_ms // WINDOW_MS))
        found = []
        for (of_pool, lane, tenant), recent in self._recent.items():
            if of_pool == pool and (jobs := recent.a_window(window, windows)) > 0:
                cost_s = costs_s.get(lane, recent.cost_s)
                chunks, chain = max(1, round(recent.chunks)), max(1, round(recent.chain))
                gap_s = WINDOW_MS / 1000 / jobs * chunks / recent.chunks
                found.append(Stream(lane, tenant, weight_of(tenant) or recent.weight, gap_s, chunks, chain, cost_s))
        found.sort(key=lambda stream: stream.chunks * stream.cost_s / stream.gap_s, reverse=True)
        return found[:MOST_STREAMS]
