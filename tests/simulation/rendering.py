"""render's shell around the real core: polls, feeds it, does what it says; store work in two threads, one device.

Order of effects per chunk: object, report acknowledged, offset.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Generator

from gpu_consumers.render import actions as act
from gpu_consumers.render import protocol
from gpu_consumers.render.announcing import Announcements
from gpu_consumers.render.core import Core
from schemas.errors import Fatal, Transient
from schemas.records import Incoming, Outgoing
from schemas.topics import CHUNKS, CHUNKS_RENDERED, CHUNKS_WITHDRAWN, WORKERS_STATE
from schemas.work import ChunkTask, WorkerState
from tests.simulation.chunk_objects import ChunkObjects
from tests.simulation.device import Device, Scratch
from tests.simulation.groups import Effects
from tests.simulation.log import Fenced, Place
from tests.simulation.process import IDLE, Process

POOL = "cpu"
GROUP = f"render.{POOL}"
STEP_TIMEOUT_S = 10.0
STORE_THREADS = 2
READ_AT_ONCE = 16
DRAIN_MS = 30_000
Event = Callable[[float], list[act.Action]]
Job = Generator[str, None, Event]


class Worker:
    def __init__(self, process: Process) -> None:
        self.process, self.world = process, process.world
        self.core = Core(self.world.models, POOL, process.worker_id, STEP_TIMEOUT_S)
        self.scratch: Scratch = {}
        self.objects = ChunkObjects(self.world, self.scratch)
        self.events: deque[Event] = deque()
        self.jobs: list[Job] = []
        self.outbox: deque[tuple[Outgoing, int]] = deque()
        self.device: Device | None = None
        self.generation = 0
        self.commits: dict[int, int] = {}
        self.records: dict[int, Incoming] = {}
        self.announcements = Announcements()
        self.heard = 0
        self.moved = False
        self.consumer = process.consumer(GROUP, [CHUNKS[POOL].entity], on_assign=self._assigned, on_revoke=self._gone)

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Effects:
        core, clock = self.core, self.world.clock
        self._perform(core.start(clock.mono_s))
        drain_until_ms = float("inf")
        while not core.drained() and clock.mono_ms < drain_until_ms:
            self.moved = False
            yield from self._poll()
            if self.process.stopping and not core.stopping:
                drain_until_ms = clock.mono_ms + DRAIN_MS
                self._perform(core.stop())
            yield from self._beside()
            self._round()
            yield from self._deliver()
            if not self.moved:
                yield IDLE
        self._commit()
        self._announce(leaving=True)
        yield from self._deliver()
        self.consumer.close()

    def _poll(self) -> Effects:
        for _ in range(READ_AT_ONCE):
            if (record := (yield from self.consumer.poll())) is None:
                return
            self.moved = True
            if "render commits what it reads" in self.world.bugs:
                self.commits[record.partition] = record.offset + 1
            ticket = self.core._next_ticket
            self.records[ticket] = record
            self._perform(self.core.task(record.partition, record.offset, record.value, self.world.clock.mono_s))

    def _beside(self) -> Effects:
        """One effect of each thread of the store, and one word of the device."""
        for job in self.jobs[:STORE_THREADS]:
            self.moved = True
            try:
                yield next(job)
            except StopIteration as end:
                self.jobs.remove(job)
                self.events.append(end.value)
        if self.device is None:
            return
        generation, said = self.generation, self.device.say()
        if said is not None:
            self.moved = True
            self.events.append(lambda now_s: self._heard(generation, said, now_s))
        elif self.device.gone and not self.device.mourned:
            self.moved, reason, self.device.mourned = True, self.device.gone, True
            self.events.append(lambda now_s: self.core.device_died(generation, reason, now_s))

    def _hear(self) -> None:
        """What the scheduler has withdrawn, from the beginning of its topic."""
        (place,) = self.world.log.places(CHUNKS_WITHDRAWN.entity)
        while True:
            offset, entry = self.world.log.next(place, self.heard, committed_only=True)
            self.heard = offset if entry is None else offset + 1
            if entry is None:
                return
            self.moved = True
            self._perform(self.core.withdrawn(entry.value, self.world.clock.mono_s))

    def _round(self) -> None:
        self._hear()
        while self.events:
            self.moved = True
            self._perform(self.events.popleft()(self.world.clock.mono_s))
        self._perform(self.core.tick(self.world.clock.mono_s))
        self._commit()
        self._announce()

    def _deliver(self) -> Effects:
        while self.outbox:
            self.moved = True
            out, ticket = self.outbox.popleft()
            yield f"render.report {out.topic.entity}"
            self.process.produce(out)
            if ticket:
                if ticket in self.records:
                    self.process.done(self.records.pop(ticket), GROUP)
                self.events.append(lambda now_s, of=ticket: self.core.acknowledged(of, now_s))  # type: ignore[misc]

    def _assigned(self, places: list[Place]) -> Effects:
        self.core.assigned([partition for _, partition in places])
        yield from ()

    def _gone(self, places: list[Place]) -> None:
        numbers = [partition for _, partition in places]
        self._commit()
        self._perform(self.core.gone(numbers))

    # ---- effects ---------------------------------------------------------------------------------------------------

    def _perform(self, actions: list[act.Action]) -> None:
        for action in actions:
            match action:
                case act.Prepare(ticket, task):
                    self.jobs.append(self._prepare(ticket, task))
                case act.StoreFrames(ticket, task, frames):
                    self.jobs.append(self._store(ticket, task, frames))
                case act.Send(batch, items):
                    assert self.device is not None
                    self.device.tell((batch, items))
                case act.Withdraw(batch, frames):
                    assert self.device is not None
                    self.device.withdraw(batch, frames)
                case act.LoadModel(model):
                    assert self.device is not None
                    self.device.tell(model)
                case act.Report(ticket, event):
                    self.outbox.append((Outgoing(CHUNKS_RENDERED, event.job, event), ticket))
                case act.Commit(partition, offset):
                    self.commits[partition] = offset
                case act.Release(ticket):
                    for name in [n for n in self.scratch if n.startswith(f"{ticket}.")]:
                        del self.scratch[name]
                case act.StartDevice(generation):
                    self.generation = generation
                    faults = self.world.device_faults[self.process.name]
                    self.device = Device(self.scratch, faults, self.process.worker_id)
                case act.KillDevice(_):
                    self.device = None
                case act.Stop(reason):
                    raise Fatal(reason)

    def _commit(self) -> None:
        commits, self.commits = self.commits, {}
        if commits:
            # A rebalance came first: the tasks come again to their new owner, which finds the objects.
            with contextlib.suppress(Fenced):
                self.consumer.commit({(CHUNKS[POOL].entity, number): offset for number, offset in commits.items()})

    def _announce(self, leaving: bool = False) -> None:
        core = self.core
        picture = tuple(sorted(core.partitions)), core.models, core.pending()
        if not leaving and not self.announcements.due(picture, core.progress(), self.world.clock.mono_s):
            return
        state = WorkerState(
            worker_id=self.process.worker_id,
            pool=POOL,
            device=POOL,
            partitions=picture[0],
            models=picture[1],
            pending=picture[2],
            capacity=core.wanted,
            rendered=core.rendered,
            leaving=leaving,
            at_ms=self.world.clock.wall_ms(),
            loads=core.loads,
        )
        self.outbox.append((Outgoing(WORKERS_STATE, self.process.worker_id, state), 0))

    def _heard(self, generation: int, said: protocol.Said, now_s: float) -> list[act.Action]:
        core = self.core
        match said:
            case protocol.Ready():
                return core.device_ready(generation, now_s)
            case protocol.Warm(models, load_s):
                return core.device_models(generation, models, load_s, now_s)
            case protocol.Step(batch, step, steps):
                return core.device_step(batch, step, steps, now_s)
            case protocol.Done(batch, device_s, left_out):
                return core.device_done(batch, device_s, now_s, left_out)
            case protocol.Stopped(batch, device_s):
                return core.device_stopped(batch, device_s, now_s)
            case protocol.Failed(_, "device", error):
                return core.device_died(generation, error, now_s)
            case protocol.Failed(batch, kind, error):
                return core.device_refused(batch, error, now_s, final=kind == "invalid")

    def _prepare(self, ticket: int, task: ChunkTask) -> Job:
        outcome = yield from self.objects.prepare(ticket, task)
        return lambda now_s: self.core.prepared(ticket, outcome, now_s)

    def _store(self, ticket: int, task: ChunkTask, frames: str) -> Job:
        try:
            ref = yield from self.objects.put(task, frames)
        except Transient:
            return lambda now_s: self.core.not_stored(ticket, now_s)
        return lambda now_s: self.core.stored(ticket, ref, now_s)


def render(process: Process) -> Effects:
    yield from Worker(process).run()
