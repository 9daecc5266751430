"""When what is broken: a function of a seed. Pure. The same seed gives the same schedule; what it meets differs."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ops.crash_points import POINTS

FaultKind = Literal[
    "kill", "term", "freeze", "broker", "store", "storm", "clock", "disk-full", "wipe", "rolling", "device-kill"
]
STAGES = tuple(POINTS)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is done to the pipeline.

    at_s:     seconds after the start of the run
    target:   process or what it concerns; depends on the kind
    length_s: how long it lasts, 0 where that means nothing
    amount:   of a clock step, in seconds
    """

    at_s: float
    kind: FaultKind
    target: str = ""
    length_s: float = 0.0
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Dose:
    """How much of everything in a run."""

    kills: int = 60
    terms: int = 6
    freezes: int = 3
    freeze_s: float = 20.0
    broker_down_s: tuple[float, ...] = (5.0, 30.0)
    store_windows: int = 3
    storms: int = 1
    clock_steps: int = 2
    disk_full: int = 1
    wipes: int = 1
    rolling: int = 1
    device_kills: int = 2
    spacing_s: float = 5.0
    """Mean time between two kills."""


def schedule(dose: Dose, processes: Sequence[str], seed: int) -> list[Fault]:
    """All faults of a run in order of time. `processes`: names as the supervisor has them, e.g. "render-2"."""
    chance = random.Random(f"faults {seed}")
    singles: list[tuple[FaultKind, str, float, float]] = []
    # Every process in turn, then at random: with few kills none is left out.
    turns = [*chance.sample(list(processes), len(processes))]
    turns += [chance.choice(processes) for _ in range(dose.kills - len(turns))]
    singles += [("kill", target, 0.0, 0.0) for target in turns[: dose.kills]]
    workers = [name for name in processes if name.startswith("render")]
    singles += [("device-kill", chance.choice(workers), 0.0, 0.0) for _ in range(dose.device_kills)]
    singles += [("term", chance.choice(processes), 0.0, 0.0) for _ in range(dose.terms)]
    chance.shuffle(singles)
    long: list[tuple[FaultKind, str, float, float]] = [
        *(("freeze", chance.choice(_doubled(processes)), dose.freeze_s, 0.0) for _ in range(dose.freezes)),
        *(("broker", "", down_s, 0.0) for down_s in dose.broker_down_s),
        *(("store", "", 10.0, 0.0) for _ in range(dose.store_windows)),
        *(("storm", "render", 30.0, 0.0) for _ in range(dose.storms)),
        *(("clock", "", 8.0, chance.choice((-600.0, 600.0))) for _ in range(dose.clock_steps)),
        *(("disk-full", "", 8.0, 0.0) for _ in range(dose.disk_full)),
        *(("wipe", "", 0.0, 0.0) for _ in range(dose.wipes)),
        *(("rolling", "", 0.0, 0.0) for _ in range(dose.rolling)),
    ]
    chance.shuffle(long)
    places = sorted(chance.sample(range(1, max(2, len(singles)) + len(long)), len(long)))
    faults, at_s = [], 0.0
    for place in range(len(singles) + len(long)):
        at_s += chance.uniform(0.5, 1.5) * dose.spacing_s
        many = long if places and place == places[0] else singles
        if many is long:
            places.pop(0)
        if not many:
            many = singles or long
        kind, target, length_s, amount = many.pop()
        faults.append(Fault(round(at_s, 3), kind, target, length_s, amount))
        if kind in ("broker", "wipe", "rolling"):
            at_s += length_s + dose.spacing_s  # while the broker is down a kill shows nothing
    return faults


def _doubled(processes: Sequence[str]) -> list[str]:
    """Processes with a second one of their stage, which takes over while they are frozen: a zombie must do no harm."""
    stages = [name.partition("-")[0] for name in processes]
    return [name for name, stage in zip(processes, stages, strict=True) if stages.count(stage) > 1] or list(processes)


def cells(seed: int, rounds: int = 1, points: Mapping[str, Sequence[str]] = POINTS) -> dict[str, list[str]]:
    """Crash-point cells by stage, `stage.point:n`: every point once a round, in an order of the seed.

    The first round takes the first, second or third time that a point is reached, later ones up to the twentieth.
    """
    chance = random.Random(f"cells {seed}")
    made: dict[str, list[str]] = {}
    for stage in chance.sample(list(points), len(points)):
        names = points[stage]
        made[stage] = []
        for number in range(rounds):
            order = chance.sample(list(names), len(names))
            # A process leads, restores or is assigned partitions once in its life.
            made[stage] += [f"{stage}.{name}:{1 if name in ONCE else _nth(chance, number)}" for name in order]
    return made


ONCE = frozenset(("leading", "restored", "assigned"))


def _nth(chance: random.Random, number: int) -> int:
    return chance.randint(1, 3 if number == 0 else 20)
