"""Bench of the scheduler's promises, in virtual time: the real core and the workers' real core, simulated devices.

Shares of tenants and lanes, waits under a backlog, goodput beside first in, first out on the same arrivals. No clock:
the figures are the same on every machine. `python -m ops.bench.fairness_report DIR` writes them down with a plot.
"""

import platform
from random import Random
from typing import Any

from ops.bench import fairness_workloads as work
from ops.simulate.measures import busy_share, jain, measured, percentile
from ops.simulate.sizing import first_in_first_out, scheduled
from ops.simulate.traces import Traces
from schemas.request import Lane

SEED = 20261126
WEIGHTS: dict[Lane, float] = {"express": 8.0, "standard": 3.0, "bulk": 1.0}
"""As shipped (stream_processors/prioritise/lanes.toml)."""
TENANTS = {"t1": 1.0, "t2": 1.0, "t3": 2.0, "t4": 2.0, "t5": 3.0, "t6": 3.0, "t7": 4.0, "t8": 8.0}
LOADS = (0.5, 0.8, 1.1)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: a fraction of the work, for tests."""
    part = 25 if quick else 1
    goodput = [_goodput(load, 4_000 // part, by_length) for by_length in (True, False) for load in LOADS]
    express = _express(10_000 // part, 1_000 // part)
    small = {workers: _small_tenant(10_000 // part, workers) for workers in (4, 1)}
    return {
        "bench": "fairness",
        "figures": [
            _figure("Jain index over weighted tenants", _tenants(2_000 // part), "", 0.99),
            _figure("bulk's part of its weight under saturated express", _bulk(10 / part), "", 0.8),
            *(
                _figure(f"goodput over first in, first out, load {row['load']}", row["ratio"], "", 1.0)
                for row in goodput
                if row["lanes"] == "by length"
            ),
            _figure("wait of a tenant with 1 job beside 10,000, more than alone", small[4], "chunks", 2.0, True),
            _figure("express wait under a bulk backlog, p95", express["wait_p95_chunks"], "chunks", 1.2, True),
            _figure("workers busy meanwhile", express["busy"], "", 0.97),
        ],
        "machine": {"python": platform.python_version(), "clock": "simulated", "seed": SEED, "quick": quick},
        "peers": [{"name": "first in, first out over chunks", **row} for row in goodput],
        "details": {
            "chunk_s": work.CHUNK_S, "jitter": work.HARDWARE.jitter, "weights": WEIGHTS, "tenants": TENANTS,
            "small_tenant_extra_wait_chunks_by_workers": small, "express_under_bulk": express,
        },
    }  # fmt: skip


def _figure(name: str, value: float, unit: str, bar: float, most: bool = False) -> dict[str, Any]:
    """most: the bar is the most that it may be."""
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": value <= bar if most else value >= bar}


def _tenants(chunks: int) -> float:
    """Jain index of device time by weight over the first `chunks` chunks, all tenants having work all the time."""
    policy = work.limits(WEIGHTS, TENANTS)
    plans = work.plans(work.weighted_tenants(TENANTS, chunks), policy)
    served_s = dict.fromkeys(TENANTS, 0.0)
    until_ms = plans[0].requested_at_ms + chunks * work.CHUNK_S * 1000 // 4
    for one in scheduled(plans, work.fleet(4), policy).run(until_ms).handed_out[:chunks]:
        served_s[one.tenant] += work.CHUNK_S
    return round(jain(served_s[tenant] / weight for tenant, weight in TENANTS.items()), 5)


def _bulk(hours: float) -> float:
    """Bulk's share of the device time over its share by weight, while express has more work than there are devices."""
    workers, policy = 2, work.limits(WEIGHTS)
    plans = work.plans(work.saturated_express(hours, workers, Random(SEED)), policy)
    traces = scheduled(plans, work.fleet(workers), policy).run(plans[0].requested_at_ms + hours * 3_600_000)
    bulk_s = sum(one.cost_s for one in traces.handed_out if one.lane == "bulk")
    weight = WEIGHTS["bulk"] / (WEIGHTS["bulk"] + WEIGHTS["express"])
    return round(bulk_s / sum(one.cost_s for one in traces.handed_out) / weight, 4)


def _goodput(load: float, count: int, by_length: bool) -> dict[str, Any]:
    """Share of jobs done within three times their time alone, ours and first in, first out, on the same arrivals."""
    workers, policy = 4, work.limits(WEIGHTS)
    jobs = work.short_among_long(count, load, workers, by_length, Random(SEED))
    plans, fleet = work.plans(jobs, policy), work.fleet(workers)
    ours = measured(scheduled(plans, fleet, policy).run(), work.MODELS, work.HARDWARE, "reelbus")
    fifo = measured(first_in_first_out(plans, fleet).run(), work.MODELS, work.HARDWARE, "fifo")
    good = {o.policy: sum(g.goodput * g.jobs for g in o.lanes) / o.jobs for o in (ours, fifo)}
    return {
        "lanes": "by length" if by_length else "one for all",
        "load": load,
        "jobs": count,
        "goodput": round(good["reelbus"], 4),
        "goodput_fifo": round(good["fifo"], 4),
        "ratio": round(good["reelbus"] / good["fifo"], 3),
    }


def _small_tenant(many: int, workers: int) -> float:
    """Chunk times by which the longest wait of a tenant with one job exceeds its wait alone."""
    moments_s = [100.0 + 47.3 * number for number in range(20)]
    policy, fleet = work.limits(WEIGHTS), work.fleet(workers)

    def longest_s(jobs: list[Any]) -> float:
        plans = work.plans(jobs, policy)
        traces = scheduled(plans, fleet, policy).run(plans[0].requested_at_ms + (moments_s[-1] + 300) * 1000)
        return max(_wait_s(traces, tenant) for tenant in {j.tenant for j in jobs} if tenant.startswith("small"))

    alone_s = longest_s(work.one_against_many(1, moments_s))
    return round((longest_s(work.one_against_many(many, moments_s)) - alone_s) / work.CHUNK_S, 3)


def _wait_s(traces: Traces, tenant: str) -> float:
    (found,) = [job for job in traces.jobs.values() if job.plan.request.tenant == tenant]
    began_ms = traces.ended_ms if found.began_ms is None else found.began_ms
    return (began_ms - found.plan.requested_at_ms) / 1000


def _express(backlog: int, count: int) -> dict[str, float]:
    """Waits of express jobs while bulk has a backlog, and how busy the workers are from first to last of them."""
    workers, policy = 8, work.limits(WEIGHTS)
    plans = work.plans(work.express_under_bulk(backlog, count, workers, 0.1, Random(SEED)), policy)
    last_ms = plans[-1].requested_at_ms
    traces = scheduled(plans, work.fleet(workers), policy).run(last_ms + 120_000)
    express = [job for job in traces.jobs.values() if job.plan.request.lane == "express"]
    ends = [traces.ended_ms if job.began_ms is None else job.began_ms for job in express]
    waits = [(end - job.plan.requested_at_ms) / 1000 / work.CHUNK_S for end, job in zip(ends, express, strict=True)]
    left = sum(job.began_ms is None for job in traces.jobs.values())
    first_ms = min(job.plan.requested_at_ms for job in express)
    return {
        "wait_p50_chunks": round(percentile(waits, 0.5) or 0.0, 3),
        "wait_p95_chunks": round(percentile(waits, 0.95) or 0.0, 3),
        "wait_p99_chunks": round(percentile(waits, 0.99) or 0.0, 3),
        "busy": round(busy_share(traces, "rendering", first_ms, last_ms), 4),
        "express_jobs": len(express),
        "jobs_not_begun_at_the_end": left,
    }
