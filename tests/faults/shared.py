"""What runs of the self-check share: one broker and one S3 server, on which each run has a pipeline of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.storage.local_s3 import serve
from schemas.errors import Transient
from tests.faults import stack
from tests.faults.brokers import Brokers, brokers
from tests.faults.proxy import FaultProxy
from tests.faults.scenarios import Scenario
from tests.faults.stack import Say, Stack

WAKE_S = 90.0
CREATING = threading.Lock()
"""Topics of one run at a time: the broker is slow when several hundred are made at once."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all runs share."""

    folder: Path
    broker: Brokers
    proxy: FaultProxy
    store_url: str
    """The S3 server without the proxy."""


@contextmanager
def services(folder: Path, seed: int, say: Say) -> Iterator[Services]:
    """One broker, one S3 server behind a proxy that breaks nothing."""
    gateway = folder / "s3"
    gateway.mkdir()
    with serve(gateway, say) as endpoint, FaultProxy(endpoint.url, seed) as proxy, brokers(folder / "broker", 1) as one:
        stack.credentials(endpoint)
        _wake_groups(one.bootstrap_servers)
        yield Services(folder, one, proxy, endpoint.url)


def _wake_groups(bootstrap_servers: str) -> None:
    """Until the broker has made the topic of offsets.

    The check crashed three times in librdkafka 2.16.1 (SIGSEGV) while it asked for groups' offsets before that.
    """
    asks = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "wake-up", "log_level": 0})
    until_s = time.monotonic() + WAKE_S
    while True:
        try:
            asks.committed([TopicPartition("wake-up", 0)], timeout=10)
            break
        except KafkaException:
            if time.monotonic() > until_s:
                raise
    asks.close()


def installation(shared: Services, name: str, scenario: Scenario, say: Say) -> Stack:
    """A pipeline of its own on the services: topics, bucket, settings. Its stages are not started."""
    folder = shared.folder / name
    folder.mkdir()
    objects = shared.folder / "s3" / name
    objects.mkdir()
    settings = stack.settings_for(folder, shared.broker, f"s-{name}", f"s3://{name}", shared.proxy.url)
    with CREATING:
        for last in (False, False, True):
            try:
                stack.create_topics(settings)
                break
            except Transient:  # the broker is slow on a busy machine; what is created already stays
                if last:
                    raise
    made = Stack(
        folder, settings, settings.replace(s3_endpoint_url=shared.store_url), shared.broker, shared.proxy, objects, say
    )
    made.counts = {stage: scenario.counts.get(stage, 1) for stage in stack.PROCESSES}
    return made


def delete_topics(shared: Services, prefix: str) -> None:
    """Thousands of partitions that nobody needs any more would make the broker slow."""
    admin = AdminClient({"bootstrap.servers": shared.broker.bootstrap_servers, "log_level": 0})
    names = [name for name in admin.list_topics(timeout=60).topics if f"{prefix}." in name]
    for deleted in admin.delete_topics(names, operation_timeout=60, request_timeout=70).values():
        with suppress(KafkaException):  # then they are in nobody's way but the broker's
            deleted.result()
