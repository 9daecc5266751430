"""render at work: polls Kafka, feeds the core, does what it says. Nothing in the main thread waits for work.

Faults of the worker itself end the process with an error and nothing committed: a registry that names a folder which
is not there or has another digest, a store that refuses us, records that could not be delivered. Then every task it
held comes again, to another worker or to its successor.
"""

import logging
import os
import platform
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from gpu_consumers.render import actions as act
from gpu_consumers.render import process, protocol
from gpu_consumers.render.announcing import Announcements
from gpu_consumers.render.checking import check_task
from gpu_consumers.render.core import Core, capacity_of
from gpu_consumers.render.objects import ChunkObjects
from gpu_consumers.render.process import DeviceProcess
from gpu_consumers.render.scratch import Scratch, bytes_needed
from ops import registry
from ops.bus import clients, dead_letter, table
from ops.bus.owed import Owed
from ops.bus.process import stop_event
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import incoming, place_of
from ops.crash_points import reached
from ops.settings import Settings
from ops.storage.open import open_store
from schemas.codec import decode, encode
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.records import Incoming
from schemas.registry import ModelEntry
from schemas.topics import CHUNKS, CHUNKS_RENDERED, CHUNKS_WITHDRAWN, WORKERS_STATE, DeadLetters, Topic
from schemas.work import ChunkTask, ChunkWithdrawn, ObjectRef, WorkerState

log = logging.getLogger(__name__)

BUSY_POLL_S, IDLE_POLL_S = 0.01, 0.1
STORE_THREADS = 2
HELD_MOST = 100
"""Tasks held at which no more are read. The scheduler sends two, but after offsets were set back there are thousands,
and the worker's announcement names all that it holds: it must stay a record that fits."""
Event = Callable[[float], list[act.Action]]


class Worker:
    """One render worker. `run` returns after SIGTERM and raises when the process must end."""

    def __init__(self, settings: Settings) -> None:
        if settings.pool not in CHUNKS:
            raise Fatal(f"unknown pool {settings.pool!r}; known are {', '.join(CHUNKS)}")
        process.parse_cpus(settings.device_cpus)
        self.settings = settings
        self.entries = entries_of(settings)
        self.worker_id = settings.worker_id or f"{platform.node().split('.')[0]}-{os.getpid()}"
        self.core = Core(self.entries, settings.pool, self.worker_id, settings.step_timeout_s)
        self.scratch = Scratch(bytes_needed(self.entries.values(), capacity_of(self.entries)))
        self.objects = ChunkObjects(open_store(settings), self.scratch)
        self.topic = CHUNKS[settings.pool]
        self.group = f"{settings.prefix}.render.{settings.pool}"
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.device: DeviceProcess | None = None
        self.threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self.commits: dict[int, int] = {}
        self.owed: Owed[int] = Owed()
        self.announcements = Announcements()
        self.full: bool | None = False
        """Whether reading is paused; None: not the same for all partitions."""
        self.producer = clients.producer(settings)
        self.consumer: Consumer = clients.consumer(settings, self.group, on_commit=self._committed)
        self.withdrawals = self._follow(CHUNKS_WITHDRAWN)

    def _follow(self, topic: Topic) -> Consumer:
        """Every worker reads all of this topic, from the beginning: it is short, and a worker that takes over the tasks
        of another one must know what of them was withdrawn. No group has a part in it, and no offset is kept."""
        follower = clients.consumer(self.settings, self.group)
        name = topic.name(self.settings.prefix)
        count = table.partition_count(follower, name)
        follower.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in range(count)])
        return follower

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        stop = stop_event()
        name = self.topic.name(self.settings.prefix)
        PULSE.loop("worker's loop")
        PULSE.joining(self.group)
        self.consumer.subscribe([name], on_assign=self._assigned, on_revoke=self._gone, on_lost=self._lost)
        self._perform(self.core.start(time.monotonic()))
        log.info("%s serves pool %s on %s", self.worker_id, self.settings.pool, self.settings.device)
        drain_until_s = float("inf")
        try:
            while not self.core.drained() and time.monotonic() < drain_until_s:
                self._poll()
                if stop.is_set() and not self.core.stopping:
                    log.info("stopping: %d chunks pending", len(self.core.pending()))
                    drain_until_s = time.monotonic() + self.settings.drain_s
                    self._perform(self.core.stop())
                self._round()
            self._leave()
        finally:
            if self.device is not None:
                self.device.kill()
            self.threads.shutdown(wait=False, cancel_futures=True)
            self.scratch.close()

    def _hold_back(self) -> None:
        """Read no further while enough is held."""
        full = self.core.held >= HELD_MOST
        if full != self.full:
            places = self.consumer.assignment()
            (self.consumer.pause if full else self.consumer.resume)(places)
            PULSE.hold(places, full)
            self.full = full

    def _poll(self) -> None:
        beat()
        self._hold_back()
        # consume() alone would wait until it has all messages that it was asked for, or the time is over.
        first = self.consumer.poll(BUSY_POLL_S if self.core.held else IDLE_POLL_S)
        for message in [first, *self.consumer.consume(15, 0)] if first is not None else []:
            error = message.error()
            if error is None:
                record = incoming(message)
                PULSE.read(record.topic, record.partition, record.offset)
                self._take(record)
            elif error.fatal():
                raise Fatal(f"consumer: {error}")
            else:
                log.warning("consumer: %s", error)

    def _hear(self) -> None:
        """What the scheduler has withdrawn."""
        for message in self.withdrawals.consume(100, 0):
            if (error := message.error()) is not None:
                log.warning("withdrawals: %s", error)
                continue
            try:
                said = decode(ChunkWithdrawn, incoming(message).value)
            except InvalidMessage as exc:
                log.warning("withdrawal passed over: %s", exc)  # the chunk is rendered, for nobody
                continue
            if said.pool == self.settings.pool:
                self._perform(self.core.withdrawn(said, time.monotonic()))

    def _take(self, record: Incoming) -> None:
        try:
            task = decode(ChunkTask, record.value)
            check_task(task)
        except InvalidMessage as exc:
            log.warning("dead letter from %s: %s", place_of(record), exc)
            for action in self.core.invalid(record.partition, record.offset):
                assert isinstance(action, act.DeadLetter)
                self._bury(action.ticket, record, exc)
            return
        reached("render", "read")
        self._perform(self.core.task(record.partition, record.offset, task, time.monotonic()))

    def _round(self) -> None:
        self.producer.poll(0)
        self._hear()
        while not self.events.empty():
            self._perform(self.events.get()(time.monotonic()))
        self._perform(self.core.tick(time.monotonic()))
        self._commit()
        self._announce()

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.core.assigned([p.partition for p in partitions])
        PULSE.assigned(partitions)
        self.full = None
        log.info("owns partitions %s", sorted(self.core.partitions))

    def _gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [p.partition for p in partitions]
        self._commit()
        for number in numbers:
            self.commits.pop(number, None)
        self.owed.gone(numbers)
        PULSE.revoked(partitions)
        self._perform(self.core.gone(numbers))
        log.info("owns partitions %s", sorted(self.core.partitions))

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions)
        PULSE.revoked(partitions, lost=True)

    def _leave(self) -> None:
        self._commit(wait=True)
        self._announce(leaving=True)
        self.producer.flush(10)
        self.withdrawals.close()
        self.consumer.close()

    # ---- effects ---------------------------------------------------------------------------------------------------

    def _perform(self, actions: list[act.Action]) -> None:
        for action in actions:
            match action:
                case act.Prepare(ticket, task):
                    self._in_thread(self._prepare, ticket, task)
                case act.StoreFrames(ticket, task, frames):
                    self._in_thread(self._store, ticket, task, frames)
                case act.Send(batch, items):
                    assert self.device is not None
                    chunks = (protocol.Chunk(i.spec, i.given, i.frames) for i in items)
                    self.device.send(protocol.Render(batch, tuple(chunks)))
                    reached("render", "sent-to-device")
                case act.Withdraw(batch, frames):
                    assert self.device is not None
                    self.device.send(protocol.Withdraw(batch, frames))
                case act.LoadModel(model):
                    assert self.device is not None
                    self.device.send(protocol.Load(model))
                case act.Report(ticket, event):
                    if event.error:
                        log.warning("chunk %d of %s failed: %s", event.index, event.job, event.error)
                    elif event.status == "withdrawn":
                        log.info("chunk %d of %s: nobody wants it any more", event.index, event.job)
                    topic = CHUNKS_RENDERED.name(self.settings.prefix)
                    self._produce(topic, event.job.encode(), encode(event), ticket)
                    reached("render", "produced")
                case act.Commit(partition, offset):
                    self.commits[partition] = offset
                    PULSE.done(self.topic.name(self.settings.prefix), partition, offset)
                case act.Release(ticket):
                    self.scratch.release(ticket)
                case act.StartDevice(generation):
                    self._start_device(generation)
                case act.KillDevice(reason):
                    log.warning("device process replaced: %s", reason)
                    if self.device is not None:
                        self.device.kill()
                case act.Stop(reason):
                    raise Fatal(reason)

    def _in_thread(self, work: Callable[..., Event], *args: Any) -> None:
        def hand_over(done: Future[Event]) -> None:
            if not done.cancelled():
                self.events.put(lambda now_s: done.result()(now_s))

        self.threads.submit(work, *args).add_done_callback(hand_over)

    def _prepare(self, ticket: int, task: ChunkTask) -> Event:
        with PULSE.working("store thread", f"looks for chunk {task.index} of {task.job}"):
            outcome = self.objects.prepare(ticket, task)
        reached("render", "prepared")
        return lambda now_s: self.core.prepared(ticket, outcome, now_s)

    def _store(self, ticket: int, task: ChunkTask, frames: str) -> Event:
        codec = self.entries[task.spec.model].chunk_codec
        try:
            with PULSE.working("store thread", f"stores chunk {task.index} of {task.job}"):
                ref: ObjectRef = self.objects.put(ticket, task, frames, codec)
            reached("render", "object-put")
        except Transient as exc:
            log.warning("chunk %d of %s not stored: %s; trying again", task.index, task.job, exc)
            return lambda now_s: self.core.not_stored(ticket, now_s)
        return lambda now_s: self.core.stored(ticket, ref, now_s)

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, ticket: int, headers: Any = None) -> None:
        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                raise Transient(f"could not produce to {topic}: {error}")
            if ticket:
                reached("render", "acknowledged")
                self.events.put(lambda now_s: self.core.acknowledged(ticket, now_s))

        self.producer.produce(topic, key=key, value=value, headers=headers, on_delivery=delivered)

    def _bury(self, ticket: int, record: Incoming, error: InvalidMessage) -> None:
        headers = dead_letter.headers(record, self.group, "render", error, time.time_ns() // 1_000_000)
        dlq = DeadLetters(self.topic).name(self.settings.prefix)
        self._produce(dlq, record.key, record.value, ticket, [*headers])

    def _committed(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        for place in places:
            if error is None and place.error is None:
                self.owed.made(place.partition, place.offset)
            elif place.partition in self.core.partitions:
                self.owed.refused(place.partition, place.offset, time.monotonic())

    def _commit(self, wait: bool = False) -> None:
        for partition, offset in self.owed.due(time.monotonic()).items():
            self.commits.setdefault(partition, offset)
        if not self.commits:
            return
        name = self.topic.name(self.settings.prefix)
        places = [TopicPartition(name, partition, offset) for partition, offset in self.commits.items()]
        for place in places:
            self.owed.sent(place.partition, place.offset)
        self.commits.clear()
        try:
            if wait:
                self.consumer.commit(offsets=places, asynchronous=False)
            else:
                self.consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as exc:
            # A rebalance came first: the tasks come again to their new owner, which finds the objects.
            log.warning("commit failed: %s", exc.args[0].str())
        reached("render", "commit-sent")

    def _announce(self, leaving: bool = False) -> None:
        partitions, models = tuple(sorted(self.core.partitions)), self.core.models
        pending, (step, steps) = self.core.pending(), self.core.progress()
        if not leaving and not self.announcements.due((partitions, models, pending), (step, steps), time.monotonic()):
            return
        state = WorkerState(
            worker_id=self.worker_id,
            pool=self.settings.pool,
            device=self.settings.device,
            partitions=partitions,
            models=models,
            pending=pending,
            capacity=self.core.wanted,
            step=step,
            steps=steps,
            rendered=self.core.rendered,
            leaving=leaving,
            at_ms=time.time_ns() // 1_000_000,
            loads=self.core.loads,
        )
        self._produce(WORKERS_STATE.name(self.settings.prefix), self.worker_id.encode(), encode(state), 0)

    # ---- device process --------------------------------------------------------------------------------------------

    def _start_device(self, generation: int) -> None:
        settings = self.settings
        setup = protocol.Setup(settings.device, settings.dtype, str(self.scratch.folder), tuple(self.entries.values()))

        def heard(said: protocol.Said) -> None:
            self.events.put(lambda now_s: self._heard(generation, said, now_s))

        def gone(reason: str) -> None:
            self.events.put(lambda now_s: self.core.device_died(generation, reason, now_s))

        environment = process.environment(settings.torch_threads)
        PULSE.lacks("device", "its process is starting")
        self.device = DeviceProcess(setup, settings.device_cpus, environment, heard, gone)

    def _heard(self, generation: int, said: protocol.Said, now_s: float) -> list[act.Action]:
        core = self.core
        match said:
            case protocol.Ready():
                PULSE.has("device")
                return core.device_ready(generation, now_s)
            case protocol.Warm(models, load_s):
                return core.device_models(generation, models, load_s, now_s)
            case protocol.Step(batch, step, steps):
                reached("render", "step")
                return core.device_step(batch, step, steps, now_s)
            case protocol.Done(batch, device_s, left_out):
                reached("render", "rendered")
                return core.device_done(batch, device_s, now_s, left_out)
            case protocol.Stopped(batch, device_s):
                return core.device_stopped(batch, device_s, now_s)
            case protocol.Failed(_, "fatal", error):
                raise Fatal(error)
            case protocol.Failed(_, "device", error):
                return core.device_died(generation, error, now_s)
            case protocol.Failed(batch, kind, error):
                return core.device_refused(batch, error, now_s, final=kind == "invalid")


def entries_of(settings: Settings) -> dict[str, ModelEntry]:
    """Models of the settings' pool. Raises Fatal when there is none: the worker could not do anything."""
    entries = {n: e for n, e in registry.load(settings.registry).items() if settings.pool in e.pools}
    if not entries:
        raise Fatal(f"no model in {settings.registry} is for pool {settings.pool!r}")
    return entries


def main(settings: Settings) -> None:
    """Run a render worker until SIGTERM."""
    Worker(settings).run()
