"""Reads plans.parked no further than the windows of live jobs allow."""

import contextlib
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus.pulse import PULSE
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.plan import Plan
from schemas.records import Incoming
from stream_processors.dispatch.backlog import Backlog, line_of
from stream_processors.dispatch.job import check_plan

CHECK_S = 60.0


class Parked:
    """topic: full name of plans.parked."""

    def __init__(self, consumer: Consumer, topic: str, backlog: Backlog) -> None:
        self._consumer, self._topic, self._backlog = consumer, topic, backlog
        self._blocked: dict[int, str] = {}
        """Partitions that are paused, and the line that the next plan of each waits in."""
        self._check_at_s = time.monotonic() + CHECK_S

    def admit(self, records: Sequence[Incoming]) -> list[Incoming]:
        """The records without those parked plans whose line has no room: they are read again later, and what lies
        behind them with them."""
        by_partition: dict[int, list[Incoming]] = {}
        for record in records:
            if record.topic == self._topic:
                by_partition.setdefault(record.partition, []).append(record)
        late: set[tuple[int, int]] = set()
        room: dict[str, int] = {}
        for partition, found in by_partition.items():
            plans = [_plan(record) for record in found]
            fits = self._backlog.fitting(plans, room)
            if fits < len(found):
                late |= {(partition, record.offset) for record in found[fits:]}
                self._block(found[fits], plans[fits])
        return [r for r in records if r.topic != self._topic or (r.partition, r.offset) not in late]

    def _block(self, record: Incoming, plan: Plan | None) -> None:
        assert plan is not None
        place = TopicPartition(record.topic, record.partition, record.offset)
        self._consumer.pause([place])
        self._consumer.seek(place)
        PULSE.hold([place], True)
        PULSE.put_back(record.topic, record.partition, record.offset)
        self._blocked[record.partition] = line_of(plan)

    def resume(self) -> None:
        """Go on reading where there is room again."""
        free = [p for p, line in self._blocked.items() if self._backlog.wants(line)]
        places = [TopicPartition(self._topic, p) for p in free]
        if places:
            self._consumer.resume(places)
            PULSE.hold(places, False)
        for partition in free:
            del self._blocked[partition]
        if time.monotonic() >= self._check_at_s:
            self._check_at_s = time.monotonic() + CHECK_S
            self._check()

    def _check(self) -> None:
        """A partition that is read to its end holds nothing, whatever was counted: plans that were buried or deleted
        there never come. Only the scheduler writes to it, and it has nothing open now."""
        counted = {self._backlog.bucket(line) for line in self._backlog.parked} - self._blocked.keys()
        for place in [TopicPartition(self._topic, bucket) for bucket in sorted(counted)]:
            with contextlib.suppress(KafkaException):  # the next time
                (at,) = self._consumer.position([place])
                _, end = self._consumer.get_watermark_offsets(place, timeout=5)
                if at.offset >= end:
                    self._backlog.emptied(place.partition)


def _plan(record: Incoming) -> Plan | None:
    """None for what will be buried."""
    try:
        plan = decode(Plan, record.value)
        check_plan(plan)
    except InvalidMessage:
        return None
    return plan
