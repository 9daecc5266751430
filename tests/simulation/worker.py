"""ops.bus.worker: the loop of inspect, mux, notify and reply. Work beside polling; then records, then the offset."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from schemas.errors import InvalidMessage, Transient
from schemas.records import Incoming, Outgoing
from tests.simulation.groups import Consumer, Effects
from tests.simulation.log import Fenced, Place
from tests.simulation.process import IDLE, Process

Handling = Generator[str, None, Sequence[Outgoing]]
Handle = Callable[[Incoming], Handling]
Due = Callable[[Incoming], int]
RETRY_FIRST_MS, RETRY_LAST_MS = 500, 30_000


@dataclass
class _Lane:
    records: deque[Incoming] = field(default_factory=deque)
    not_before_ms: int = 0
    tries: int = 0


class Loop:
    def __init__(
        self,
        process: Process,
        topics: Sequence[str],
        handle: Handle,
        due: Due | None = None,
        committed_only: bool = True,
    ) -> None:
        self.process, self.handle, self.due = process, handle, due
        self.group = process.stage
        self.lanes: dict[Place, _Lane] = {}
        self.consumer: Consumer = process.consumer(
            self.group, topics, on_revoke=self._gone, committed_only=committed_only
        )

    def _gone(self, places: list[Place]) -> None:
        for place in places:
            self.lanes.pop(place, None)

    def run(self) -> Effects:
        while not self.process.stopping:
            yield from self._poll()
            record = self._next()
            if record is None:
                yield IDLE
            else:
                yield from self._work(record)
        self.consumer.close()

    def _poll(self) -> Effects:
        record = yield from self.consumer.poll()
        if record is not None:
            self.lanes.setdefault((record.topic, record.partition), _Lane()).records.append(record)

    def _next(self) -> Incoming | None:
        clock = self.process.world.clock
        heads = []
        for lane in self.lanes.values():
            if lane.records and lane.not_before_ms <= clock.mono_ms:
                head = lane.records[0]
                if self.due is not None and (wait_ms := self.due(head) - clock.wall_ms()) > 0:
                    lane.not_before_ms = clock.mono_ms + min(wait_ms, 5_000)
                else:
                    heads.append(head)
        return min(heads, key=lambda r: r.timestamp_ms, default=None)

    def _work(self, record: Incoming) -> Effects:
        place = record.topic, record.partition
        bugs = self.process.world.bugs
        if "commit before produce" in bugs:
            self._commit(record)
        work = self.handle(record)
        outs: Sequence[Outgoing] = ()
        failed: Transient | None = None
        try:
            while True:
                yield next(work)
                yield from self._poll()
        except StopIteration as end:
            outs = end.value
        except InvalidMessage as exc:
            self.process.world.bury(record, exc)
            yield f"{self.group}.dead letter"
        except Transient as exc:
            failed = exc
        lane = self.lanes.get(place)
        owned = lane is not None and bool(lane.records) and lane.records[0].offset == record.offset
        if failed is not None:
            if lane is not None and owned:
                lane.tries += 1
                wait_ms = min(RETRY_FIRST_MS * 2 ** (lane.tries - 1), RETRY_LAST_MS)
                lane.not_before_ms = self.process.world.clock.mono_ms + wait_ms
            return
        sending = self.process.send(outs)
        for effect in sending:
            yield effect
            yield from self._poll()
        self.process.done(record, self.group)
        if lane is not None and owned and self.lanes.get(place) is lane:
            lane.records.popleft()
            lane.tries = 0
            self._commit(record)
            yield f"{self.group}.committed"

    def _commit(self, record: Incoming) -> None:
        # Logged by the real one; the record comes again to its new owner.
        with contextlib.suppress(Fenced):
            self.consumer.commit({(record.topic, record.partition): record.offset + 1})
