"""Runs the fold over jobs.events, as wide as its partitions."""

import logging
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, TopicPartition

from ops.bus import audit, clients, table
from ops.bus.burial import Unusable, told
from ops.bus.fold import Fold
from ops.bus.offsets import await_stable
from ops.bus.process import stop_event
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import read
from ops.bus.transaction import Transactions
from ops.crash_points import reached
from ops.settings import Settings
from schemas.audit import Head, linked
from schemas.codec import decode, encode
from schemas.errors import Fatal
from schemas.events import JobEvent, JobState
from schemas.records import Incoming, Outgoing
from schemas.topics import AUDIT_TRAIL, HOUR_MS, JOBS_EVENTS, JOBS_STATE
from stream_processors.track.auditing import audited
from stream_processors.track.core import instead, take
from stream_processors.track.sweeping import Sweeper

log = logging.getLogger(__name__)

POLL_S = 0.1
PACE_S = 0.1


class Shell:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.transactions = Transactions(settings, "track", settings.worker_id or "0", PACE_S)
        self.states: dict[int, dict[str, bytes]] = {}
        """By partition and job, as they lie in Kafka: a quarter of the memory of what they decode to."""
        self.heads: dict[int, Head] = {}
        """Ends of the audit trail's chains."""
        self.sweepers: dict[int, Sweeper] = {}
        self.expelled = False
        self.group = clients.group_id(settings, "track")
        PULSE.joining(self.group)
        self.consumer = clients.consumer(settings, self.group)
        name = JOBS_EVENTS.name(settings.prefix)
        self.fold = Fold(settings, "track", self.consumer, {name: JOBS_EVENTS}, self._end)
        self.consumer.subscribe([name], on_assign=self._assigned, on_revoke=self._gone, on_lost=self._lost)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions:
            await_stable(consumer, partitions)  # before the states are read: the owner before us may still be writing
        for place in partitions:
            rows = table.load_timed(self.settings, JOBS_STATE, [place.partition])
            sweeper = Sweeper(round(self.settings.job_timeout_h * HOUR_MS))
            sweeper.restore((decode(JobState, raw), written_ms) for raw, written_ms in rows.values())
            self.states[place.partition] = {job: raw for job, (raw, _) in rows.items()}
            self.sweepers[place.partition] = sweeper
            self.heads[place.partition] = audit.head(self.settings, place.partition)
            log.info("partition %d: %d jobs known", place.partition, len(rows))
        self.fold.assigned(partitions)
        PULSE.assigned(partitions)
        reached("track", "assigned")

    def _gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self.states.pop(place.partition, None)
            self.sweepers.pop(place.partition, None)
            self.heads.pop(place.partition, None)
        self.fold.gone(partitions)
        PULSE.revoked(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions)
        PULSE.revoked(partitions, lost=True)
        self.expelled = True

    def step(self) -> None:
        """One round: read some events, fold them, write what changed and what is overdue in one transaction."""
        # A partition that was taken away while we read: its records belong to somebody else now.
        most = 1 if self.fold.careful else 200
        taken = [r for r in read(self.consumer, most, POLL_S, self.transactions.next_s) if r.partition in self.states]
        if self.expelled:
            # After that long an outage the producer's next transaction hangs, every time (librdkafka #5456).
            raise Fatal("expelled from the consumer group: the broker was away, or this process stood still")
        out, dead = self.fold.take(taken, lambda record: self._take(decode(JobEvent, record.value), record.partition))
        with self.fold.after(taken) as offsets:
            for sweeper in self.sweepers.values():
                out += sweeper.sweep(time.time_ns() // 1_000_000)
            if out or dead or offsets:
                self.transactions.commit(out, dead, offsets, self.consumer)

    def _take(self, event: JobEvent, partition: int) -> Sequence[Outgoing]:
        states = self.states[partition]
        known = states.get(event.job)
        before = None if known is None else decode(JobState, known)
        state, out = take(before, event, partition)
        if state is not None:
            states[event.job] = encode(state)
            self.sweepers[partition].hear(state, time.time_ns() // 1_000_000)
        if (entry := audited(before, state, event)) is not None:
            entry, self.heads[partition] = linked(entry, self.heads[partition])
            out = [*out, Outgoing(AUDIT_TRAIL, event.job, entry, partition=partition)]
        return out

    def _end(self, record: Incoming, error: Unusable) -> Sequence[Outgoing]:
        """An event that would have ended its job and cannot be used: the job ends as failed."""
        end = instead(decode(JobEvent, record.value), told("track", error))
        return () if end is None else self._take(end, record.partition)


def main(settings: Settings) -> None:
    """Run until SIGTERM."""
    stop = stop_event()
    PULSE.loop("fold's loop")
    shell = Shell(settings)
    try:
        while not stop.is_set():
            beat()
            shell.step()
    finally:
        shell.consumer.close()  # or the next owner waits for the end of our session
