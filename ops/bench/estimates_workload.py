"""The mixed run of `reelbus bench estimates`: all lanes, short and long jobs, tenants of several weights, arrivals that
go on while it runs, devices that are not what the registry says and not always the same. Pure."""

from typing import TYPE_CHECKING

from ops.bench import fairness_workloads as base
from ops.simulate.hardware import Costs, Fleet, Hardware
from ops.simulate.jobs import SimJob
from ops.simulate.partitions import ParkedLog
from ops.simulate.simulation import Simulation
from ops.simulate.traces import Traces
from schemas.request import Lane
from stream_processors.dispatch.core import Scheduler

if TYPE_CHECKING:
    from random import Random

CHUNK_S = 12.0
"""What a chunk takes; the registry says 10 s, so the rest is to be learnt."""
JITTER = 0.2
LANES: dict[Lane, float] = {"express": 8.0, "standard": 3.0, "bulk": 1.0}
TENANTS = {"t1": 1.0, "t2": 1.0, "t3": 2.0, "t4": 4.0, "t5": 8.0}
SIZES: dict[Lane, tuple[float, tuple[int, int]]] = {
    "express": (0.4, (1, 3)),
    "standard": (0.4, (1, 10)),
    "bulk": (0.2, (4, 40)),
}
"""Share of the jobs, and chunks of the shortest and longest."""
DESCRIPTION = {"chunk_s": CHUNK_S, "jitter": JITTER, "lanes": LANES, "tenants": TENANTS, "share_and_chunks": SIZES}


def mixed(count: int, load: float, workers: int, rng: "Random") -> list[SimJob]:
    """So many jobs with exponential gaps that need `load` of the devices."""
    mean_s = sum(share * (low + high) / 2 for share, (low, high) in SIZES.values()) * CHUNK_S
    jobs, now_s = [], 0.0
    for _ in range(count):
        now_s += rng.expovariate(load * workers / mean_s)
        (lane,) = rng.choices(list(SIZES), [share for share, _ in SIZES.values()])
        low, high = SIZES[lane][1]
        jobs.append(base.job(now_s, lane, rng.choice(list(TENANTS)), rng.randint(low, high)))
    return jobs


def played(workers: int, load: float, count: int, window_jobs: int, death: bool, rng: "Random") -> Traces:
    """A run to its end, the scheduler looking through its jobs every second as in production."""
    policy = base.limits(LANES, TENANTS)
    plans = base.plans(mixed(count, load, workers, rng), policy)
    took_s = (plans[-1].requested_at_ms - plans[0].requested_at_ms) / 1000
    deaths = {0: (took_s / 4, took_s / 4), 1: (took_s * 3 / 4, float("inf"))} if death else {}
    hardware = Hardware(Costs(by_model={base.MODEL.name: CHUNK_S}), JITTER, deaths=deaths)
    scheduler = Scheduler(policy.lane_weights(), window_jobs=window_jobs)
    parked = ParkedLog(scheduler.backlog, scheduler.on_parked)
    return Simulation(plans, scheduler, Fleet(base.POOL, workers, base.MODELS, hardware), parked).run()
