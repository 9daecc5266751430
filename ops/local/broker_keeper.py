"""Keeps the local broker running: starts it again when it dies, on the same port and data, with back-off."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ops.local import children
from ops.local.kafka import LocalKafka
from ops.local.restart import RestartPolicy, after_exit
from schemas.errors import PipelineError

POLL_S = 0.1
SHOWN_LINES = 5
STOP_TIMEOUT_S = 30.0


class BrokerKeeper:
    """The broker of one data directory, kept alive between `start` and `stop`.

    port, data_dir: as for LocalKafka
    report: told, in one sentence, when the broker died, when it could not be started, and when it answers again

    The broker is started by a thread of this object, which lives until `stop`: on Linux a child dies with the thread
    that started it. Whatever ends this process therefore ends the broker.
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int | Literal["auto"],
        *,
        policy: RestartPolicy = RestartPolicy(),  # noqa: B008 - frozen
        report: Callable[[str], None],
    ) -> None:
        self.kafka = LocalKafka(data_dir, port)
        self._policy, self._report = policy, report
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker-keeper", daemon=True)

    def __enter__(self) -> "BrokerKeeper":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> "BrokerKeeper":
        """Start the broker and wait until it answers. Raises LocalKafkaError when it cannot run; then nothing runs."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Stop keeping, then Kafka's own orderly shutdown. Also while it is being started."""
        self._stopping.set()
        self.kafka.interrupt()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            began_s = time.monotonic()
            self.kafka.start()
        except BaseException as exc:  # it is raised by `start`, in the thread that waits for it
            self._failure = exc
            return
        finally:
            self._started.set()
        try:
            self._keep(began_s)
        finally:
            self.kafka.stop()

    def _keep(self, began_s: float) -> None:
        crashes = 0
        while not self._stopping.wait(POLL_S):
            if self.kafka.pid is not None:
                continue
            ended_s = time.monotonic()
            again = after_exit(self._policy, crashes, began_s, ended_s)
            crashes = again.crashes
            self._report(self._obituary(again.at_s - ended_s))
            if self._stopping.wait(again.at_s - ended_s):
                return
            began_s = time.monotonic()
            try:
                self.kafka.restart()
            except (PipelineError, OSError) as exc:
                if not self._stopping.is_set():
                    self._report(f"Kafka could not be started again: {exc}")
                continue
            self._report(f"Kafka answers again at {self.kafka.bootstrap_servers}")

    def _obituary(self, in_s: float) -> str:
        lines = children.tail(self.kafka.log, SHOWN_LINES)
        head = f"Kafka is not running, starting it again in {in_s:.1f} s (log: {self.kafka.log})"
        return head + "".join(f"\n  kafka: {line}" for line in lines.splitlines())
