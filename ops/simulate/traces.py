"""What happened in a simulation, as it is written down while it runs. Pure data; `measures` makes figures of it."""

from dataclasses import dataclass, field
from typing import Literal

from schemas.plan import Plan
from schemas.request import Lane

Doing = Literal["rendering", "loading"]


@dataclass(slots=True)
class JobTrace:
    """One job. Times are of the simulated clock; None: it has not come to that."""

    plan: Plan
    began_ms: int | None = None
    """When a device began with its first chunk."""
    ended_ms: int | None = None
    end: str = ""
    """"completed" when all chunks were handed to the muxer, else how it ended, e.g. "expired"."""
    ends: int = 0
    """How often it ended: 1, or something is wrong."""


@dataclass(slots=True)
class WorkerTrace:
    """One worker: what its device did, as (from, to, what) without overlaps, in order. The rest of the time it was
    idle, or its process was dead."""

    name: str
    spans: list[tuple[int, int, Doing]] = field(default_factory=list)
    chunks: int = 0
    """Chunks rendered to their end."""


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A chunk that was handed to a worker. cost_s: what the device takes for it alone."""

    at_ms: int
    job: str
    index: int
    attempt: int
    tenant: str
    lane: Lane
    worker: int
    cost_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """An estimate that the scheduler told of a job: the last chunk rendered eta_s seconds later."""

    at_ms: int
    job: str
    eta_s: float


@dataclass(slots=True)
class Traces:
    jobs: dict[str, JobTrace] = field(default_factory=dict)
    workers: list[WorkerTrace] = field(default_factory=list)
    handed_out: list[HandedOut] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    began_ms: int = 0
    ended_ms: int = 0
    """The last event."""
    rounds: int = 0
    """Times that the scheduler was asked what is due."""
