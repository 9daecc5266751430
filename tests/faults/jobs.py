"""The workload of a run: jobs of every kind, as a function of a seed. Pure.

Every job is rendered by the fake family, whose frames say in their pixels which chunk and which frame they are; a name
of a chunk follows from tenant, job and shot, so a frame that strayed into another video is told from its own.
"""

import random
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from schemas.events import EventType
from schemas.ids import job_key
from schemas.request import JobRequest, Lane, Output, Shot, Transition, Webhook

Kind = Literal["plain", "cancelled", "refused", "deadline", "doubled", "conflict", "broken-device", "hiccup"]
"""What is done with a job besides sending it."""
SHARES: dict[Kind, float] = {
    "plain": 0.77, "cancelled": 0.08, "refused": 0.02, "deadline": 0.03, "doubled": 0.05, "conflict": 0.03,
    "broken-device": 0.01, "hiccup": 0.01,
}  # fmt: skip
ENDS: dict[Kind, frozenset[str]] = {
    "plain": frozenset(("completed",)),
    "cancelled": frozenset(("completed", "cancelled")),
    "refused": frozenset(("rejected",)),
    "deadline": frozenset(("completed", "expired", "rejected")),
    "doubled": frozenset(("completed",)),
    "conflict": frozenset(("completed",)),
    "broken-device": frozenset(("failed",)),
    "hiccup": frozenset(("completed",)),
}
"""States that a job of a kind may end in."""
CANCEL_AT: tuple[EventType, ...] = (
    "job.accepted", "job.planned", "job.queued", "job.started", "job.progress", "job.assembling", "job.published",
)  # fmt: skip
OUTPUT = Output(width_px=128, height_px=128, fps=12)
TENANTS = ("default", "other", "third")
LANES: tuple[Lane, ...] = ("bulk", "bulk", "standard", "express")
BROKEN = ("device-exits", "device-hangs", "device-lost", "device-oom", "device-nan")
"""What the device does with a job of kind broken-device, at every try (gpu_consumers/pipelines/fake.py)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A job, and what is done with it."""

    request: JobRequest
    kind: Kind
    copies: int = 1
    """Times that the same record is sent."""
    cancel_at: EventType | None = None
    """It is cancelled as soon as this event of it is seen."""
    deadline_in_s: float | None = None
    """Its deadline, from the moment when it is sent."""

    @property
    def job(self) -> str:
        return job_key(self.request.tenant, self.request.job_id)


def workload(count: int, seed: int, webhook_url: str = "") -> list[Asked]:
    """`count` jobs. The same arguments give the same jobs."""
    chance = random.Random(f"jobs {seed}")
    kinds = chance.choices(list(SHARES), list(SHARES.values()), k=count)
    return [_asked(number, kind, chance, seed, webhook_url) for number, kind in enumerate(kinds)]


def another(asked: Asked) -> JobRequest:
    """A request with another content under the same id."""
    shots = (replace(asked.request.shots[0], prompt="quite another picture"), *asked.request.shots[1:])
    return replace(asked.request, shots=shots)


def _asked(number: int, kind: Kind, chance: random.Random, seed: int, webhook_url: str) -> Asked:
    shots, transitions = _storyboard(number, kind, chance)
    tenant = chance.choice(TENANTS)
    request = JobRequest(
        job_id=f"s{seed}-{number}",
        tenant=tenant,
        lane=chance.choice(LANES),
        model="fake",
        shots=shots,
        transitions=transitions,
        output=OUTPUT,
        metadata={"n": str(number)},
        webhook=Webhook(url=f"{webhook_url}/{number}") if webhook_url and chance.random() < 0.1 else None,
    )
    return Asked(
        request=request,
        kind=kind,
        copies=chance.randint(2, 4) if kind == "doubled" else 1,
        cancel_at=chance.choice(CANCEL_AT) if kind == "cancelled" else None,
        deadline_in_s=chance.uniform(1.0, 20.0) if kind == "deadline" else None,
    )


def _storyboard(number: int, kind: Kind, chance: random.Random) -> tuple[tuple[Shot, ...], tuple[Transition, ...]]:
    told = {"refused": "a nude figure", "broken-device": f"a ball {chance.choice(BROKEN)}", "hiccup": "device-oom-once"}
    prompt = told.get(kind, "a red ball")
    first = Shot(prompt=f"{prompt}, number {number}", duration_s=chance.choice((0.5, 1.0, 1.5, 2.5)))
    if chance.random() < 0.8:
        return (first,), ()
    second = Shot(prompt=f"a blue box, number {number}", duration_s=1.0, continuity="independent")
    blend = (Transition(after=0, duration_s=0.25),) if chance.random() < 0.5 else ()
    return (first, second), blend
