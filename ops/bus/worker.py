"""The loop of a stage whose work is long or has side effects: inspect, mux, notify.

The main thread polls Kafka and never waits for the work, which runs in one thread beside it; so `max.poll.interval.ms`
never decides. Order of effects per record: work, records produced and acknowledged, offset committed.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bus import clients, dead_letter
from ops.bus.process import Deadline, stop_event, stop_uncommitted
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import Outbox, incoming, place_of
from ops.crash_points import reached
from ops.settings import Settings
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import DeadLetters, Topic

log = logging.getLogger(__name__)

Handle = Callable[[Incoming], Sequence[Outgoing]]
Due = Callable[[Incoming], int]
Place = tuple[str, int]

BACKLOG_HIGH, BACKLOG_LOW = 200, 50
BUSY_POLL_S, IDLE_POLL_S = 0.05, 0.1
RETRY_FIRST_S, RETRY_LAST_S = 0.5, 30.0


@dataclass
class _Lane:
    """Records of one partition, oldest first, and when its head may be tried."""

    records: deque[Incoming] = field(default_factory=deque)
    not_before_s: float = 0.0
    tries: int = 0


class _Loop:
    def __init__(
        self, settings: Settings, stage: str, topics: Sequence[Topic], handle: Handle, due: Due | None
    ) -> None:
        self.settings, self.stage, self.handle, self.due = settings, stage, handle, due
        self.topics = {topic.name(settings.prefix): topic for topic in topics}
        self.group = clients.group_id(settings, stage)
        PULSE.joining(self.group)
        self.lanes: dict[Place, _Lane] = {}
        self.paused = False
        self.outbox = Outbox(clients.producer(settings), settings.prefix, stage)
        self.consumer: Consumer = clients.consumer(settings, self.group)
        self.consumer.subscribe(list(self.topics), on_assign=self._assigned, on_revoke=self._gone, on_lost=self._lost)
        self.stop = stop_event()

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("%s: assigned %s", self.stage, [f"{p.topic}[{p.partition}]" for p in partitions])
        PULSE.assigned(partitions)

    def _gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        PULSE.revoked(partitions)
        for p in partitions:
            self.lanes.pop((p.topic, p.partition), None)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions)
        PULSE.revoked(partitions, lost=True)

    def run(self) -> None:
        PULSE.loop("poll loop")
        late = Deadline(self.settings.drain_s)
        with ThreadPoolExecutor(1, thread_name_prefix=self.stage) as threads:
            work: tuple[Incoming, Future[Sequence[Outgoing]]] | None = None
            while work is not None or not self.stop.is_set():
                if work is not None and self.stop.is_set() and late.passed():
                    self.consumer.close()
                    stop_uncommitted(f"{self.stage}: {place_of(work[0])} not finished within {late.after_s:.0f} s")
                if work is not None:
                    wait([work[1]], BUSY_POLL_S)
                self._poll(0 if work is not None else IDLE_POLL_S)
                if work is not None and work[1].done():
                    reached(self.stage, "handled")
                    self._finish(*work)
                    work = None
                if work is None and not self.stop.is_set() and (record := self._next()) is not None:
                    reached(self.stage, "read")
                    work = record, threads.submit(self._handle, record)
        self.consumer.close()

    def _handle(self, record: Incoming) -> Sequence[Outgoing]:
        with PULSE.working("handler", place_of(record)):
            return self.handle(record)

    def _poll(self, timeout_s: float) -> None:
        beat()
        message = self.consumer.poll(timeout_s)
        if message is not None:
            if (error := message.error()) is not None:
                if error.fatal():
                    raise Fatal(f"consumer: {error}")
                log.warning("consumer: %s", error)
            else:
                record = incoming(message)
                PULSE.read(record.topic, record.partition, record.offset)
                self.lanes.setdefault((record.topic, record.partition), _Lane()).records.append(record)
        self._bound_backlog()

    def _bound_backlog(self) -> None:
        backlog = sum(len(lane.records) for lane in self.lanes.values())
        if backlog >= BACKLOG_HIGH and not self.paused:
            self.consumer.pause(self.consumer.assignment())
            self.paused = True
        elif backlog <= BACKLOG_LOW and self.paused:
            self.consumer.resume(self.consumer.assignment())
            self.paused = False

    def _next(self) -> Incoming | None:
        """The oldest record among the heads of partitions that may be tried now."""
        now_s = time.monotonic()
        heads = []
        for lane in self.lanes.values():
            if lane.records and lane.not_before_s <= now_s:
                head = lane.records[0]
                if self.due is not None and (wait_ms := self.due(head) - time.time_ns() // 1_000_000) > 0:
                    lane.not_before_s = now_s + min(wait_ms / 1000, 5.0)
                else:
                    heads.append(head)
        return min(heads, key=lambda r: r.timestamp_ms, default=None)

    def _finish(self, record: Incoming, done: Future[Sequence[Outgoing]]) -> None:
        lane = self.lanes.get((record.topic, record.partition))
        owned = lane is not None and bool(lane.records) and lane.records[0].offset == record.offset
        try:
            self.outbox.send(done.result())
        except Transient as exc:
            if lane is not None and owned:
                lane.tries += 1
                wait_s = min(RETRY_FIRST_S * 2 ** (lane.tries - 1), RETRY_LAST_S)
                lane.not_before_s = time.monotonic() + wait_s
                log.warning("%s: %s; trying again in %.1f s", self.stage, exc, wait_s)
            return
        except InvalidMessage as exc:
            log.warning(
                "%s: dead letter from %s[%d]@%d: %s", self.stage, record.topic, record.partition, record.offset, exc
            )
            headers = dead_letter.headers(record, self.group, self.stage, exc, time.time_ns() // 1_000_000)
            dlq = DeadLetters(self.topics[record.topic]).name(self.settings.prefix)
            self.outbox.send_raw(dlq, record.key, record.value, list(headers))
        reached(self.stage, "produced")
        while self.outbox.waiting() and not self.outbox.failures:
            self._poll(0)
        if self.outbox.failures:
            raise Transient(f"could not produce: {self.outbox.failures[0]}")
        reached(self.stage, "acknowledged")
        if lane is not None and owned and self.lanes.get((record.topic, record.partition)) is lane:
            lane.records.popleft()
            lane.tries = 0
            self._commit(record)

    def _commit(self, record: Incoming) -> None:
        place = TopicPartition(record.topic, record.partition, record.offset + 1)
        try:
            self.consumer.commit(offsets=[place], asynchronous=False)
            PULSE.done(record.topic, record.partition, record.offset + 1)
            reached(self.stage, "committed")
        except KafkaException as exc:
            # The partition went to somebody else in this moment: the record comes again there and changes nothing.
            log.warning(
                "%s: commit of %s[%d] failed: %s", self.stage, record.topic, record.partition, exc.args[0].str()
            )


def run(settings: Settings, stage: str, topics: Sequence[Topic], handle: Handle, *, due_ms: Due | None = None) -> None:
    """Run a stage until SIGTERM or SIGINT; the record at work is finished first, within `settings.drain_s`.

    handle: called in a worker thread, one record at a time; work of more than some seconds calls `pulse.beat` at every
            step, or the watchdog takes it for a hang. Transient means the record is tried again with back-off
            while other partitions go on; InvalidMessage means dead letter; any other error ends the process with
            nothing committed, so the record comes again.
    due_ms: moment from which a record may be handled (ms since the epoch); its partition waits until then.
    """
    _Loop(settings, stage, topics, handle, due_ms).run()
