"""A render worker in virtual time: the real core of `gpu_consumers.render`, a simulated device and store. Pure."""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gpu_consumers.render import actions as act
from gpu_consumers.render.announcing import Announcements
from gpu_consumers.render.core import Core
from gpu_consumers.render.protocol import WARM_MODELS
from ops.simulate.hardware import Hardware
from ops.simulate.traces import Doing, WorkerTrace
from schemas.errors import Fatal
from schemas.ids import chunk_object_key
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry
from schemas.work import ChunkRendered, ChunkTask, ObjectRef, WorkerState

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


@dataclass(slots=True)
class _Device:
    """The device process: one order at a time; models are loaded as needed, the one used longest ago makes room."""

    generation: int
    orders: deque[act.LoadModel | act.Send]
    warm: OrderedDict[str, None]
    busy: bool = False


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
        self._device: _Device | None = None
        self._warm = warm
        self._tasks: dict[ChunkSpec, ChunkTask] = {}
        """What is on its way through this worker, by what is to be rendered."""
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

    def die(self) -> None:
        """SIGKILL: nothing that was under way comes to anything."""
        self.alive = False

    def announce(self, now_ms: int) -> None:
        """Say what it is at, if that is due."""
        core = self._core
        partitions, models, pending = tuple(sorted(core.partitions)), core.models, core.pending()
        if self.alive and self._announcements.due((partitions, models, pending), (0, 0), now_ms / 1000):
            state = WorkerState(
                worker_id=self.name, pool=self._pool, device="simulated", partitions=partitions, models=models,
                pending=pending, capacity=core.wanted, rendered=core.rendered, loads=core.loads, at_ms=now_ms,
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
                self._device = _Device(generation, deque(), OrderedDict.fromkeys(self._warm[:WARM_MODELS]))
                warm = tuple(self._device.warm)
                for count, name in enumerate(warm, 1):
                    core.device_models(generation, warm[:count], self._loading_s(name), now_s)
                return core.device_ready(generation, now_s)
            case act.LoadModel() | act.Send():
                assert self._device is not None
                self._device.orders.append(action)
                self._go_on(self._device, now_ms)
            case act.Prepare(ticket, task):
                self._tasks[task.spec] = task
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
            case act.Release():
                pass
            case _:
                raise Fatal(f"a simulated worker does not know what to do about {type(action).__name__}")
        return []

    # ---- the device ------------------------------------------------------------------------------------------------

    def _go_on(self, device: _Device, now_ms: int) -> None:
        """Begin with the next order, if nothing is at work."""
        if device.busy or not device.orders:
            return
        order = device.orders[0]
        model = order.model if isinstance(order, act.LoadModel) else order.items[0].spec.model
        if model not in device.warm:
            device.busy = True
            self._spend(device, now_ms, self._loading_s(model), "loading", partial(self._loaded, device, model))
            return
        device.warm.move_to_end(model)
        if isinstance(order, act.LoadModel):
            device.orders.popleft()
            self._go_on(device, now_ms)
            return
        device.busy = True
        self._render(device, order, now_ms)

    def _loading_s(self, model: str) -> float:
        return self._hardware.costs.loading_s(self._models[model])

    def _loaded(self, device: _Device, model: str, now_ms: int) -> None:
        while len(device.warm) >= WARM_MODELS:
            device.warm.popitem(last=False)
        device.warm[model] = None
        device.busy = False
        self._do(
            self._core.device_models(device.generation, tuple(device.warm), self._loading_s(model), now_ms / 1000),
            now_ms,
        )
        self._go_on(device, now_ms)

    def _render(self, device: _Device, order: act.Send, now_ms: int) -> None:
        tasks = [self._tasks[item.spec] for item in order.items]
        for task in tasks:
            self._world.began(task, now_ms)
        alone_s = [
            self._hardware.chunk_s(self._models[t.spec.model], t.spec.width_px, t.spec.height_px, t.chunk_id)
            for t in tasks
        ]
        took_s = self._hardware.batch_s(alone_s, self.number)
        half_ms = now_ms + round(took_s * 500)
        self._world.later(half_ms, lambda at_ms: self._half(order.batch, at_ms))

        def done(at_ms: int) -> None:
            device.orders.popleft()
            device.busy = False
            self._trace.chunks += len(tasks)
            for task in tasks:
                self._tasks.pop(task.spec, None)
            self._do(self._core.device_done(order.batch, took_s, at_ms / 1000), at_ms)
            self._go_on(device, at_ms)

        self._spend(device, now_ms, took_s, "rendering", done)

    def _half(self, batch: int, now_ms: int) -> None:
        """Half of the denoise steps are done: the batch that waits is closed then."""
        if self.alive:
            self._do(self._core.device_step(batch, 1, 2, now_ms / 1000), now_ms)

    def _spend(self, device: _Device, now_ms: int, seconds: float, doing: Doing, then: Callable[[int], None]) -> None:
        """Keep the device at something, if the process lives so long."""

        def over(at_ms: int) -> None:
            if self.alive and self._device is device:
                self._trace.spans.append((now_ms, at_ms, doing))
                then(at_ms)

        self._world.later(now_ms + max(1, round(seconds * 1000)) if seconds else now_ms, over)


def _object(task: ChunkTask) -> ObjectRef:
    key = chunk_object_key(task.spec.tenant, task.chunk_id)
    return ObjectRef(key=key, sha256=task.chunk_id, size_bytes=1)
