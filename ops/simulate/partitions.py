"""chunks.<pool> and plans.parked, simulated: records in order, who reads them, what is committed. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.work import ChunkTask
from stream_processors.dispatch.backlog import Backlog, line_of


@dataclass(slots=True)
class TaskLog:
    """A partition of chunks.<pool>. Offsets count from 0."""

    owner: int
    """Number of the worker that reads it."""
    tasks: list[ChunkTask] = field(default_factory=list)
    read: int = 0
    committed: int = 0

    def unread(self) -> list[tuple[int, ChunkTask]]:
        """Offset and task of what its owner has not read; from now on it has."""
        found = list(enumerate(self.tasks[self.read :], self.read))
        self.read = len(self.tasks)
        return found

    def given_to(self, owner: int) -> None:
        """Another one reads it from now on, from what is committed."""
        self.owner, self.read = owner, self.committed


class ParkedLog:
    """plans.parked, read no further than the scheduler's windows allow, as its shell does it."""

    def __init__(self, backlog: Backlog, take: Callable[[Plan, int], list[Outgoing]]) -> None:
        """take: what the scheduler does with a parked plan that has its turn."""
        self._backlog, self.take = backlog, take
        self._partitions: dict[int, deque[Plan]] = {}
        self._blocked: dict[int, str] = {}
        """Partitions that are paused, and the line that the next plan of each waits in."""

    def append(self, partition: int, plan: Plan) -> None:
        self._partitions.setdefault(partition, deque()).append(plan)

    def __len__(self) -> int:
        return sum(len(plans) for plans in self._partitions.values())

    def read(self, most: int) -> list[Plan]:
        """Plans that may be taken in now."""
        self._blocked = {p: line for p, line in self._blocked.items() if not self._backlog.wants(line)}
        found: list[Plan] = []
        room: dict[str, int] = {}
        for partition, plans in self._partitions.items():
            while plans and partition not in self._blocked and len(found) < most:
                if self._backlog.fitting([plans[0]], room):
                    found.append(plans.popleft())
                else:
                    self._blocked[partition] = line_of(plans[0])
        return found
