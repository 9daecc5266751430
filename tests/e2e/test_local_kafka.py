"""The local broker: keeps its data, never runs twice on one directory, leaves no process behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ops.local import jars, ports
from ops.local.kafka import LocalKafka, LocalKafkaError
from schemas.errors import Fatal
from tests.e2e import waiting
from tests.e2e.waiting import alive

pytestmark = pytest.mark.kafka
# Runs a broker as `reelbus up` would, says so, and then waits to be killed.
HOLDER = """
import sys, time
from ops.local.kafka import LocalKafka
with LocalKafka(sys.argv[1], "auto") as kafka:
    print(kafka.pid, kafka.port, flush=True)
    sys.stdin.read()
"""
WAIT_S = 30.0
until = partial(waiting.until, within_s=WAIT_S)


@pytest.fixture
def holder(kafka_jars: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Another process that runs a broker on tmp_path/data; its pid and port."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "data")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, port = map(int, process.stdout.readline().split())
    yield process, pid, port
    process.kill()
    process.communicate()


def test_data_and_cluster_survive_a_kill_and_a_restart_on_another_port(kafka_jars: str, tmp_path: Path) -> None:
    with LocalKafka(tmp_path, "auto") as kafka:
        first = kafka.bootstrap_servers
        admin = AdminClient({"bootstrap.servers": first})
        cluster = admin.describe_cluster().result().cluster_id
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
        producer = Producer({"bootstrap.servers": first, "acks": "all"})
        producer.produce("kept", b"value")
        assert producer.flush(10) == 0
        assert kafka.pid is not None
        os.kill(kafka.pid, signal.SIGKILL)
        until(lambda: kafka.pid is None, "the broker ended")
    with LocalKafka(tmp_path, "auto") as kafka:
        servers = {"bootstrap.servers": kafka.bootstrap_servers}
        assert AdminClient(servers).describe_cluster().result().cluster_id == cluster
        consumer = Consumer({**servers, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition("kept", 0, 0)])
        record = consumer.poll(10)
        consumer.close()
        assert record is not None
        assert record.value() == b"value"


def test_stop_ends_the_process_in_an_orderly_way(kafka_jars: str, tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path, "auto").start()
    pid, port = kafka.pid, kafka.port
    assert pid is not None
    assert not ports.is_free(port)
    kafka.stop()
    kafka.stop()
    assert not alive(pid)
    assert ports.is_free(port)
    # Kafka writes this mark at the end of an orderly shutdown only; without it the next start has to recover.
    assert (tmp_path / "kafka" / "log" / ".kafka_cleanshutdown").exists()
    assert not (tmp_path / "kafka.pid").exists()


def test_it_listens_on_loopback_only(kafka_jars: str, tmp_path: Path) -> None:
    with LocalKafka(tmp_path, "auto"):
        listeners = (tmp_path / "kafka" / "server.properties").read_text()
        addresses = [line for line in listeners.splitlines() if line.startswith(("listeners=", "advertised"))]
        assert all(part.startswith("//127.0.0.1:") for line in addresses for part in line.split("PLAINTEXT:")[1:])
        tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        port = next(int(line.rpartition(":")[2]) for line in addresses if line.startswith("advertised"))
        holding = [c for t in tables for c in (row.split() for row in t) if c[3] == "0A" and f":{port:04X}" in c[1]]
        assert [c[1].partition(":")[0][-8:] for c in holding] == ["0100007F"]


def test_a_taken_port_is_named_with_its_owner(kafka_jars: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((ports.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalKafkaError, match=rf"port {port} is taken by pid {os.getpid()} \("):
            LocalKafka(tmp_path, port).start()


def test_a_second_broker_on_the_same_directory_is_refused(
    holder: tuple[subprocess.Popen[str], int, int], tmp_path: Path
) -> None:
    process, pid, _ = holder
    with pytest.raises(LocalKafkaError, match=f"process {process.pid} already runs the broker"):
        LocalKafka(tmp_path / "data", "auto").start()
    assert alive(pid)


def test_kill_minus_nine_of_the_parent_leaves_no_broker_and_the_directory_usable(
    holder: tuple[subprocess.Popen[str], int, int], tmp_path: Path
) -> None:
    process, pid, port = holder
    process.kill()
    process.wait()
    until(lambda: not alive(pid), "the broker died with its parent")
    with LocalKafka(tmp_path / "data", port) as again:
        assert again.port == port


def test_an_orphan_is_ended_before_a_new_start(kafka_jars: str, tmp_path: Path) -> None:
    """An orphan is what a killed parent leaves where the kernel has no death signal: here made by hand."""
    first = LocalKafka(tmp_path, "auto").start()
    orphan = first.pid
    assert orphan is not None
    assert first._lock is not None
    first._lock.close()  # what the kernel does when the parent is killed
    with LocalKafka(tmp_path, "auto") as second:
        assert not alive(orphan)
        assert second.pid not in (None, orphan)
    first._process = None


def test_a_foreign_process_in_the_pid_file_is_left_alone(kafka_jars: str, tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    (tmp_path / "kafka.pid").write_text(str(other.pid))
    with LocalKafka(tmp_path, "auto"):
        assert other.poll() is None
    other.communicate()
    assert other.returncode == 0


def test_a_failed_start_shows_the_brokers_log(kafka_jars: str, tmp_path: Path) -> None:
    with LocalKafka(tmp_path, "auto"):
        pass
    (tmp_path / "kafka" / "log" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=7\n")
    with pytest.raises(LocalKafkaError, match=r"(?s)ended with status 1\. Last lines of .*kafka\.log:.*node id"):
        LocalKafka(tmp_path, "auto").start()
    assert not (tmp_path / "kafka.pid").exists()


def test_only_the_locked_jars_are_installed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jar", tmp_path / "bad.jar"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")
    lock = jars.read_lock("770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c  good.jar\n")
    with pytest.raises(Fatal, match=r"bad\.jar: sha256 .* not in the list"):
        jars.install([good, bad], lock, tmp_path / "cache" / "v")
    with pytest.raises(Fatal, match=r"gave no good\.jar"):
        jars.install([], lock, tmp_path / "cache" / "v")
    assert list((tmp_path / "cache").iterdir()) == []
    jars.install([good], lock, tmp_path / "cache" / "v")
    jars.install([good], lock, tmp_path / "cache" / "v")
    assert [p.name for p in (tmp_path / "cache" / "v").iterdir()] == ["good.jar"]
    good.write_bytes(b"tampered")
    with pytest.raises(Fatal, match=r"good\.jar: sha256"):
        jars.install([good], lock, tmp_path / "cache" / "v")
