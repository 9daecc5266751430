"""Chunks that the scheduler has withdrawn: which tasks that means. Pure."""

from collections import OrderedDict

from schemas.work import ChunkTask, ChunkWithdrawn

REMEMBERED = 4096
"""Newest withdrawals that are kept: for tasks that are read after they were withdrawn, and for those that come again.
An older one is forgotten, and its task rendered, which costs device time only."""


class Withdrawals:
    """They may come before their task, late, and twice."""

    def __init__(self) -> None:
        self._until_ms: OrderedDict[tuple[str, str], int] = OrderedDict()
        """By chunk and job: tasks handed out up to then are meant."""

    def add(self, said: ChunkWithdrawn) -> None:
        """Remember it."""
        named = said.chunk_id, said.job
        self._until_ms[named] = max(said.dispatched_at_ms, self._until_ms.pop(named, 0))
        if len(self._until_ms) > REMEMBERED:
            self._until_ms.popitem(last=False)

    def name(self, task: ChunkTask) -> bool:
        """Is this task one that nobody waits for? Another job's task for the same chunk is not, nor is a later one."""
        return task.dispatched_at_ms <= self._until_ms.get((task.chunk_id, task.job), -1)
