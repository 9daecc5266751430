"""How many devices are needed: the same jobs on several numbers of them, held against targets. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from ops.simulate.hardware import Fleet, Hardware
from ops.simulate.measures import Group, Outcome, measured
from ops.simulate.partitions import ParkedLog
from ops.simulate.policy import FirstInFirstOut
from ops.simulate.simulation import Simulation
from ops.simulate.traces import Traces
from schemas.errors import InvalidMessage
from schemas.limits import Limits
from schemas.plan import Plan
from schemas.registry import ModelEntry
from schemas.request import Lane
from stream_processors.dispatch.core import Scheduler

PolicyName = Literal["reelbus", "fifo"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
REPORT_EVERY_MS = 10_000
"""How often the simulated scheduler looks through its jobs for what is overdue: in production it does so every second,
which here would take most of the time and decides nothing before it is that late. Positions and estimates are not told:
nobody listens. (`reelbus bench estimates` measures them.)"""


@dataclass(frozen=True, slots=True)
class Targets:
    """What must hold, by lane; a lane without jobs holds everything."""

    p95_wait_s: Mapping[Lane, float] = field(default_factory=dict)
    goodput: Mapping[Lane, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.p95_wait_s or self.goodput)

    def missed(self, outcome: Outcome) -> list[str]:
        """What does not hold, a sentence each."""
        found = []
        for group in outcome.lanes:
            most_s, least = self.p95_wait_s.get(group.lane), self.goodput.get(group.lane)
            if most_s is not None and not _within(group, most_s):
                found.append(f"{group.lane}: p95 wait {_shown(group.wait_p95_s)} s is above {most_s:g} s")
            if least is not None and group.goodput < least:
                found.append(f"{group.lane}: goodput {group.goodput:g} is below {least:g}")
        return found


def _within(group: Group, most_s: float) -> bool:
    return group.wait_p95_s is not None and group.wait_p95_s <= most_s


def _shown(value: float | None) -> str:
    return "of none" if value is None else f"{value:.1f}"


def scheduled(plans: Sequence[Plan], fleet: Fleet, limits: Limits) -> Simulation:
    """A simulation with the real scheduler, its backlog in memory where Kafka would hold it."""
    scheduler = Scheduler(limits.lane_weights(), report_every_ms=REPORT_EVERY_MS, estimating=False)
    return Simulation(plans, scheduler, fleet, ParkedLog(scheduler.backlog, scheduler.on_parked))


def first_in_first_out(plans: Sequence[Plan], fleet: Fleet) -> Simulation:
    """The same plans and devices without a scheduler."""
    return Simulation(plans, FirstInFirstOut(), fleet)


def run(plans: Sequence[Plan], fleet: Fleet, limits: Limits, policy: PolicyName = "reelbus") -> Traces:
    """Simulate to the end."""
    made = scheduled(plans, fleet, limits) if policy == "reelbus" else first_in_first_out(plans, fleet)
    return made.run()


def outcomes(
    plans: Sequence[Plan],
    models: Mapping[str, ModelEntry],
    limits: Limits,
    pool: str,
    gpus: Sequence[int],
    hardware: Hardware,
    policy: PolicyName = "reelbus",
) -> Iterator[Outcome]:
    """One outcome for each number of devices, in the order given. plans: in the order of arrival, all for this pool.
    Raises InvalidMessage for a device that does not exist."""
    served = {name: entry for name, entry in models.items() if pool in entry.pools}
    for name, numbers in (("slow", hardware.slow), ("death", hardware.deaths)):
        for number in numbers:
            if not 0 <= number < min(gpus):
                raise InvalidMessage(f"{name}: no worker {number}; with {min(gpus)} they go from 0 to {min(gpus) - 1}")
    for count in gpus:
        fleet = Fleet(pool, count, served, hardware)
        yield measured(run(plans, fleet, limits, policy), served, hardware, policy)


def smallest(found: Sequence[Outcome], targets: Targets) -> int | None:
    """The least number of devices with which all targets hold; None when they hold with none of those tried."""
    return min((outcome.gpus for outcome in found if not targets.missed(outcome)), default=None)
