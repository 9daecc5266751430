"""The fake broker's log: partitions, transactions, the last stable offset. Groups are in `groups`.

A transaction's records lie in the log from the moment they are produced; readers of committed records stop before the
first open one. Offsets that a transaction carries are pending until it ends: who asks for committed offsets meanwhile
gets no answer (KIP-447).
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.simulation.clock import Clock

Place = tuple[str, int]
TRANSACTION_TIMEOUT_MS = 15_000
"""As ops.bus.clients sets it: an open transaction is aborted by the broker after this long."""


class Fenced(Exception):
    """The broker refuses a producer or a member that has a successor. The stages end on it."""


@dataclass(slots=True)
class Entry:
    """One slot of a partition. A marker (the end of a transaction) takes an offset and carries nothing."""

    key: str
    value: Any
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0
    txn: "Transaction | None" = None
    marker: bool = False

    @property
    def committed(self) -> bool:
        return not self.marker and (self.txn is None or self.txn.state == "committed")


@dataclass(eq=False, slots=True)
class Transaction:
    transactional_id: str
    epoch: int
    began_ms: int
    state: Literal["open", "committed", "aborted"] = "open"
    first: dict[Place, int] = field(default_factory=dict)
    """Place -> offset of its first record there."""
    offsets: dict[tuple[str, Place], int] = field(default_factory=dict)


class Log:
    """partitions: count by topic. Unknown topics have `default` partitions."""

    def __init__(self, clock: Clock, partitions: Mapping[str, int], default: int, broker_time: frozenset[str]) -> None:
        self._clock, self._counts, self._default, self._broker_time = clock, partitions, default, broker_time
        self.partitions: dict[Place, list[Entry]] = {}
        self.committed: dict[tuple[str, Place], int] = {}
        """(group, place) -> next offset to read."""
        self.open: dict[str, Transaction] = {}
        self._epochs: dict[str, int] = {}
        self.changes = 0

    # ---- records ---------------------------------------------------------------------------------------------------

    def count(self, topic: str) -> int:
        return self._counts.get(topic, self._default)

    def places(self, topic: str) -> list[Place]:
        return [(topic, p) for p in range(self.count(topic))]

    def end(self, place: Place) -> int:
        return len(self.partitions.get(place, ()))

    def append(
        self,
        topic: str,
        key: str,
        value: Any,
        headers: tuple[tuple[str, bytes], ...] = (),
        partition: int | None = None,
        txn: Transaction | None = None,
    ) -> tuple[Place, int]:
        """Write one record; acknowledged when this returns. Raises Fenced for a transaction that is over."""
        if txn is not None:
            self._check(txn)
        index = zlib.crc32(key.encode()) % self.count(topic) if partition is None else partition
        place = topic, index
        entries = self.partitions.setdefault(place, [])
        host = "broker" if topic in self._broker_time else "stages"
        entries.append(Entry(key, value, headers, self._clock.wall_ms(host), txn))
        self.changes += 1
        if txn is not None:
            txn.first.setdefault(place, len(entries) - 1)
        return place, len(entries) - 1

    def stable_end(self, place: Place) -> int:
        """The last stable offset: everything before it is decided."""
        firsts = [t.first[place] for t in self.open.values() if place in t.first]
        return min(firsts, default=self.end(place))

    def next(self, place: Place, offset: int, *, committed_only: bool) -> tuple[int, Entry | None]:
        """(offset of the record, record) at or after `offset`; (where to go on, None) when there is none yet."""
        entries = self.partitions.get(place, [])
        end = self.stable_end(place) if committed_only and self.open else len(entries)
        while offset < end:
            entry = entries[offset]
            if not entry.marker and (not committed_only or entry.committed):
                return offset, entry
            offset += 1
        return offset, None

    def read(self, topic: str) -> Iterator[Entry]:
        """All committed records of a topic, partition by partition: what an outside reader sees."""
        for place in self.places(topic):
            yield from (e for e in self.partitions.get(place, ()) if e.committed)

    # ---- transactions ----------------------------------------------------------------------------------------------

    def init_transactions(self, transactional_id: str) -> int:
        """The epoch of a new producer; one before it with the same id is fenced, its transaction is over."""
        if (old := self.open.get(transactional_id)) is not None:
            self._end(old, "aborted")
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        return self._epochs[transactional_id]

    def begin(self, transactional_id: str, epoch: int) -> Transaction:
        txn = Transaction(transactional_id, epoch, self._clock.mono_ms)
        if epoch != self._epochs[transactional_id]:
            raise Fenced(transactional_id)
        self.open[transactional_id] = txn
        return txn

    def add_offsets(self, txn: Transaction, group: str, offsets: Mapping[Place, int]) -> None:
        """Offsets as part of a transaction. Raises Fenced. The generation is checked by the caller (groups.Group)."""
        self._check(txn)
        txn.offsets.update({(group, place): offset for place, offset in offsets.items()})

    def commit(self, txn: Transaction) -> None:
        self._check(txn)
        self._end(txn, "committed")

    def pending(self, group: str, place: Place) -> bool:
        """Whether a transaction holds an offset of this place: its committed offset is not stable."""
        return any((group, place) in t.offsets for t in self.open.values())

    def expire(self) -> None:
        """Abort transactions that were left open too long; their producers are fenced."""
        for txn in [t for t in self.open.values() if self._clock.mono_ms - t.began_ms > TRANSACTION_TIMEOUT_MS]:
            self._end(txn, "aborted")
            self._epochs[txn.transactional_id] += 1

    def _check(self, txn: Transaction) -> None:
        if txn.state != "open" or txn.epoch != self._epochs[txn.transactional_id]:
            raise Fenced(txn.transactional_id)

    def _end(self, txn: Transaction, state: Literal["committed", "aborted"]) -> None:
        txn.state = state
        if self.open.get(txn.transactional_id) is txn:
            del self.open[txn.transactional_id]
        if state == "committed":
            self.committed.update(txn.offsets)
        for place in txn.first:
            self.partitions[place].append(Entry("", None, marker=True, txn=txn))
        self.changes += 1
