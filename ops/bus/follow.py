"""A compacted topic that operators write, followed by a process whose engine is not ours to poll in (Faust).

It is read to its end before the stage starts, then a thread of its own goes on. There is no group and nothing is
committed: every process reads all of it. A thread that can no longer read ends the process, since what it would miss is
what operators have forbidden.
"""

import logging
import threading

from confluent_kafka import Consumer

from ops.bus import clients
from ops.bus.levels import Levels, Put
from ops.bus.process import stop_uncommitted
from ops.bus.sending import incoming
from ops.settings import Settings
from schemas.topics import Topic

log = logging.getLogger(__name__)
WAIT_S = 0.5


def follow(settings: Settings, topic: Topic, put: Put) -> None:
    """Give `put` every key's last record, and go on in a thread until the process ends. Raises Transient when the topic
    cannot be read."""
    name = topic.name(settings.prefix)
    consumer = clients.consumer(settings, f"{clients.group_id(settings, 'table')}-reader")
    levels = Levels(settings, consumer, {topic: put})
    consumer.assign(levels.places)
    threading.Thread(target=_go_on, args=(consumer, levels, name), name=f"follow {name}", daemon=True).start()


def _go_on(consumer: Consumer, levels: Levels, name: str) -> None:
    try:
        while True:
            for message in consumer.consume(100, WAIT_S):
                if message.error() is not None:
                    log.warning("%s: %s", name, message.error())
                else:
                    levels.take([incoming(message)])
    except Exception as exc:  # whatever it is, the process must not go on without what comes next
        stop_uncommitted(f"can no longer follow {name}: {exc}")
