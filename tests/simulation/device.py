"""The fake device process: a renderer that takes batches, beats, and fails in the ways that real ones do."""

from collections import deque
from collections.abc import Callable
from typing import Literal

from gpu_consumers.render import protocol
from gpu_consumers.render.actions import Item
from schemas.ids import chunk_id
from tests.simulation.media import ChunkFile, render
from tests.simulation.requests import POISON

Fault = Literal["oom", "die", "hang", "bug", "lost", "stillborn"]
Scratch = dict[str, ChunkFile | tuple[object, ...]]


class Device:
    """faults: what happens to its next batches, taken from the left. taint: marks its bytes as its own."""

    def __init__(self, scratch: Scratch, faults: deque[Fault], taint: str) -> None:
        self._scratch, self._faults, self._taint = scratch, faults, taint
        self._inbox: deque[tuple[int, tuple[Item, ...]] | str] = deque()
        self._ready = self._hung = False
        self._running: tuple[int, tuple[Item, ...]] | None = None
        self._warm: list[str] = []
        self._unwanted: set[tuple[int, str]] = set()
        self.gone = ""
        """Why the process has ended."""
        self.mourned = False
        """Whether the worker was told."""

    def tell(self, message: tuple[int, tuple[Item, ...]] | str) -> None:
        """A batch, or the name of a model to load."""
        self._inbox.append(message)

    def withdraw(self, batch: int, frames: tuple[str, ...]) -> None:
        """Nobody wants these any more. Heard at once, as by the thread that listens."""
        self._unwanted |= {(batch, each) for each in frames}

    def _wanted(self, batch: int, items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(item for item in items if (batch, item.frames) not in self._unwanted)

    def say(self) -> protocol.Said | None:
        """What it says next; None when there is nothing, or nothing any more."""
        if self.gone or self._hung:
            return None
        if not self._ready:
            return self._start()
        if self._running is not None:
            return self._finish(*self._running)
        if not self._inbox:
            return None
        told = self._inbox.popleft()
        if isinstance(told, str):
            self._warm = [*[m for m in self._warm if m != told], told]
            return protocol.Warm(tuple(self._warm), 1.0)
        return self._begin(*told)

    def _start(self) -> protocol.Said | None:
        if self._faults and self._faults[0] == "stillborn":
            self._faults.popleft()
            self.gone = "was killed by signal 9"
            return None
        self._ready = True
        return protocol.Ready()

    def _begin(self, batch: int, items: tuple[Item, ...]) -> protocol.Said | None:
        if not self._wanted(batch, items):
            return protocol.Stopped(batch, 0.0)
        fault = self._faults.popleft() if self._faults else None
        if any(item.spec.prompt == POISON for item in items):
            fault = "die"
        handlers: dict[str, Callable[[], protocol.Said | None]] = {
            "oom": lambda: protocol.Failed(batch, "transient", "out of memory"),
            "bug": lambda: protocol.Failed(batch, "bug", "ValueError: NaN"),
            "lost": lambda: protocol.Failed(batch, "device", "CUDA context lost"),
            "hang": self._hang,
            "die": self._die,
            "stillborn": self._die,
        }
        if fault is not None:
            return handlers[fault]()
        self._running = batch, items
        return protocol.Step(batch, 1, 2)

    def _hang(self) -> None:
        self._hung = True

    def _die(self) -> None:
        self.gone = "was killed by signal 11"

    def _finish(self, batch: int, items: tuple[Item, ...]) -> protocol.Said:
        if not (wanted := self._wanted(batch, items)):
            self._running = None
            return protocol.Stopped(batch, 0.2)
        for item in wanted:
            given = self._scratch[item.given] if item.given else ()
            assert isinstance(given, tuple)
            self._scratch[item.frames] = render(item.spec, chunk_id(item.spec), given, self._taint)  # type: ignore[arg-type]
        self._running = None
        return protocol.Done(batch, 0.4)
