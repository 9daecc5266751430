"""Learning what chunks cost, and telling it. Pure."""

from schemas.costs import CostTable, cost_key
from schemas.plan import ChunkSpec
from schemas.records import Outgoing
from schemas.topics import COSTS_LEARNT
from schemas.work import LearntCost

TELL_EVERY_MS = 10_000
"""Between two records about one kind of chunk."""
WORTH_TELLING = 0.02
"""Change of the mean that is told; the number of chunks alone is told when it has doubled."""


class Learning:
    def __init__(self) -> None:
        self.table = CostTable()
        self._told: dict[str, LearntCost] = {}
        self._changed: dict[str, LearntCost] = {}

    def restore(self, kind: LearntCost) -> None:
        """Take over what a predecessor told."""
        self.table.put(kind)
        self._told[cost_key(kind)] = kind

    def learn(self, pool: str, spec: ChunkSpec, device_s: float, now_ms: int) -> None:
        """A worker reports a chunk that it rendered."""
        if device_s > 0:
            kind = self.table.learn(pool, spec, device_s, now_ms)
            self._changed[cost_key(kind)] = kind

    def tell(self, now_ms: int) -> list[Outgoing]:
        """What has changed enough to be told."""
        due = {key: kind for key, kind in self._changed.items() if self._worth(self._told.get(key), kind, now_ms)}
        for key, kind in due.items():
            self._told[key] = kind
            del self._changed[key]
        return [Outgoing(COSTS_LEARNT, key, kind) for key, kind in due.items()]

    @staticmethod
    def _worth(told: LearntCost | None, kind: LearntCost, now_ms: int) -> bool:
        if told is None:
            return True
        moved = abs(kind.chunk_s - told.chunk_s) > WORTH_TELLING * told.chunk_s or kind.chunks >= 2 * told.chunks
        return moved and now_ms - told.at_ms >= TELL_EVERY_MS
