"""One process of a stage: it runs effect by effect, and may die, freeze or be stopped between any two."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from schemas.errors import Fatal, Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import CallersTopic
from tests.simulation.groups import Consumer, Effects
from tests.simulation.log import Fenced, Transaction

if TYPE_CHECKING:
    from tests.simulation.world import World


def topic_name(out: Outgoing) -> str:
    """Name of a topic in the simulation: our topics go by their entity."""
    return out.topic.full_name if isinstance(out.topic, CallersTopic) else out.topic.entity


ZOMBIE_EFFECTS = 6
"""What a successor does before the one that was given up goes on: enough to take its partitions over."""
IDLE = "idle"
"""Yielded when there is nothing to do before something else happens."""


@dataclass(slots=True)
class Trap:
    """What happens to a process when it comes to an effect again.

    succeed: it freezes and has a successor. zombie: and goes on when the successor has begun.
    """

    label: str
    countdown: int
    action: Literal["kill", "freeze", "succeed", "zombie"]


class Process:
    def __init__(self, world: "World", stage: str, slot: int, body: "Callable[[Process], Effects]") -> None:
        self.world, self.stage, self.slot, self._body = world, stage, slot, body
        self.state: Literal["down", "up", "frozen"] = "down"
        self.incarnation = 0
        self.consumers: list[Consumer] = []
        self.stopping = False
        self.reverse = False
        """Whether what was handed to the producer arrives in reverse order of topics."""
        self.away_since_ms = 0
        self.trap: Trap | None = None
        self._run: Effects | None = None

    @property
    def name(self) -> str:
        return f"{self.stage}.{self.slot}"

    @property
    def worker_id(self) -> str:
        return f"{self.name}.{self.incarnation}"

    def start(self) -> None:
        if self.state == "down":
            self.incarnation += 1
            self.state, self.stopping = "up", False
            self._run = self._body(self)

    def step(self) -> str:
        """Do one effect; returns the name of the next, or why there is none."""
        if self.state != "up" or self._run is None:
            return IDLE
        try:
            label = str(next(self._run))
        except StopIteration:
            self.state, self._run = "down", None
            return "stopped"
        except (Fenced, Transient, Fatal) as exc:
            self.kill()
            return f"ended: {type(exc).__name__}"
        self._spring(label)
        return label

    def _spring(self, label: str) -> None:
        trap = self.trap
        if trap is not None and label.startswith(trap.label):
            trap.countdown -= 1
            if trap.countdown <= 0:
                self.trap = None
                self.kill() if trap.action == "kill" else self.freeze()
                if trap.action in ("succeed", "zombie"):
                    self.world.succeed(self)
                if trap.action == "zombie":
                    self.world.run(self.world.other(self), ZOMBIE_EFFECTS)
                    self.thaw()

    def kill(self) -> None:
        """SIGKILL. Its memberships live on until their sessions run out."""
        if self.state != "down":
            self.world.abandon(self.consumers, self.away_since_ms if self.state == "frozen" else None)
            self.consumers, self.state = [], "down"
            if self._run is not None:
                self._run.close()
                self._run = None

    def freeze(self) -> None:
        if self.state == "up":
            self.state, self.away_since_ms = "frozen", self.world.clock.mono_ms

    def thaw(self) -> None:
        if self.state == "frozen":
            self.state = "up"

    def consumer(self, group: str, topics: Sequence[str], **more: Any) -> Consumer:
        made = Consumer(self.world.group(group), topics, **more)
        self.consumers.append(made)
        return made

    # ---- producing -------------------------------------------------------------------------------------------------

    def produce(self, out: Outgoing, txn: Transaction | None = None) -> None:
        self.world.append(out, txn)

    def send(self, outs: Sequence[Outgoing]) -> Effects:
        """Hand records to a producer. Those of one topic keep their order; topics may overtake each other."""
        topics: dict[str, list[Outgoing]] = {}
        for out in outs:
            topics.setdefault(topic_name(out), []).append(out)
        for name in reversed(topics) if self.reverse else topics:
            for out in topics[name]:
                self.produce(out)
                yield f"{self.stage}.produced {name}"

    def done(self, record: Incoming, group: str) -> None:
        """Everything that the record leads to is written. Kept apart from the stage, to hold offsets against it."""
        self.world.done.setdefault((group, (record.topic, record.partition)), set()).add(record.offset)
