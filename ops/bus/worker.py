"""The loop of a stage whose work is long or has side effects: inspect, mux, notify, reply.

The main thread polls Kafka and never waits for the work, which runs in one thread beside it; so `max.poll.interval.ms`
never decides. Order of effects: a note that a record is tried, work, records acknowledged, offset committed.

What becomes of a record that cannot be handled:
- InvalidMessage: dead letter.
- Transient: tried again in place. If others get through meanwhile it moves to the retry topics, one after the other,
  and becomes a dead letter after the last. If nobody gets through, it stays: an outage fails no job.
- it kills the process, or raises what nobody foresaw: three tries, then dead letter (ops/bus/tries.py).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from confluent_kafka import KafkaException

from ops.bus import clients
from ops.bus.burial import Burial, GiveUp, Unusable
from ops.bus.lane import Lane
from ops.bus.lanes import Due, Found, Lanes, Work
from ops.bus.offsets import Place
from ops.bus.process import Deadline, stop_event, stop_uncommitted
from ops.bus.pulse import PULSE
from ops.bus.retry_steps import RetrySteps
from ops.bus.sending import Outbox, place_of
from ops.bus.tries import MAX_TRIES, described, spent
from ops.crash_points import reached
from ops.settings import Settings
from schemas.errors import Exhausted, Fatal, InvalidMessage, Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import Topic

log = logging.getLogger(__name__)

Handle = Callable[[Incoming], Sequence[Outgoing]]
Proves = Callable[[Sequence[Outgoing]], bool]

BUSY_POLL_S, IDLE_POLL_S = 0.05, 0.1


class _Loop:
    def __init__(
        self,
        settings: Settings,
        stage: str,
        handle: Handle,
        steps: RetrySteps,
        due_ms: Due | None,
        proves: Proves | None,
        give_up: GiveUp | None,
    ) -> None:
        self.prefix, self.stage, self.handle, self.steps = settings.prefix, stage, handle, steps
        self.late = Deadline(settings.drain_s)
        self.proves = proves or (lambda _: True)
        self.group = clients.group_id(settings, stage)
        self.through = 0
        self.work: Work | None = None
        self.outbox = Outbox(clients.producer(settings), settings.prefix, stage)
        self.burial = Burial(settings, stage, self.group, give_up)
        self.lanes = Lanes(settings, stage, list(steps.names), due_ms or steps.due_ms, self._leaving, bool(steps))
        self.stop = stop_event()

    def run(self) -> None:
        PULSE.loop("poll loop")
        try:
            with ThreadPoolExecutor(1, thread_name_prefix=self.stage) as threads:
                while self.work is not None or not self.stop.is_set():
                    self._turn(threads)
        finally:
            self.lanes.consumer.close()  # or the next owner waits for the end of our session

    def _turn(self, threads: ThreadPoolExecutor) -> None:
        if self.work is not None:
            wait([self.work.done], BUSY_POLL_S)
        self.lanes.poll(0 if self.work is not None else IDLE_POLL_S)
        if self.work is not None and self.work.done.done():
            reached(self.stage, "handled")
            self._finish(self.work)
            self.work = None
        elif self.work is not None and self.stop.is_set():
            self._drain(self.work)
        if self.work is None and not self.stop.is_set() and (found := self.lanes.next(self.through)) is not None:
            reached(self.stage, "read")
            self._begin(found, threads)

    def _drain(self, work: Work) -> None:
        """We are to stop, and a record is at work: wait for it, but not for ever."""
        self._excuse(work)  # who stops us may lose patience: not the record's fault
        if self.late.passed():
            self.lanes.consumer.close()
            stop_uncommitted(f"{self.stage}: {place_of(work.record)} not finished within {self.late.after_s:.0f} s")

    def _leaving(self, places: set[Place]) -> None:
        if self.work is not None and (self.work.record.topic, self.work.record.partition) in places:
            self._excuse(self.work, wait_for_it=True)

    # ---- one record ------------------------------------------------------------------------------------------------

    def _begin(self, found: Found, threads: ThreadPoolExecutor) -> None:
        """Hand a record to the handler, or bury it when it was tried often enough."""
        lane, record = found.lane, found.record
        before = lane.notes.tries(record.offset)
        # A crash right after may be faster than the note. From the second process on that must not happen.
        self.lanes.note(lane, record, before + 1, wait_for_it=lane.fresh or before > 0)
        lane.fresh = False
        if before < MAX_TRIES:
            self.work = Work(record, lane, threads.submit(self._handle, record), found.probe)
            return
        try:
            # If even to say so kills the process, nothing is said the next time.
            self._bury(record, spent(lane.notes.why(record.offset), self.stage), tell=before == MAX_TRIES)
        except Fatal:
            self.lanes.note(lane, record, before, wait_for_it=True)
            raise
        self._settled(lane, record)

    def _handle(self, record: Incoming) -> Sequence[Outgoing]:
        with PULSE.working("handler", place_of(record)):
            return self.handle(record)

    def _excuse(self, work: Work, *, wait_for_it: bool = False) -> None:
        """If the process ends now, it is not because of this record."""
        if not work.excused:
            work.excused = True
            self.lanes.forgive(work.lane, work.record, wait_for_it=wait_for_it)

    def _finish(self, work: Work) -> None:
        try:
            records = work.done.result()
            if not work.probe:
                self._send(records)
        except Transient as exc:
            self._excuse(work)
            self._failed(work, exc)
        except Fatal:
            self._excuse(work, wait_for_it=True)
            raise
        except Exception as exc:
            if work.probe:  # it tells nothing; what is wrong with it is seen when its turn comes
                self._excuse(work)
                work.lane.probe += 1
                return
            if isinstance(exc, InvalidMessage):
                self._excuse(work, wait_for_it=True)
                self._bury(work.record, exc)
            else:
                self._bug(work, exc)
            self._settled(work.lane, work.record)
        else:
            self._got_through(work, records)

    def _got_through(self, work: Work, records: Sequence[Outgoing]) -> None:
        self.through += self.proves(records)
        if work.probe:
            self._excuse(work)
            work.lane.not_before_s = 0.0
        else:
            self.burial.passed()
            self._settled(work.lane, work.record)

    def _send(self, records: Sequence[Outgoing]) -> None:
        try:
            self.outbox.send(records)
        except (KafkaException, BufferError) as exc:
            raise Fatal(f"cannot produce: {exc}") from None

    def _failed(self, work: Work, error: Transient) -> None:
        """It was Transient: wait, or move it out of the way of others."""
        lane, record = work.lane, work.record
        if work.probe:
            lane.probed = lane.tries
        elif self.lanes.holds(lane, record) and lane.is_head(record):
            wait_s = lane.failed(time.monotonic(), self.through)
            if self.steps and lane.trouble_is_its_own(self.through):
                self._move(record, error)
                self._settled(lane, record)
            else:
                log.warning("%s: %s; trying again in %.1f s", self.stage, error, wait_s)

    def _move(self, record: Incoming, error: Transient) -> None:
        """Hand the record over to the next retry topic, or bury it after the last."""
        if (step := self.steps.after(record)) is None:
            why = f"{self.stage} failed on every retry topic while other records got through: {error}"
            self._bury(record, Exhausted(why))
            return
        log.warning(
            "%s: moving %s aside, next try in %d s: %s", self.stage, place_of(record), step.delay_ms // 1000, error
        )
        headers = self.steps.headers(record, step, self.group, self.stage, error, time.time_ns() // 1_000_000)
        self.outbox.send_raw(step.topic.name(self.prefix), record.key, record.value, list(headers))

    def _bug(self, work: Work, error: Exception) -> None:
        """An exception that nobody foresaw: bury the record after its last try, else end the process."""
        lane, record = work.lane, work.record
        tries, why = lane.notes.tries(record.offset), described(error)
        log.error("%s: try %d of %d of %s: %s", self.stage, tries, MAX_TRIES, place_of(record), why, exc_info=error)
        self.lanes.note(lane, record, tries, wait_for_it=True, why=why)
        work.excused = True  # this try counts: giving the partition back must not take it back
        if tries < MAX_TRIES or not self.lanes.holds(lane, record):
            raise error
        self._bury(record, spent(why, self.stage))

    def _bury(self, record: Incoming, error: Unusable, *, tell: bool = True) -> None:
        """Hand over a dead letter, and what ends the job whose record it is. Raises Fatal when that is too many."""
        origin = self.steps.origin(record)
        said, letter = self.burial.bury(origin, record, error, moved=self.steps.moved(record), tell=tell)
        self._send(said)
        self.outbox.bury(letter.topic, record, letter.headers)

    def _settled(self, lane: Lane, record: Incoming) -> None:
        """Everything that a record leads to is handed over: wait until it is acknowledged, then commit."""
        reached(self.stage, "produced")
        while self.outbox.waiting() and not self.outbox.failures:
            self.lanes.poll(0)
        if self.outbox.failures:
            self.lanes.forgive(lane, record, wait_for_it=True)
            raise Transient(f"could not produce: {self.outbox.failures[0]}")
        reached(self.stage, "acknowledged")
        if self.lanes.done(lane, record):
            reached(self.stage, "committed")


def run(
    settings: Settings,
    stage: str,
    topics: Sequence[Topic],
    handle: Handle,
    *,
    due_ms: Due | None = None,
    retry: Mapping[str, Topic] | None = None,
    proves: Proves | None = None,
    give_up: GiveUp | None = None,
) -> None:
    """Run a stage until SIGTERM or SIGINT; the record at work is finished first, within `settings.drain_s`.

    handle:  called in a worker thread, one record at a time; work of more than some seconds calls `pulse.beat` at every
             step, or the watchdog takes it for a hang. Transient means the record is tried again with back-off while
             other partitions go on; InvalidMessage means dead letter; any other error ends the process with nothing
             committed, so the record comes again, three times at most.
    due_ms:  moment from which a record may be handled (ms since the epoch); its partition waits until then. Without it
             records of `retry` wait as their headers say.
    retry:   topics by delay (RETRY_DELAYS) where records of the only topic in `topics` go that fail by themselves
    proves:  whether records that `handle` returned show that what it needs is within reach; without it any do
    give_up: what to write when a record becomes a dead letter, so that its job does not wait for ever
    """
    steps = RetrySteps(settings.prefix, topics, retry or {})
    _Loop(settings, stage, handle, steps, due_ms, proves, give_up).run()
