"""Carries out a schedule on a running stack. Runs in the main thread, because children die with their parent thread."""

import heapq
import itertools
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ops.local import children
from ops.local.children import kill_group
from tests.faults.schedule import Fault
from tests.faults.stack import Stack

STORM_EVERY_S = 5.0
STORE_RATE = 0.15
DRAIN_S = 40.0
"""Longest that a process may take to end after SIGTERM; a step of the fake device and 10 s is what is promised."""
SHOWN_LINES = 120
Undo = Callable[[], None]


@dataclass
class Injected:
    """What was done, for the report."""

    counts: Counter[str] = field(default_factory=Counter)
    kills: list[tuple[float, str]] = field(default_factory=list)
    """Moment (wall clock, s) and process of every SIGKILL that hit a stage."""
    broker: list[tuple[float, float]] = field(default_factory=list)
    """Moments when the broker was killed, and was up again."""
    drains_s: list[float] = field(default_factory=list)
    slow_drains: dict[str, str] = field(default_factory=dict)
    """Last lines in the log of a process that did not end in time after SIGTERM, its stacks among them."""
    skipped: Counter[str] = field(default_factory=Counter)


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL, and wait until it is gone."""
    process.kill()
    process.wait()


class Injector:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.done = Injected()
        self._later: list[tuple[float, int, Undo]] = []
        self._numbers = itertools.count()

    def run(self, faults: Sequence[Fault], began_s: float, meanwhile: Undo = lambda: None) -> None:
        """Do everything when it is due (seconds after `began_s` of the monotonic clock), later if one took its time."""
        for fault in faults:
            self._wait(began_s + fault.at_s, meanwhile)
            self.stack.say(f"{time.monotonic() - began_s:6.1f} s  {fault.kind} {fault.target} {fault.length_s or ''}")
            self.done.counts[fault.kind] += 1
            fault_s = time.monotonic()
            getattr(self, "_" + fault.kind.replace("-", "_"))(fault)
            if fault.kind in ("broker", "wipe", "rolling"):
                # What follows keeps its distance, however long a busy machine took to have the broker back.
                began_s += max(0.0, time.monotonic() - fault_s - fault.length_s)
        while self._later:
            self._wait(self._later[0][0], meanwhile)

    def _wait(self, until_s: float, meanwhile: Undo) -> None:
        while (now_s := time.monotonic()) < until_s or (self._later and self._later[0][0] <= now_s):
            self._undo(now_s)
            meanwhile()
            time.sleep(min(0.1, max(0.0, until_s - time.monotonic())))

    def _undo(self, now_s: float) -> None:
        """End faults whose time is over."""
        while self._later and self._later[0][0] <= now_s:
            heapq.heappop(self._later)[2]()

    def _after(self, delay_s: float, undo: Undo) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._numbers), undo))

    # ---- one fault each --------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> None:
        if self.stack.signal(fault.target, signal.SIGKILL):
            self.done.kills.append((time.time(), fault.target))
        else:
            self.done.skipped["kill: the process was not running"] += 1

    def _term(self, fault: Fault) -> None:
        self.stack.signal(fault.target, signal.SIGTERM)

    def _freeze(self, fault: Fault) -> None:
        self.stack.signal(fault.target, signal.SIGSTOP)
        pid = self.stack.processes().get(fault.target)

        def thaw() -> None:
            with suppress(ProcessLookupError, TypeError):
                os.kill(pid, signal.SIGCONT)  # type: ignore[arg-type]

        self._after(fault.length_s, thaw)

    def _broker(self, fault: Fault) -> None:
        began, broker = time.time(), self.stack.broker
        number = broker.kill()
        if not broker.outage_is_total:
            self.done.broker.append((began, began))
            self._after(fault.length_s, lambda: broker.revive(number))
            return
        time.sleep(fault.length_s)  # this is the fault
        broker.revive(number)
        self.done.broker.append((began, time.time()))

    def _store(self, fault: Fault) -> None:
        self.stack.proxy.rate = STORE_RATE

        def heal() -> None:
            self.stack.proxy.rate = 0.0

        self._after(fault.length_s, heal)

    def _storm(self, fault: Fault) -> None:
        for number in range(int(fault.length_s / STORM_EVERY_S)):
            self._after(number * STORM_EVERY_S, lambda n=number: self._join(fault.target, n))  # type: ignore[misc]

    def _join(self, stage: str, number: int) -> None:
        guest = self.stack.extra(stage, number)

        def leave() -> None:
            if number % 2:
                guest.terminate()
                self._after(10.0, lambda: end(guest))
            else:
                end(guest)

        self._after(STORM_EVERY_S * 1.5, leave)

    def _clock(self, fault: Fault) -> None:
        self.stack.clock_file.write_text(str(fault.amount))
        self._after(fault.length_s, lambda: self.stack.clock_file.write_text("0") and None)

    def _disk_full(self, fault: Fault) -> None:
        ballast = self.stack.fill_disk()
        if ballast is None:
            self.done.skipped["disk full: no file system could be mounted"] += 1
            return
        self._after(fault.length_s, lambda: ballast.unlink(missing_ok=True))

    def _wipe(self, fault: Fault) -> None:
        self.done.kills += [(time.time(), name) for name, pid in self.stack.processes().items() if pid]
        self.stack.wipe()

    def _device_kill(self, fault: Fault) -> None:
        if (pid := self.stack.device_of(fault.target)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _rolling(self, fault: Fault) -> None:
        """SIGTERM to every process in turn, as a rolling upgrade does."""
        for name, pid in self.stack.processes().items():
            if pid is None or not self.stack.signal(name, signal.SIGTERM):
                continue
            began_s = time.monotonic()
            while self.stack.processes().get(name) == pid and time.monotonic() - began_s < DRAIN_S:
                self._undo(time.monotonic())  # it may be frozen
                time.sleep(0.05)
            self.done.drains_s.append(round(time.monotonic() - began_s, 2))
            if self.stack.processes().get(name) == pid:
                self.done.slow_drains[name] = self._stacks(name)
                kill_group(pid)

    def _stacks(self, name: str) -> str:
        """Where the threads of a process are."""
        self.stack.signal(name, signal.SIGUSR1)
        log, until_s = Path(self.stack.settings.data_dir) / "logs" / f"{name}.log", time.monotonic() + 5.0
        while "most recent call first" not in (text := children.tail(log, SHOWN_LINES)) and time.monotonic() < until_s:
            time.sleep(0.05)
        return text
