"""Figures of a simulation: waits, goodput, fairness, utilisation. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ops.simulate.hardware import Hardware
from ops.simulate.traces import Doing, JobTrace, Traces
from schemas.plan import Plan
from schemas.registry import ModelEntry
from schemas.request import LANES, Lane

SOLO_TIMES = 3.0
"""A job is good when it is done within so many times what it would take alone."""


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share (0..1) of the values does not exceed (nearest rank); None of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else None


def jain(shares: Iterable[float]) -> float:
    """R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness" (1984): 1 when all are equal, 1/n when one of n
    has everything. 1 of none."""
    xs = list(shares)
    squares = len(xs) * sum(x * x for x in xs)
    return sum(xs) ** 2 / squares if squares else 1.0


def solo_s(plan: Plan, models: Mapping[str, ModelEntry], hardware: Hardware, gpus: int) -> float:
    """Seconds from first to last chunk of a job that is alone with `gpus` warm devices of normal speed: chained chunks
    one after another, independent ones side by side."""
    render = plan.render
    chunk_s = hardware.costs.chunk_s(models[render.model], render.width_px, render.height_px)
    depth: list[int] = []
    for span in plan.chunks:
        depth.append(1 if span.after < 0 else depth[span.after] + 1)
    return max(max(depth), -(-len(depth) // gpus)) * chunk_s


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs of one lane, or of one tenant of a lane. Waits run from arrival to the moment that a device begins with the
    first chunk; `done` to the moment that all chunks are rendered. None: no job has come to that."""

    lane: Lane
    tenant: str
    """Empty: all of them."""
    jobs: int
    completed: int
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    done_p50_s: float | None
    done_p95_s: float | None
    done_p99_s: float | None
    goodput: float
    """Share of all jobs that were done within SOLO_TIMES of their time alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulation. Shares are of the workers' time between the first arrival and the last end."""

    gpus: int
    policy: str
    jobs: int
    completed: int
    took_s: float
    """Simulated time from the first arrival to the last end."""
    rendering: float
    loading: float
    idle: float
    jain: float
    """Over tenants: device-seconds of completed jobs per second in which the tenant had one waiting or rendering, by
    its weight."""
    lanes: tuple[Group, ...]
    tenants: tuple[Group, ...]


def measured(traces: Traces, models: Mapping[str, ModelEntry], hardware: Hardware, policy: str) -> Outcome:
    """All figures of one simulation."""
    gpus, jobs = len(traces.workers), list(traces.jobs.values())
    alone: dict[str, float] = {job.plan.job: solo_s(job.plan, models, hardware, gpus) for job in jobs}

    def group(lane: Lane, tenant: str, members: list[JobTrace]) -> Group:
        return _group(lane, tenant, members, lambda job: alone[job.plan.job])

    by_lane: dict[Lane, list[JobTrace]] = {}
    by_tenant: dict[tuple[Lane, str], list[JobTrace]] = {}
    for job in jobs:
        request = job.plan.request
        by_lane.setdefault(request.lane, []).append(job)
        by_tenant.setdefault((request.lane, request.tenant), []).append(job)
    took_ms = max((job.ended_ms or traces.ended_ms for job in jobs), default=traces.began_ms) - traces.began_ms
    share = {doing: busy_share(traces, doing, traces.began_ms, traces.began_ms + took_ms) for doing in _DOINGS}
    return Outcome(
        gpus=gpus,
        policy=policy,
        jobs=len(jobs),
        completed=sum(job.end == "completed" for job in jobs),
        took_s=round(took_ms / 1000, 3),
        rendering=round(share["rendering"], 4),
        loading=round(share["loading"], 4),
        idle=round(1 - sum(share.values()), 4),
        jain=round(jain(_rates(jobs, models, hardware, traces.ended_ms).values()), 4),
        lanes=tuple(group(lane, "", by_lane[lane]) for lane in LANES if lane in by_lane),
        tenants=tuple(group(lane, tenant, by_tenant[lane, tenant]) for lane, tenant in sorted(by_tenant)),
    )


_DOINGS: tuple[Doing, ...] = ("rendering", "loading")


def busy_share(traces: Traces, doing: Doing, from_ms: int, to_ms: int) -> float:
    """Share of all workers' time in a window that their devices spent on this."""
    if to_ms <= from_ms:
        return 0.0
    spent_ms = sum(
        max(0, min(end, to_ms) - max(begin, from_ms))
        for worker in traces.workers
        for begin, end, what in worker.spans
        if what == doing
    )
    return spent_ms / (to_ms - from_ms) / len(traces.workers)


def _group(lane: Lane, tenant: str, jobs: list[JobTrace], alone_s: Callable[[JobTrace], float]) -> Group:
    waits, spent, good = [], [], 0
    for job in jobs:
        arrived_ms = job.plan.requested_at_ms
        if job.began_ms is not None:
            waits.append((job.began_ms - arrived_ms) / 1000)
        if job.end == "completed" and job.ended_ms is not None:
            spent.append((job.ended_ms - arrived_ms) / 1000)
            good += spent[-1] <= SOLO_TIMES * alone_s(job)
    wait_p50_s, wait_p95_s, wait_p99_s = (percentile(waits, share) for share in (0.5, 0.95, 0.99))
    done_p50_s, done_p95_s, done_p99_s = (percentile(spent, share) for share in (0.5, 0.95, 0.99))
    return Group(
        lane, tenant, len(jobs), len(spent), wait_p50_s, wait_p95_s, wait_p99_s, done_p50_s, done_p95_s, done_p99_s,
        round(good / len(jobs), 4),
    )  # fmt: skip


def _rates(jobs: list[JobTrace], models: Mapping[str, ModelEntry], hardware: Hardware, now_ms: int) -> dict[str, float]:
    """Device-seconds per second and weight of each tenant that had jobs, while it had any."""
    spans: dict[str, list[tuple[int, int]]] = {}
    served_s: dict[str, float] = {}
    weights: dict[str, float] = {}
    for job in jobs:
        render, placement = job.plan.render, job.plan.placement
        assert placement is not None
        tenant = job.plan.request.tenant
        weights[tenant] = placement.weight
        spans.setdefault(tenant, []).append((job.plan.requested_at_ms, job.ended_ms or now_ms))
        if job.end == "completed":
            chunk_s = hardware.costs.chunk_s(models[render.model], render.width_px, render.height_px)
            served_s[tenant] = served_s.get(tenant, 0.0) + len(job.plan.chunks) * chunk_s
    return {t: served_s.get(t, 0.0) / weights[t] / max(0.001, _covered_s(spans[t])) for t in spans}


def _covered_s(spans: Iterable[tuple[int, int]]) -> float:
    """Seconds that lie within at least one of the spans."""
    covered_ms, reached_ms = 0, 0
    for begin_ms, end_ms in sorted(spans):
        covered_ms += max(0, end_ms - max(begin_ms, reached_ms))
        reached_ms = max(reached_ms, end_ms)
    return covered_ms / 1000
