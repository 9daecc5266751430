"""Runs stages as child processes: starts them again when they end, keeps their logs, leaves none behind."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops.local import children
from ops.local.restart import RestartPolicy, after_exit
from ops.settings import PREFIX, Settings, SettingsError, parse_address

POLL_S = 0.1
KILL_AFTER_DRAIN_S = 10.0
SHOWN_LINES = 15


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One process of a stage, for the live view."""

    name: str
    """The stage, or "render-2" for the second process of one."""
    state: Literal["running", "waiting", "stopped"]
    """waiting: it ended and is started again after its back-off."""
    pid: int | None
    restarts: int
    since: float
    """Seconds since the epoch when it came into this state."""
    last_exit: int | None
    """Exit status of the last run; -9: killed by signal 9. None before the first end."""


@dataclass(slots=True)
class _Child:
    name: str
    stage: str
    number: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    state: Literal["running", "waiting", "stopped"] = "stopped"
    since: float = 0.0
    started_s: float = 0.0
    start_at_s: float = 0.0
    log_position: int = 0
    restarts: int = 0
    crashes: int = 0
    last_exit: int | None = None


def _child(stage: str, number: int, logs: Path) -> _Child:
    name = stage if number == 1 else f"{stage}-{number}"
    return _Child(name, stage, number, logs / f"{name}.log")


def _check_ports(first: int, count: int) -> None:
    if first + count > 65536:
        raise SettingsError(f"{PREFIX}HEALTH_ADDRESS: {count} processes count ports up from {first}: beyond 65535")


def stage_command(stage: str) -> list[str]:
    """How one process of a stage is started."""
    return [sys.executable, "-m", "ops", "run", stage]


class Supervisor:
    """Keeps the processes of some stages running, as a context manager or by `start` and `stop`.

    stages:  (name, number of processes), in the order of data flow
    command: the command line of a stage
    report:  takes the last log lines of a stage that crashed; default: stderr

    Raises SettingsError when the ports for the health endpoints of all processes do not exist.
    Children are started by a thread of its own, and on Linux end with it: whatever ends this process ends them.
    Their settings travel in the environment, librdkafka's in a file that only the user can read.
    """

    def __init__(
        self,
        stages: Sequence[tuple[str, int]],
        settings: Settings,
        *,
        command: Callable[[str], list[str]] = stage_command,
        policy: RestartPolicy = RestartPolicy(),  # noqa: B008 - frozen
        report: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        data_dir = Path(settings.data_dir).resolve()
        names = [(stage, n) for stage, count in stages for n in range(1, count + 1)]
        self._children = [_child(stage, n, data_dir / "logs") for stage, n in names]
        self._settings = settings
        if settings.health_address:
            _check_ports(parse_address(settings.health_address)[1], len(names))
        self._kafka_file = data_dir / "kafka-client.properties"
        self._command = command
        self._policy = policy
        self._report = report
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._timeout_s = settings.drain_s + KILL_AFTER_DRAIN_S
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Supervisor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every process; returns when each has been started once. A supervisor is started once."""
        environment = self._environment()
        self._thread = threading.Thread(target=self._run, args=(environment,), name="supervisor", daemon=True)
        self._thread.start()
        self._started.wait()

    def stop(self, timeout_s: float | None = None) -> None:
        """SIGTERM to all, readers of a topic before its writers; after timeout_s SIGKILL to what is left. Without
        timeout_s the stages have the time in which they end by themselves (`drain_s`), and a little more."""
        if self._thread is None:
            return
        if timeout_s is not None:
            self._timeout_s = timeout_s
        self._stopping.set()
        self._thread.join()
        self._kafka_file.unlink(missing_ok=True)

    def status(self) -> list[StageStatus]:
        """Every process as it stands."""
        with self._lock:
            return [
                StageStatus(c.name, c.state, c.process.pid if c.process else None, c.restarts, c.since, c.last_exit)
                for c in self._children
            ]

    def kill(self, name: str, signal_number: int) -> int | None:
        """Send a signal to one process. Returns its pid, or None when it does not run now."""
        with self._lock:
            child = next((c for c in self._children if c.name == name), None)
            if child is None:
                raise KeyError(name)
            if child.process is None:
                return None
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, signal_number)
            return child.process.pid

    def _environment(self) -> Mapping[str, str]:
        outside = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        ours = {**self._settings.environment(), "PYTHONUNBUFFERED": "1"}
        if self._settings.kafka:
            self._kafka_file.parent.mkdir(parents=True, exist_ok=True)
            self._kafka_file.unlink(missing_ok=True)
            text = "".join(f"{key}={value}\n" for key, value in self._settings.kafka.items())
            with os.fdopen(os.open(self._kafka_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            ours[PREFIX + "KAFKA"] = str(self._kafka_file)
        return {**outside, **ours}

    def _run(self, environment: Mapping[str, str]) -> None:
        try:
            while not self._stopping.wait(POLL_S if self._started.is_set() else 0):
                now = time.monotonic()
                for child in self._children:
                    self._advance(child, environment, now)
                self._started.set()
        finally:
            self._started.set()
            self._end_all()

    def _advance(self, child: _Child, environment: Mapping[str, str], now: float) -> None:
        crashed = ""
        with self._lock:
            if child.process is not None and child.process.poll() is not None:
                crashed = self._note_exit(child, now)
            if child.process is None and now >= child.start_at_s:
                self._spawn(child, environment, now)
        if crashed:
            self._report(crashed)

    def _spawn(self, child: _Child, environment: Mapping[str, str], now: float) -> None:
        child.restarts += child.last_exit is not None
        if child.number > 1:
            # The name is also the slot of its transactions: two with the same one would fence each other.
            environment = {**environment, PREFIX + "WORKER_ID": child.name}
        if self._settings.health_address:
            environment = {**environment, PREFIX + "HEALTH_ADDRESS": self._health_address(child)}
        child.process = children.spawn(self._command(child.stage), child.log, environment)
        child.log_position = child.log.stat().st_size
        child.state, child.since, child.started_s = "running", time.time(), now

    def _health_address(self, child: _Child) -> str:
        """Each process has a port of its own, counted up from that of the settings; 0 stays 0, any free one."""
        host, port = parse_address(self._settings.health_address)
        number = port + self._children.index(child) if port else 0
        return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"

    def _note_exit(self, child: _Child, now: float) -> str:
        assert child.process is not None
        children.kill_group(child.process.pid)
        child.last_exit = child.process.wait()
        child.process = None
        restart = after_exit(self._policy, child.crashes, child.started_s, now)
        child.crashes, child.start_at_s = restart.crashes, restart.at_s
        child.state, child.since = "waiting", time.time()
        lines = children.tail(child.log, SHOWN_LINES, child.log_position)
        head = f"{child.name} ended with status {child.last_exit}, starting again in {restart.at_s - now:.1f} s"
        return f"{head} (log: {child.log})" + "".join(f"\n  {child.name}: {line}" for line in lines.splitlines())

    def _end_all(self) -> None:
        running = [(c, c.process) for c in reversed(self._children) if c.process is not None]
        for _, process in running:
            process.terminate()
        deadline = time.monotonic() + self._timeout_s
        for _, process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            children.kill_group(process.pid)
        with self._lock:
            for child, process in running:
                child.last_exit, child.process = process.wait(), None
            for child in self._children:
                child.state, child.since = "stopped", time.time()
