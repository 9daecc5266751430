"""Runs the fold over jobs.events, as wide as its partitions."""

import logging
import time

from confluent_kafka import Consumer, TopicPartition

from ops.bus import clients, dead_letter, table
from ops.bus.process import stop_event
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import read
from ops.bus.transaction import Dead, Transactions, after
from ops.crash_points import reached
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import Fatal, InvalidMessage
from schemas.events import JobEvent, JobState
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_EVENTS, JOBS_STATE, DeadLetters
from stream_processors.track.core import take

log = logging.getLogger(__name__)

POLL_S = 0.1


class Shell:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.transactions = Transactions(settings, "track", settings.worker_id or "0")
        self.states: dict[int, dict[str, JobState]] = {}
        self.expelled = False
        self.group = clients.group_id(settings, "track")
        PULSE.joining(self.group)
        self.consumer = clients.consumer(settings, self.group)
        name = JOBS_EVENTS.name(settings.prefix)
        self.consumer.subscribe([name], on_assign=self._assigned, on_revoke=self._gone, on_lost=self._lost)

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            rows = table.load(self.settings, JOBS_STATE, [place.partition])
            self.states[place.partition] = {job: decode(JobState, raw) for job, raw in rows.items()}
            log.info("partition %d: %d jobs known", place.partition, len(rows))
        PULSE.assigned(partitions)
        reached("track", "assigned")

    def _gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self.states.pop(place.partition, None)
        PULSE.revoked(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions)
        PULSE.revoked(partitions, lost=True)
        self.expelled = True

    def step(self) -> None:
        """One round: read some events, fold them, write what changed in one transaction."""
        # A partition that was taken away while we read: its records belong to somebody else now.
        taken = [r for r in read(self.consumer, 200, POLL_S) if r.partition in self.states]
        if self.expelled:
            # After that long an outage the producer's next transaction hangs, every time (librdkafka #5456).
            raise Fatal("expelled from the consumer group: the broker was away, or this process stood still")
        if not taken:
            return
        out: list[Outgoing] = []
        dead: list[Dead] = []
        for record in taken:
            try:
                out += self._take(record)
            except InvalidMessage as exc:
                log.warning("dead letter from %s[%d]@%d: %s", record.topic, record.partition, record.offset, exc)
                headers = dead_letter.headers(record, self.group, "track", exc, time.time_ns() // 1_000_000)
                topic = DeadLetters(JOBS_EVENTS).name(self.settings.prefix)
                dead.append(Dead(topic, record.key, record.value, headers))
        self.transactions.commit(out, dead, after(taken), self.consumer)

    def _take(self, record: Incoming) -> list[Outgoing]:
        event = decode(JobEvent, record.value)
        states = self.states[record.partition]
        state, out = take(states.get(event.job), event, record.partition)
        if state is not None:
            states[event.job] = state
        return list(out)


def main(settings: Settings) -> None:
    """Run until SIGTERM."""
    stop = stop_event()
    PULSE.loop("fold's loop")
    shell = Shell(settings)
    while not stop.is_set():
        beat()
        shell.step()
    shell.consumer.close()
