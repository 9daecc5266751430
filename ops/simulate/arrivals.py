"""Made-up arrivals: a Poisson process of short and long jobs over lanes and tenants. Pure: the generator comes in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.simulate.hardware import Costs
from ops.simulate.jobs import SimJob, frame_rate, shot_of
from schemas.chunks import frames_of
from schemas.errors import InvalidMessage
from schemas.limits import chunk_count
from schemas.registry import ModelEntry
from schemas.request import Lane

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Mix:
    """What arrives. lanes: share of the jobs by lane. short_s, long_s: length of the two kinds of video; of all jobs
    `long_share` are long. Shares are of jobs, not of device time."""

    lanes: Mapping[Lane, float]
    model: str
    short_s: float
    long_s: float
    long_share: float
    tenants: int = 4

    def __post_init__(self) -> None:
        if not self.lanes or min(self.lanes.values()) < 0 or sum(self.lanes.values()) <= 0:
            raise InvalidMessage(f"lanes: {dict(self.lanes)} must be shares of 0 or more that are not all 0")
        if not 0 <= self.long_share <= 1:
            raise InvalidMessage(f"long share: {self.long_share} must be between 0 and 1")


def device_s(duration_s: float, entry: ModelEntry, costs: Costs, width_px: int = 640, height_px: int = 360) -> float:
    """Device-seconds of one job of this length, rendered chunk by chunk."""
    frames = frames_of(duration_s, frame_rate(entry))
    chunks = chunk_count(shot_of(duration_s, entry), frames, entry)
    return chunks * costs.chunk_s(entry, *entry.native_size(width_px, height_px))


def poisson(
    count: int, load: float, gpus: int, mix: Mix, entry: ModelEntry, costs: Costs, rng: "Random"
) -> list[SimJob]:
    """`count` jobs with exponential gaps, so that `gpus` devices would be busy for the share `load` of the time (above
    1: the queue grows without end). The same generator state gives the same jobs. Raises InvalidMessage."""
    if not load > 0:
        raise InvalidMessage(f"load: {load} must be above 0")
    if count < 1:
        raise InvalidMessage(f"jobs: {count} must be at least 1")
    short_s, long_s = (device_s(s, entry, costs) for s in (mix.short_s, mix.long_s))
    mean_s = (1 - mix.long_share) * short_s + mix.long_share * long_s
    return list(_arrivals(count, load * gpus / mean_s, mix, rng))


def _arrivals(count: int, per_s: float, mix: Mix, rng: "Random") -> Iterator[SimJob]:
    lanes, shares = list(mix.lanes), list(mix.lanes.values())
    now_s = 0.0
    for _ in range(count):
        now_s += rng.expovariate(per_s)
        yield SimJob(
            arrival_s=now_s,
            duration_s=mix.long_s if rng.random() < mix.long_share else mix.short_s,
            tenant=f"tenant-{rng.randrange(mix.tenants)}",
            lane=rng.choices(lanes, shares)[0],
            model=mix.model,
        )
