"""The device process: `python -m gpu_consumers.render.child PARENT_PID CPUS`. Loads models, renders batches, beats.

It owns the device, so that a hang, a lost context or a crash in native code ends with killing it. It speaks on its
standard input and output (see `protocol`); whatever else prints goes to standard error. It ends with its parent.
"""

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpu_consumers.pipelines import renderer
from gpu_consumers.render import protocol
from gpu_consumers.render.process import parse_cpus
from gpu_consumers.render.scratch import read_frames, write_frames
from ops.bus.process import die_with_parent
from schemas.errors import Fatal, InvalidMessage, Transient

log = logging.getLogger(__name__)


class _Withdrawn(Exception):
    """Nobody wants any chunk of the running batch."""


class Unwanted:
    """Chunks that were withdrawn while their batch waited or ran. Written by the listening thread, read by the one that
    renders."""

    def __init__(self) -> None:
        self._frames: dict[int, frozenset[str]] = {}

    def add(self, message: protocol.Withdraw) -> None:
        self._frames[message.batch] = self.of(message.batch) | set(message.frames)

    def of(self, batch: int) -> frozenset[str]:
        return self._frames.get(batch, frozenset())

    def forget(self, batch: int) -> None:
        """This batch is over, and all before it: a withdrawal that came too late is of no use."""
        for number in [number for number in list(self._frames) if number <= batch]:
            self._frames.pop(number, None)


class Device:
    """Renders batches, one at a time."""

    def __init__(self, setup: protocol.Setup, pipe: BinaryIO, unwanted: Unwanted) -> None:
        self._setup = setup
        self._pipe = pipe
        self._unwanted = unwanted
        self._entries = {entry.name: entry for entry in setup.models}
        self._loaded: OrderedDict[str, renderer.Renderer] = OrderedDict()

    def say(self, message: protocol.Said) -> None:
        protocol.write(self._pipe, message)

    def render(self, batch: protocol.Render) -> bool:
        """Renders a batch and says what became of it. Returns False when the process must end."""
        if self._wanted(batch):
            return self._render(batch)
        self.say(protocol.Stopped(batch.batch, 0.0))
        return True

    def _wanted(self, batch: protocol.Render) -> tuple[protocol.Chunk, ...]:
        gone = self._unwanted.of(batch.batch)
        return tuple(chunk for chunk in batch.chunks if chunk.frames not in gone)

    def _render(self, batch: protocol.Render) -> bool:
        try:
            model = self._model(batch.chunks[0].spec.model)
        except Transient as exc:
            self.say(protocol.Failed(batch.batch, "transient", str(exc)))
            return True
        except Fatal as exc:
            self.say(protocol.Failed(batch.batch, "fatal", str(exc)))
            return False
        try:
            self.say(self._run(model, batch))
        except Transient as exc:
            self.say(protocol.Failed(batch.batch, "transient", str(exc)))
        except InvalidMessage as exc:
            self.say(protocol.Failed(batch.batch, "invalid", str(exc)))
        except Fatal as exc:
            self.say(protocol.Failed(batch.batch, "device", str(exc)))
            return False
        except Exception as exc:
            log.exception("batch %d failed", batch.batch)
            self.say(protocol.Failed(batch.batch, "bug", f"{type(exc).__name__}: {exc}"))
        return True

    def load(self, name: str) -> bool:
        """Loads a model before its first batch. What goes wrong and may pass is said when there is a batch that needs
        it. Returns False when the process must end."""
        try:
            self._model(name)
        except Transient as exc:
            log.warning("%s not loaded yet: %s", name, exc)
        except Fatal as exc:
            self.say(protocol.Failed(0, "fatal", str(exc)))
            return False
        return True

    def _model(self, name: str) -> renderer.Renderer:
        if name not in self._loaded:
            while len(self._loaded) >= protocol.WARM_MODELS:
                self._loaded.popitem(last=False)
            began_s = time.monotonic()
            self._loaded[name] = renderer.load(self._entries[name], self._setup.device, self._setup.dtype)
            load_s = time.monotonic() - began_s
            log.info("loaded %s on %s in %.1f s", name, self._setup.device, load_s)
            self.say(protocol.Warm(tuple(self._loaded), load_s))
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _run(self, model: renderer.Renderer, batch: protocol.Render) -> protocol.Done | protocol.Stopped:
        """Renders what is wanted of it, for as long as any of that is."""
        began_s = time.monotonic()
        chunks = self._wanted(batch)
        scratch = Path(self._setup.scratch)
        try:
            if not chunks:
                raise _Withdrawn
            given = [
                np.array(read_frames(scratch / c.given, c.spec.given_frames, c.spec.height_px, c.spec.width_px))
                if c.given
                else None
                for c in chunks
            ]
            clips = model.render([c.spec for c in chunks], given, lambda step, steps: self._step(batch, step, steps))
        except _Withdrawn:
            return protocol.Stopped(batch.batch, time.monotonic() - began_s)
        held_s = time.monotonic() - began_s
        still_wanted = self._wanted(batch)
        for chunk, frames in zip(chunks, clips, strict=True):
            if chunk in still_wanted:
                write_frames(scratch / chunk.frames, frames)
        left_out = tuple(chunk.frames for chunk in batch.chunks if chunk not in chunks)
        return protocol.Done(batch.batch, held_s, left_out)

    def _step(self, batch: protocol.Render, step: int, steps: int) -> None:
        self.say(protocol.Step(batch.batch, step, steps))
        if not self._wanted(batch):
            raise _Withdrawn


def _listen(pipe: BinaryIO, inbox: "queue.SimpleQueue[protocol.Told]", unwanted: Unwanted) -> None:
    while (message := protocol.read_told(pipe)) is not None:
        if isinstance(message, protocol.Withdraw):
            unwanted.add(message)
        else:
            inbox.put(message)
    # The parent is gone; whatever runs on the device is of no use to anyone.
    os._exit(0)


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our ends of the protocol; from now on nobody else can write to them by printing."""
    told, said = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return told, said


def main(parent_pid: int, cpus: str) -> None:
    die_with_parent()
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the running batch.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if cpus and sys.platform == "linux":
        os.sched_setaffinity(0, parse_cpus(cpus))
    told, said = _own_pipes()
    setup = protocol.read_told(told)
    if not isinstance(setup, protocol.Setup):
        sys.exit("no set-up from the parent")
    inbox: queue.SimpleQueue[protocol.Told] = queue.SimpleQueue()
    unwanted = Unwanted()
    threading.Thread(target=_listen, args=(told, inbox, unwanted), daemon=True).start()
    device = Device(setup, said, unwanted)
    device.say(protocol.Ready())
    going = True
    while going:
        match inbox.get():
            case protocol.Load(model):
                going = device.load(model)
            case protocol.Render() as batch:
                going = device.render(batch)
                unwanted.forget(batch.batch)
            case other:
                sys.exit(f"unexpected message: {type(other).__name__}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
