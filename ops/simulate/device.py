"""The device process of a render worker in virtual time, as `gpu_consumers.render.child` behaves. Pure.

One order at a time. Models are loaded as needed, and the one used longest ago makes room. A batch that nobody wants any
more is stopped at its next denoise step.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gpu_consumers.render import actions as act
from gpu_consumers.render.device import LEAD_S
from gpu_consumers.render.protocol import WARM_MODELS
from ops.simulate.hardware import Hardware
from ops.simulate.traces import Doing, WorkerTrace
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry
from schemas.work import ChunkTask

TOLD_EVERY_S = 10.0
"""Most device time between two steps that are told."""
Later = Callable[[int, Callable[[int], None]], None]


class Parent(Protocol):
    """The worker's process, which hears what the device process says."""

    def task_of(self, spec: ChunkSpec) -> ChunkTask: ...

    def began(self, task: ChunkTask, now_ms: int) -> None: ...

    def loaded(self, generation: int, models: tuple[str, ...], load_s: float, now_ms: int) -> None: ...

    def stepped(self, batch: int, step: int, steps: int, now_ms: int) -> None: ...

    def done(self, batch: int, device_s: float, left_out: tuple[str, ...], now_ms: int) -> None: ...

    def stopped(self, batch: int, device_s: float, now_ms: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Running:
    order: act.Send
    began_ms: int
    step_s: float
    left_out: tuple[str, ...]


def _told(steps: int, step_s: float) -> list[int]:
    """Of all steps those that somebody acts on: the parent when the batch is nearly done, which it knows by the step
    before that; the scheduler by the share that is done, and by none for long, which it takes for a halt."""
    nearly = max(1, steps - max(1, int(LEAD_S / step_s)))
    every = max(1, min(steps // 4, int(TOLD_EVERY_S / step_s)))
    return sorted({max(1, nearly - 1), nearly, *range(every, steps, every)})


class Device:
    """number: of its worker. later: calls a function with the time at a time. warm: models that are loaded already."""

    def __init__(
        self,
        number: int,
        generation: int,
        models: Mapping[str, ModelEntry],
        hardware: Hardware,
        parent: Parent,
        later: Later,
        trace: WorkerTrace,
        warm: tuple[str, ...],
    ) -> None:
        self._number, self._generation, self._models, self._hardware = number, generation, models, hardware
        self._parent, self._later, self._trace = parent, later, trace
        self._orders: deque[act.LoadModel | act.Send] = deque()
        self._warm = OrderedDict.fromkeys(warm)
        self._unwanted: set[tuple[int, str]] = set()
        self._running: _Running | None = None
        self._loading = False
        self.alive = True

    def order(self, order: act.LoadModel | act.Send, now_ms: int) -> None:
        """Into its inbox."""
        self._orders.append(order)
        self._go_on(now_ms)

    def withdraw(self, gone: act.Withdraw, now_ms: int) -> None:
        """Nobody wants these chunks of a batch any more."""
        self._unwanted |= {(gone.batch, frames) for frames in gone.frames}
        running = self._running
        if running is not None and running.order.batch == gone.batch and not self._wanted(running.order):
            step_ms = max(1, round(running.step_s * 1000))
            steps_done = (now_ms - running.began_ms) // step_ms
            self._later(running.began_ms + (steps_done + 1) * step_ms, partial(self._stop, running))

    def _wanted(self, order: act.Send) -> list[act.Item]:
        return [item for item in order.items if (order.batch, item.frames) not in self._unwanted]

    def _go_on(self, now_ms: int) -> None:
        """Begin with the next order, if nothing is at work."""
        if self._running or self._loading or not self._orders:
            return
        order = self._orders[0]
        model = order.model if isinstance(order, act.LoadModel) else order.items[0].spec.model
        if isinstance(order, act.Send) and not self._wanted(order):
            self._orders.popleft()
            self._parent.stopped(order.batch, 0.0, now_ms)
        elif model not in self._warm:
            self._loading = True
            load_s = self._hardware.costs.loading_s(self._models[model])
            self._later(now_ms + round(load_s * 1000), partial(self._loaded, model, load_s, now_ms))
            return
        else:
            self._warm.move_to_end(model)
            self._orders.popleft()
            if isinstance(order, act.Send):
                self._render(order, now_ms)
                return
        self._go_on(now_ms)

    def _loaded(self, model: str, load_s: float, began_ms: int, now_ms: int) -> None:
        if not self.alive:
            return
        self._spent(began_ms, now_ms, "loading")
        while len(self._warm) >= WARM_MODELS:
            self._warm.popitem(last=False)
        self._warm[model] = None
        self._loading = False
        self._parent.loaded(self._generation, tuple(self._warm), load_s, now_ms)
        self._go_on(now_ms)

    def _render(self, order: act.Send, now_ms: int) -> None:
        tasks = [self._parent.task_of(item.spec) for item in self._wanted(order)]
        for task in tasks:
            self._parent.began(task, now_ms)
        entry = self._models[tasks[0].spec.model]
        alone_s = [self._hardware.chunk_s(entry, t.spec.width_px, t.spec.height_px, t.chunk_id) for t in tasks]
        took_s, steps = self._hardware.batch_s(alone_s, self._number), tasks[0].spec.steps
        rendered = {item.frames for item in self._wanted(order)}
        left_out = tuple(item.frames for item in order.items if item.frames not in rendered)
        running = self._running = _Running(order, now_ms, took_s / steps, left_out)
        for step in _told(steps, running.step_s):
            at_ms = now_ms + round(step * running.step_s * 1000)
            self._later(at_ms, partial(self._step, running, step, steps))
        self._later(now_ms + max(1, round(took_s * 1000)), partial(self._done, running, took_s))

    def _step(self, running: _Running, step: int, steps: int, now_ms: int) -> None:
        if self.alive and self._running is running:
            self._parent.stepped(running.order.batch, step, steps, now_ms)

    def _done(self, running: _Running, took_s: float, now_ms: int) -> None:
        if self._over(running, now_ms):
            self._trace.chunks += len(running.order.items) - len(running.left_out)
            self._parent.done(running.order.batch, took_s, running.left_out, now_ms)
            self._go_on(now_ms)

    def _stop(self, running: _Running, now_ms: int) -> None:
        if self._over(running, now_ms):
            self._parent.stopped(running.order.batch, (now_ms - running.began_ms) / 1000, now_ms)
            self._go_on(now_ms)

    def _over(self, running: _Running, now_ms: int) -> bool:
        """Whether this is what runs; then it does so no longer."""
        if not self.alive or self._running is not running:
            return False
        self._spent(running.began_ms, now_ms, "rendering")
        self._running = None
        return True

    def _spent(self, from_ms: int, to_ms: int, doing: Doing) -> None:
        if to_ms > from_ms:
            self._trace.spans.append((from_ms, to_ms, doing))
