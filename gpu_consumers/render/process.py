"""The parent's handle on the device process. No method waits for the child's work."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO

from gpu_consumers.render import protocol
from schemas.errors import Fatal

KILL_TIMEOUT_S = 5.0
Heard = Callable[[protocol.Said], None]
Gone = Callable[[str], None]


class DeviceProcess:
    """heard, gone: called in a thread of this object, with each message and once with the way the process ended.

    Start it in the main thread: the kernel kills the child when the thread that started it ends.
    """

    def __init__(
        self, setup: protocol.Setup, cpus: str, environment: Mapping[str, str], heard: Heard, gone: Gone
    ) -> None:
        self._heard, self._gone = heard, gone
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gpu_consumers.render.child", str(os.getpid()), cpus],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
        )
        self._outbox: queue.SimpleQueue[protocol.Told | None] = queue.SimpleQueue()
        self._outbox.put(setup)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for work, pipe in ((self._talk, self._process.stdin), (self._listen, self._process.stdout)):
            threading.Thread(target=work, args=(pipe,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: protocol.Told) -> None:
        self._outbox.put(message)

    def kill(self) -> None:
        """SIGKILL. Returns once the process is gone, so that it cannot touch scratch files any more; that takes
        milliseconds unless it is stuck in the device's driver: then Fatal, because nothing can use that device."""
        self._process.kill()
        self._outbox.put(None)
        try:
            self._process.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Fatal(
                f"device process {self.pid} survives SIGKILL: its driver hangs, the machine needs care"
            ) from None

    def _talk(self, pipe: BinaryIO) -> None:
        # A child that was stopped does not read: its pipe fills, and this thread waits instead of the main one.
        with contextlib.suppress(OSError), pipe:
            while (message := self._outbox.get()) is not None:
                protocol.write(pipe, message)

    def _listen(self, pipe: BinaryIO) -> None:
        with pipe:
            while (message := protocol.read_said(pipe)) is not None:
                self._heard(message)
        status = self._process.wait()
        self._outbox.put(None)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self._gone(f"the device process {how}")


def environment(threads: int) -> dict[str, str]:
    """The environment of a device process: ours, with `threads` compute threads that do not spin while they wait (two
    spinning processes on two cores were 20 times slower, measured)."""
    count = str(max(1, threads))
    pools = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
    return {**os.environ, **pools, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def parse_cpus(text: str) -> set[int]:
    """ "0-2,5" -> {0, 1, 2, 5}; "" -> none. Raises Fatal."""
    try:
        spans = [part.split("-") for part in text.split(",") if text]
        return {cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1)}
    except ValueError:
        raise Fatal(f"device_cpus={text!r}: expected CPU numbers such as 1 or 0-3 or 0,2") from None
