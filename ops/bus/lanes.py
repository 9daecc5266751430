"""The partitions that a worker owns: reads them, bounds what is held, keeps notes of tries and commits."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from ops.bus import clients
from ops.bus.lane import LANE_HIGH, LANE_LOW, Lane
from ops.bus.offsets import Offsets, Place
from ops.bus.owed import Owed
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import incoming
from ops.settings import Settings
from schemas.errors import Fatal
from schemas.records import Incoming, Outgoing

log = logging.getLogger(__name__)

Due = Callable[[Incoming], int]


@dataclass(frozen=True, slots=True)
class Found:
    """A record that may be handled now. probe: it stands behind a head that fails; whether it gets through tells a
    record's own trouble from an outage."""

    lane: Lane
    record: Incoming
    probe: bool


@dataclass
class Work:
    """A record that is being handled. probe: as in Found; excused: if the process ends now, that does not count."""

    record: Incoming
    lane: Lane
    done: Future[Sequence[Outgoing]]
    probe: bool
    excused: bool = False


class Lanes:
    """names:   full names of the topics to read
    due_ms:  moment from which a record may be handled, ms since the epoch
    leaving: called with the partitions that are about to be given away
    probing: whether a record behind a head that fails may be tried before it
    """

    def __init__(
        self,
        settings: Settings,
        stage: str,
        names: Sequence[str],
        due_ms: Due,
        leaving: Callable[[set[Place]], None],
        probing: bool,
    ) -> None:
        self._stage, self._due_ms, self._leaving, self._probing = stage, due_ms, leaving, probing
        self.by_place: dict[Place, Lane] = {}
        self._owed: Owed[Place] = Owed()
        PULSE.joining(clients.group_id(settings, stage))
        self.consumer: Consumer = clients.consumer(settings, clients.group_id(settings, stage))
        self._offsets = Offsets(self.consumer, stage)
        self.consumer.subscribe(list(names), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("%s: assigned %s", self._stage, [f"{p.topic}[{p.partition}]" for p in partitions])
        for place, notes in self._offsets.notes(partitions).items():
            self.by_place[place] = Lane(notes=notes)
        PULSE.assigned(partitions)

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leaving({(p.topic, p.partition) for p in partitions})
        self._gone(partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone(partitions)
        PULSE.revoked(partitions, lost=True)

    def _gone(self, partitions: list[TopicPartition]) -> None:
        PULSE.revoked(partitions)
        self._owed.gone((p.topic, p.partition) for p in partitions)
        for p in partitions:
            self.by_place.pop((p.topic, p.partition), None)

    def _commit(self, topic: str, partition: int, offset: int, lane: Lane) -> None:
        place = (topic, partition)
        if self._offsets.commit(topic, partition, offset, lane.notes, wait_for_it=True):
            self._owed.made(place, offset)
        else:
            self._owed.refused(place, offset, time.monotonic())

    def _pay(self) -> None:
        for place, offset in self._owed.due(time.monotonic()).items():
            if (lane := self.by_place.get(place)) is not None:
                self._commit(*place, offset, lane)

    def poll(self, timeout_s: float) -> None:
        """Serve the client and take in a record, if there is one."""
        beat()
        self._pay()
        message = self.consumer.poll(timeout_s)
        if message is not None:
            if (error := message.error()) is not None:
                if error.fatal():
                    raise Fatal(f"consumer: {error}")
                log.warning("consumer: %s", error)
            else:
                record = incoming(message)
                PULSE.read(record.topic, record.partition, record.offset)
                self.by_place.setdefault((record.topic, record.partition), Lane()).records.append(record)
        self._bound_backlog()

    def _bound_backlog(self) -> None:
        for place, lane in self.by_place.items():
            if not lane.paused and len(lane.records) >= LANE_HIGH:
                self.consumer.pause([TopicPartition(*place)])
                PULSE.hold([TopicPartition(*place)], True)
                lane.paused = True
            elif lane.paused and len(lane.records) <= LANE_LOW:
                self.consumer.resume([TopicPartition(*place)])
                PULSE.hold([TopicPartition(*place)], False)
                lane.paused = False

    def next(self, through: int) -> Found | None:
        """The oldest record among the heads of partitions that may be tried now; when there is none, one behind a head
        that fails.

        through: records that the worker has got through so far
        """
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        heads: list[Found] = []
        probes: list[Found] = []
        for lane in self.by_place.values():
            if lane.records and lane.not_before_s <= now_s:
                head = lane.records[0]
                if (wait_ms := self._due_ms(head) - now_ms) > 0:
                    lane.not_before_s = now_s + min(wait_ms / 1000, 5.0)
                else:
                    heads.append(Found(lane, head, False))
            elif self._probing:
                behind = lane.to_probe(through)
                if behind is not None and self._due_ms(behind) <= now_ms:
                    probes.append(Found(lane, behind, True))
        return min(heads or probes, key=lambda found: found.record.timestamp_ms, default=None)

    def holds(self, lane: Lane, record: Incoming) -> bool:
        """Whether the partition of a record is ours, and was all the time since `lane` was made."""
        return self.by_place.get((record.topic, record.partition)) is lane

    def note(self, lane: Lane, record: Incoming, tries: int, *, wait_for_it: bool, why: str = "") -> None:
        """Write down the tries of a record, beside the offset that is committed anyway."""
        lane.notes.put(record.offset, tries, why or lane.notes.why(record.offset))
        if lane.records and self.holds(lane, record):
            head = lane.records[0]
            self._offsets.commit(head.topic, head.partition, head.offset, lane.notes, wait_for_it=wait_for_it)

    def forgive(self, lane: Lane, record: Incoming, *, wait_for_it: bool) -> None:
        """Take back the last try: it did not end badly."""
        self.note(lane, record, lane.notes.tries(record.offset) - 1, wait_for_it=wait_for_it)

    def done(self, lane: Lane, record: Incoming) -> bool:
        """Commit past a record. False when its partition went to somebody else: it comes again there."""
        if not self.holds(lane, record) or not lane.is_head(record):
            return False
        lane.done()
        self._commit(record.topic, record.partition, record.offset + 1, lane)
        PULSE.done(record.topic, record.partition, record.offset + 1)
        return True
