"""What a simulation is fed with: jobs with the moment they arrive, and the plans that they become. Pure.

A job goes through the real `split` and `place`, so it has as many chunks, of the same cost, as it would have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.errors import InvalidMessage
from schemas.ids import fingerprint, job_key
from schemas.limits import Limits
from schemas.plan import ClearedJob, Plan
from schemas.registry import ModelEntry
from schemas.request import JobRequest, Lane, Output, Shot
from stream_processors.prioritise.core import place
from stream_processors.split.core import split

START_MS = 3_600_000
"""Time of the simulated clock when second 0 of the arrivals begins."""


@dataclass(frozen=True, slots=True)
class SimJob:
    """One job of one shot. Units and limits are those of a request; times count from the start of the simulation."""

    arrival_s: float
    duration_s: float
    tenant: str = "default"
    lane: Lane = "standard"
    model: str = "shapes"
    priority: int = 0
    deadline_s: float | None = None
    """Seconds after its arrival at which the video is of no use any more."""
    width_px: int = 640
    height_px: int = 360
    project: str | None = None


def arrival_ms(job: SimJob) -> int:
    """Moment of arrival on the simulated clock."""
    return START_MS + round(job.arrival_s * 1000)


def planned(jobs: Iterable[SimJob], models: Mapping[str, ModelEntry], limits: Limits, pool: str) -> list[Plan]:
    """Plans in the order of arrival, equals in the order given. Every job must name a model of `models` that `pool`
    serves; raises InvalidMessage otherwise."""
    made = [_plan(number, job, models, limits, pool) for number, job in enumerate(jobs)]
    return sorted(made, key=lambda plan: plan.requested_at_ms)


def check_model(model: str, models: Mapping[str, ModelEntry], pool: str) -> None:
    """Raises InvalidMessage when no worker of this pool renders it."""
    able = sorted(name for name, entry in models.items() if pool in entry.pools)
    if model not in able:
        raise InvalidMessage(f"model: {model!r} is not rendered by pool {pool}; it renders {', '.join(able) or 'none'}")


def frame_rate(entry: ModelEntry) -> int:
    """Frames per second of simulated jobs: the nearest to 24 that the model can."""
    return min(max(24, entry.fps_min), entry.fps_max)


def shot_of(duration_s: float, entry: ModelEntry) -> Shot:
    """The one shot of a job. A model that cannot continue a clip renders its chunks side by side: chained ones would be
    refused."""
    continuity: Literal["chained", "independent"] = "chained" if entry.given_frames else "independent"
    return Shot(prompt="simulated", duration_s=duration_s, continuity=continuity)


def _plan(number: int, job: SimJob, models: Mapping[str, ModelEntry], limits: Limits, pool: str) -> Plan:
    check_model(job.model, models, pool)
    entry, at_ms = models[job.model], arrival_ms(job)
    request = JobRequest(
        job_id=f"job-{number}",
        tenant=job.tenant,
        project=job.project,
        lane=job.lane,
        priority=job.priority,
        model=job.model,
        shots=(shot_of(job.duration_s, entry),),
        output=Output(width_px=job.width_px, height_px=job.height_px, fps=frame_rate(entry)),
        deadline_ms=None if job.deadline_s is None else at_ms + round(job.deadline_s * 1000),
    )
    key = job_key(job.tenant, request.job_id)
    cleared = ClearedJob(job=key, request=request, fingerprint=fingerprint(request), requested_at_ms=at_ms)
    return place(split(cleared, entry), entry, limits, pool)
