"""A render worker in virtual time: the real core of `gpu_consumers.render`, a simulated device and store. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from gpu_consumers.render import actions as act
from gpu_consumers.render.announcing import Announcements
from gpu_consumers.render.core import Core
from gpu_consumers.render.protocol import WARM_MODELS
from ops.simulate.device import Device
from ops.simulate.hardware import Hardware
from ops.simulate.traces import WorkerTrace
from schemas.errors import Fatal
from schemas.ids import chunk_object_key
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry
from schemas.work import ChunkRendered, ChunkTask, ChunkWithdrawn, ObjectRef, WorkerState

NEVER_HANGS_S = 1e9
"""A simulated device is slow or dead, but never silent in the middle of a step."""


class World(Protocol):
    """What a worker needs of what is around it."""

    store: set[str]
    """Names of the chunks that are in the object store."""

    def later(self, at_ms: int, do: Callable[[int], None]) -> None:
        """Call `do` with the time at that time, or now if it has passed."""

    def began(self, task: ChunkTask, now_ms: int) -> None:
        """A device begins with this chunk."""

    def reported(self, event: ChunkRendered, now_ms: int) -> None: ...

    def announced(self, state: WorkerState, now_ms: int) -> None: ...

    def committed(self, partition: int, offset: int) -> None: ...


class Worker:
    """One life of a worker's process. number: its place in the pool, and the partition that it owns by itself."""

    def __init__(
        self,
        number: int,
        pool: str,
        models: Mapping[str, ModelEntry],
        hardware: Hardware,
        world: World,
        trace: WorkerTrace,
        warm: tuple[str, ...] = (),
    ) -> None:
        """warm: models that its device has loaded before the simulation begins."""
        self.number, self.name, self._pool = number, trace.name, pool
        self._models, self._hardware, self._world, self._trace = models, hardware, world, trace
        self._core = Core(models, pool, self.name, NEVER_HANGS_S)
        self._announcements = Announcements()
        self._device: Device | None = None
        self._warm = warm
        self._tasks: dict[ChunkSpec, ChunkTask] = {}
        """What is on its way through this worker, by what is to be rendered."""
        self._specs: dict[int, ChunkSpec] = {}
        """The same by ticket."""
        self.alive = True

    # ---- from the world --------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        self._do(self._core.start(now_ms / 1000), now_ms)

    def assigned(self, partition: int) -> None:
        self._core.assigned([partition])

    def gone(self, partition: int, now_ms: int) -> None:
        self._do(self._core.gone([partition]), now_ms)

    def take(self, partition: int, offset: int, task: ChunkTask, now_ms: int) -> None:
        """A task was read."""
        self._do(self._core.task(partition, offset, task, now_ms / 1000), now_ms)

    def withdrawn(self, said: ChunkWithdrawn, now_ms: int) -> None:
        """Nobody wants a chunk any more."""
        self._do(self._core.withdrawn(said, now_ms / 1000), now_ms)

    def die(self) -> None:
        """SIGKILL: nothing that was under way comes to anything."""
        self.alive = self._running_device.alive = False

    def announce(self, now_ms: int) -> None:
        """Say what it is at, if that is due."""
        core = self._core
        partitions, models, pending = tuple(sorted(core.partitions)), core.models, core.pending()
        step, steps = core.progress()
        if self.alive and self._announcements.due((partitions, models, pending), (step, steps), now_ms / 1000):
            state = WorkerState(
                worker_id=self.name, pool=self._pool, device="simulated", partitions=partitions, models=models,
                pending=pending, capacity=core.wanted, rendered=core.rendered, loads=core.loads, step=step, steps=steps,
                at_ms=now_ms,
            )  # fmt: skip
            self._world.announced(state, now_ms)

    @property
    def held(self) -> int:
        """Tasks taken and not yet reported."""
        return self._core.held

    # ---- the core's actions ----------------------------------------------------------------------------------------

    def _do(self, actions: list[act.Action], now_ms: int) -> None:
        """Carry out what the core asks for, and what it asks for then. The store answers at once: what a chunk takes is
        device time."""
        waiting = deque(actions)
        while waiting:
            waiting += self._carry_out(waiting.popleft(), now_ms)
        self.announce(now_ms)

    def _carry_out(self, action: act.Action, now_ms: int) -> list[act.Action]:
        core, now_s = self._core, now_ms / 1000
        match action:
            case act.StartDevice(generation):
                return self._start_device(generation, now_s)
            case act.LoadModel() | act.Send():
                self._running_device.order(action, now_ms)
            case act.Withdraw():
                self._running_device.withdraw(action, now_ms)
            case act.Prepare(ticket, task):
                self._tasks[task.spec], self._specs[ticket] = task, task.spec
                there = task.chunk_id in self._world.store
                return core.prepared(ticket, act.Reuse(_object(task)) if there else act.Usable(""), now_s)
            case act.StoreFrames(ticket, task):
                self._world.store.add(task.chunk_id)
                return core.stored(ticket, _object(task), now_s)
            case act.Report(ticket, event):
                self._world.reported(event, now_ms)
                return core.acknowledged(ticket, now_s)
            case act.Commit(partition, offset):
                self._world.committed(partition, offset)
            case act.Release(ticket):
                if (spec := self._specs.pop(ticket, None)) is not None:
                    self._tasks.pop(spec, None)
            case _:
                raise Fatal(f"a simulated worker does not know what to do about {type(action).__name__}")
        return []

    def _start_device(self, generation: int, now_s: float) -> list[act.Action]:
        core, warm = self._core, self._warm[:WARM_MODELS]
        self._device = Device(
            self.number, generation, self._models, self._hardware, self, self._world.later, self._trace, warm
        )
        for count, name in enumerate(warm, 1):
            load_s = self._hardware.costs.loading_s(self._models[name])
            core.device_models(generation, warm[:count], load_s, now_s)
        return core.device_ready(generation, now_s)

    @property
    def _running_device(self) -> Device:
        assert self._device is not None, "the core starts a device before it uses it"
        return self._device

    # ---- what the device says (Parent) -----------------------------------------------------------------------------

    def task_of(self, spec: ChunkSpec) -> ChunkTask:
        """The task that asked for this chunk."""
        return self._tasks[spec]

    def began(self, task: ChunkTask, now_ms: int) -> None:
        self._world.began(task, now_ms)

    def loaded(self, generation: int, models: tuple[str, ...], load_s: float, now_ms: int) -> None:
        self._do(self._core.device_models(generation, models, load_s, now_ms / 1000), now_ms)

    def stepped(self, batch: int, step: int, steps: int, now_ms: int) -> None:
        self._do(self._core.device_step(batch, step, steps, now_ms / 1000), now_ms)

    def done(self, batch: int, device_s: float, left_out: tuple[str, ...], now_ms: int) -> None:
        self._do(self._core.device_done(batch, device_s, now_ms / 1000, left_out), now_ms)

    def stopped(self, batch: int, device_s: float, now_ms: int) -> None:
        self._do(self._core.device_stopped(batch, device_s, now_ms / 1000), now_ms)


def _object(task: ChunkTask) -> ObjectRef:
    key = chunk_object_key(task.spec.tenant, task.chunk_id)
    return ObjectRef(key=key, sha256=task.chunk_id, size_bytes=1)
