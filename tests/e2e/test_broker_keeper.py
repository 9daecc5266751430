"""The broker that `reelbus up` keeps running: it comes back after a kill, and never outlives who started it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ops.local import ports
from ops.local.broker_keeper import BrokerKeeper
from ops.local.kafka import LocalKafkaError
from ops.local.restart import RestartPolicy
from tests.e2e import waiting
from tests.e2e.waiting import alive

pytestmark = pytest.mark.kafka
WAIT_S = 120.0
until = partial(waiting.until, within_s=WAIT_S)
QUICK = RestartPolicy(first_s=0.1, most_s=0.4, healthy_s=600.0)
# What `reelbus up` is to its broker.
HOLDER = """
import sys
from ops.local.broker_keeper import BrokerKeeper
with BrokerKeeper(sys.argv[1], "auto", report=lambda _: None) as keeper:
    print(keeper.kafka.pid, flush=True)
    sys.stdin.read()
"""


def kill(keeper: BrokerKeeper) -> int:
    pid = keeper.kafka.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def back(keeper: BrokerKeeper, said: list[str], times: int) -> Callable[[], bool]:
    return lambda: keeper.kafka.pid is not None and sum("answers again" in text for text in said) == times


def test_a_killed_broker_comes_back_on_its_port_with_its_data(kafka_jars: str, tmp_path: Path) -> None:
    said: list[str] = []
    with BrokerKeeper(tmp_path, "auto", policy=QUICK, report=said.append) as keeper:
        servers = {"bootstrap.servers": keeper.kafka.bootstrap_servers}
        admin = AdminClient(servers)
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
        producer = Producer({**servers, "acks": "all"})
        for times in (1, 2):
            producer.produce("kept", f"{times}".encode(), partition=0)
            assert producer.flush(30) == 0
            first = kill(keeper)
            until(back(keeper, said, times), f"the broker answers for the {times}. time")
            assert keeper.kafka.pid != first
            assert keeper.kafka.bootstrap_servers == servers["bootstrap.servers"]
        producer.produce("kept", b"3", partition=0)
        assert producer.flush(60) == 0, "a client that was there before goes on by itself"
        consumer = Consumer({**servers, "group.id": "g"})
        consumer.assign([TopicPartition("kept", 0, 0)])
        values = [message.value() for message in consumer.consume(3, 30)]
        consumer.close()
        assert values == [b"1", b"2", b"3"]
        delays = [text.partition(" in ")[2][:3] for text in said if "starting it again" in text]
        assert delays == ["0.1", "0.2"]
        last = keeper.kafka.pid
    assert last is not None
    assert not alive(last)
    assert (tmp_path / "kafka" / "log" / ".kafka_cleanshutdown").exists(), "its end was an orderly one"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent death signal")
def test_the_broker_lives_as_long_as_the_process_and_no_longer(kafka_jars: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.kill()
    process.communicate()
    until(lambda: not alive(pid), "the broker died with its parent")


def test_a_stop_while_it_is_started_again_leaves_nothing(kafka_jars: str, tmp_path: Path) -> None:
    said: list[str] = []
    keeper = BrokerKeeper(tmp_path, "auto", policy=QUICK, report=said.append).start()
    first, port = kill(keeper), keeper.kafka.port
    until(lambda: keeper.kafka.pid not in (None, first), "the next broker is starting")
    second = keeper.kafka.pid
    keeper.stop()
    assert second is not None
    assert not alive(second)
    assert ports.is_free(port)
    assert not any("answers again" in text or "could not" in text for text in said)


def test_what_keeps_it_from_starting_again_is_told_and_tried_again(kafka_jars: str, tmp_path: Path) -> None:
    said: list[str] = []
    with BrokerKeeper(tmp_path, "auto", policy=QUICK, report=said.append) as keeper:
        mark = tmp_path / "kafka" / "log" / "meta.properties"
        sound = mark.read_text()
        mark.write_text("version=1\ncluster.id=other\nnode.id=7\n")
        kill(keeper)
        until(lambda: any("could not be started again: the local broker ended" in text for text in said), "a failure")
        mark.write_text(sound)
        until(back(keeper, said, 1), "the broker answers")


def test_a_first_start_that_fails_is_the_callers_error(kafka_jars: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((ports.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        keeper = BrokerKeeper(tmp_path, port, report=lambda _: None)
        with pytest.raises(LocalKafkaError, match=f"port {port} is taken"):
            keeper.start()
        keeper.stop()
