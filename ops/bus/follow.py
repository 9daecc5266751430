"""A compacted topic that operators write, followed by a process whose engine is not ours to poll in (Faust).

It is read to its end before the stage starts, then a thread of its own goes on. There is no group and nothing is
committed: every process reads all of it. A thread that can no longer read ends the process, since what it would miss is
what operators have forbidden.
"""

import logging
import threading
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from ops.bus import clients, table
from ops.bus.process import stop_uncommitted
from ops.settings import Settings
from schemas.errors import InvalidMessage
from schemas.topics import Topic

log = logging.getLogger(__name__)
Put = Callable[[str, bytes | None], None]
"""Takes the last record of a key, None for a tombstone. Raises InvalidMessage for what it cannot be."""
WAIT_S = 0.5


def follow(settings: Settings, topic: Topic, put: Put) -> None:
    """Give `put` every key's last record, and go on in a thread until the process ends. Raises Transient when the topic
    cannot be read. What is no such record is logged and changes nothing."""
    name = topic.name(settings.prefix)
    consumer = clients.consumer(settings, f"{clients.group_id(settings, 'table')}-reader")
    partitions = range(table.partition_count(consumer, name))
    # Before it is read: what is written in between is seen twice, not never.
    places = [TopicPartition(name, partition, end) for partition, end in table.ends(settings, name, partitions).items()]
    for key, raw in table.load(settings, topic).items():
        _take(name, put, key, raw)
    consumer.assign(places)
    threading.Thread(target=_go_on, args=(consumer, name, put), name=f"follow {name}", daemon=True).start()


def _go_on(consumer: Consumer, name: str, put: Put) -> None:
    try:
        while True:
            for message in consumer.consume(100, WAIT_S):
                if message.error() is not None:
                    log.warning("%s: %s", name, message.error())
                    continue
                _take(name, put, (message.key() or b"").decode(errors="replace"), message.value())
    except Exception as exc:  # whatever it is, the process must not go on without what comes next
        stop_uncommitted(f"can no longer follow {name}: {exc}")


def _take(name: str, put: Put, key: str, raw: bytes | None) -> None:
    try:
        put(key, raw)
    except InvalidMessage as exc:
        log.warning("passed over key %r of %s: %s", key[:80], name, exc)
