"""The workloads of `reelbus bench fairness`: jobs, devices and policy of each, as the simulator takes them. Pure.

One model of 10 s a chunk that renders one chunk at a time, so a worker holds one running and one waiting; a chunk's
time varies by 10 %, or all devices would go in step for ever.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ops.simulate.hardware import Fleet, Hardware
from ops.simulate.jobs import SimJob, planned
from schemas.limits import JobLimits, LanePolicy, Limits, TenantPolicy
from schemas.plan import Plan
from schemas.registry import ModelEntry
from schemas.request import Lane

if TYPE_CHECKING:
    from random import Random

CHUNK_S = 10.0
POOL = "cpu"
MODEL = ModelEntry(
    name="bench", family="none", source="none", revision="r1", pools=(POOL,), clip_frames=24, given_frames=4,
    sizes=((640, 360),), fps_min=24, fps_max=24, steps=8, guidance=1.0, chunk_cost_s=CHUNK_S,
)  # fmt: skip
MODELS: Mapping[str, ModelEntry] = {MODEL.name: MODEL}
HARDWARE = Hardware(jitter=0.1)
_NO_BOUND = JobLimits(
    max_frames=10**9,
    max_pixels=10**9,
    max_chunks=400,
    max_text_bytes=10**6,
    max_metadata_bytes=0,
    max_request_bytes=24576,
)


def limits(lanes: Mapping[Lane, float], tenants: Mapping[str, float] = {}) -> Limits:
    """A policy of these weights. The size limits are moderate's, whom no simulated job meets."""
    return Limits(
        jobs=_NO_BOUND,
        lanes={lane: LanePolicy(weight=weight) for lane, weight in lanes.items()},
        tenants={tenant: TenantPolicy(weight=weight) for tenant, weight in tenants.items()},
    )


def fleet(workers: int) -> Fleet:
    """So many devices of the one kind."""
    return Fleet(POOL, workers, MODELS, HARDWARE)


def plans(jobs: Sequence[SimJob], policy: Limits) -> list[Plan]:
    """The plans of these jobs, in the order of arrival."""
    return planned(jobs, MODELS, policy, POOL)


def seconds(chunks: int) -> float:
    """Length of a video that takes so many chunks, one after another."""
    step = MODEL.clip_frames - MODEL.given_frames
    return (MODEL.clip_frames + (chunks - 1) * step) / MODEL.fps_min


def job(arrival_s: float, lane: Lane, tenant: str = "default", chunks: int = 1) -> SimJob:
    """One job of the one model."""
    return SimJob(arrival_s=arrival_s, duration_s=seconds(chunks), tenant=tenant, lane=lane, model=MODEL.name)


def weighted_tenants(weights: Mapping[str, float], chunks: int) -> list[SimJob]:
    """All tenants have work for the whole run: each as many jobs of 1 to 5 chunks as the run has chunks."""
    each = [job(0.0, "standard", tenant, 1 + number % 5) for tenant in weights for number in range(chunks // 3)]
    return sorted(each, key=lambda one: one.duration_s)  # so that no tenant's jobs all come first


def saturated_express(hours: float, workers: int, rng: "Random") -> list[SimJob]:
    """Express alone is one and a half times what the devices can do; bulk has more waiting than they could do."""
    count = int(hours * 3600 * workers / CHUNK_S)
    gaps_s = (rng.expovariate(1.5 * workers / CHUNK_S) for _ in range(count * 3 // 2))
    express = [job(at_s, "express") for at_s in accumulate(gaps_s)]
    return [job(0.0, "bulk", "archive", 4) for _ in range(count // 4)] + express


def short_among_long(count: int, load: float, workers: int, by_length: bool, rng: "Random") -> list[SimJob]:
    """Nine short jobs of one chunk for each long one of 24, so that long ones take most of the devices. by_length:
    short ones are express and long ones bulk, as one would send them; else all are standard."""
    mean_s = (0.9 * 1 + 0.1 * 24) * CHUNK_S
    jobs, now_s = [], 0.0
    for _ in range(count):
        now_s += rng.expovariate(load * workers / mean_s)
        long = rng.random() < 0.1
        lane: Lane = ("bulk" if long else "express") if by_length else "standard"
        tenant = "archive" if long else f"desk-{rng.randrange(3)}"
        jobs.append(job(now_s, lane, tenant, 24 if long else 1))
    return jobs


def one_against_many(many: int, moments_s: Sequence[float]) -> list[SimJob]:
    """A tenant that sends `many` jobs at once, and at each of these moments a tenant with one."""
    small = [job(at_s, "standard", f"small-{number}") for number, at_s in enumerate(moments_s)]
    return [job(0.0, "standard", "large") for _ in range(many)] + small


def express_under_bulk(backlog: int, express: int, workers: int, share: float, rng: "Random") -> list[SimJob]:
    """A backlog of bulk jobs of one to four chunks, and express jobs of one chunk that need `share` of the devices."""
    gaps_s = (rng.expovariate(share * workers / CHUNK_S) for _ in range(express))
    return [
        *(job(0.0, "bulk", "archive", 1 + number % 4) for number in range(backlog)),
        *(job(60.0 + at_s, "express", f"desk-{number % 5}") for number, at_s in enumerate(accumulate(gaps_s))),
    ]
