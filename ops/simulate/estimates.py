"""How true the estimates were that the scheduler told, once it is known when each job was rendered. Pure.

The error of one telling is |told finish - true finish| over the time that remained when it was told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter

from ops.simulate.measures import percentile
from ops.simulate.traces import Told, Traces
from schemas.request import Lane

BUCKETS_S = (10.0, 30.0, 100.0, 300.0, 1_000.0)
"""Upper ends of the buckets of remaining time; what is longer is in one of its own."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One estimate held against what happened. Seconds at the moment of telling; error as a share of `left_s`."""

    lane: Lane
    left_s: float
    error: float
    early: bool
    """It told a finish before the true one."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of a group of tellings."""

    tellings: int
    p50: float | None
    p90: float | None
    early: float
    """Share of them that told a finish before the true one; a half when there is no bias."""


def tellings(traces: Traces, since_ms: int = 0) -> list[Telling]:
    """All estimates of jobs that were rendered in the end, told from then on."""
    found = []
    for told in traces.told:
        job = traces.jobs[told.job]
        if job.end == "completed" and job.ended_ms is not None and since_ms <= told.at_ms < job.ended_ms:
            left_s = (job.ended_ms - told.at_ms) / 1000
            error = abs(told.eta_s - left_s) / left_s
            found.append(Telling(job.plan.request.lane, left_s, error, told.eta_s < left_s))
    return found


def errors(found: Sequence[Telling]) -> Errors:
    """Of these tellings together."""
    shares = [one.error for one in found]
    p50, p90 = (percentile(shares, share) for share in (0.5, 0.9))
    early = sum(one.early for one in found) / max(1, len(found))
    return Errors(len(found), _rounded(p50), _rounded(p90), round(early, 3))


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def by_lane(found: Sequence[Telling]) -> Mapping[Lane, Errors]:
    """Of the tellings of each lane."""
    lanes = dict.fromkeys(one.lane for one in found)
    return {lane: errors([one for one in found if one.lane == lane]) for lane in lanes}


def by_left(found: Sequence[Telling]) -> Mapping[str, Errors]:
    """Of the tellings of each bucket of remaining time."""
    edges = (0.0, *BUCKETS_S, float("inf"))
    named = {}
    for low, high in pairwise(edges):
        name = f"over {low:g} s" if high == float("inf") else f"{low:g} to {high:g} s"
        named[name] = errors([one for one in found if low < one.left_s <= high])
    return named


def held(traces: Traces, every_ms: int) -> list[Telling]:
    """What the caller of each job believes at every moment of a raster, whenever it was told: the last estimate. Unlike
    `tellings` it does not count what is told often more than what is told rarely."""
    found = []
    for name, told in _by_job(traces.told):
        job = traces.jobs[name]
        if job.end != "completed" or job.ended_ms is None:
            continue
        for one, until_ms in zip(told, [*(t.at_ms for t in told[1:]), job.ended_ms], strict=True):
            first_ms = -(-one.at_ms // every_ms) * every_ms
            for at_ms in range(first_ms, min(until_ms, job.ended_ms), every_ms):
                left_s, finish_s = (job.ended_ms - at_ms) / 1000, (one.at_ms - at_ms) / 1000 + one.eta_s
                found.append(Telling(job.plan.request.lane, left_s, abs(finish_s - left_s) / left_s, finish_s < left_s))
    return found


def silently_late_s(traces: Traces) -> list[float]:
    """For each estimate whose finish passed: seconds from then until another one was told, or the job was rendered."""
    late = []
    for name, told in _by_job(traces.told):
        ended_ms = traces.jobs[name].ended_ms or traces.ended_ms
        for one, next_ms in zip(told, [*(t.at_ms for t in told[1:]), ended_ms], strict=True):
            passed_s = (min(next_ms, ended_ms) - one.at_ms) / 1000 - one.eta_s
            if passed_s > 0:
                late.append(passed_s)
    return late


def _by_job(told: Iterable[Told]) -> Iterable[tuple[str, list[Told]]]:
    ordered = sorted(told, key=attrgetter("job", "at_ms"))
    return ((name, list(group)) for name, group in groupby(ordered, key=attrgetter("job")))
