"""What an owner of a partition reads while a transaction of the owner before it is still open, on the real broker."""

from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from confluent_kafka import TopicPartition

from ops.bus import clients, table
from ops.bus.offsets import await_stable
from ops.settings import Settings
from schemas.topics import JOBS_EVENTS, JOBS_STATE

pytestmark = pytest.mark.kafka
LONG_ENOUGH_S = 3.0
"""For a reader that does not wait to come back without the row."""


def test_rows_of_an_open_transaction_are_waited_for(settings: Settings) -> None:
    producer = clients.transactional_producer(settings, "frozen")
    producer.begin_transaction()
    producer.produce(JOBS_STATE.name(settings.prefix), key=b"acme/a", value=b"row", partition=0)
    producer.flush(30)
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(table.load, settings, JOBS_STATE, [0])
        wait([loading], LONG_ENOUGH_S)
        producer.commit_transaction(30)
        assert loading.result() == {"acme/a": b"row"}


def test_offsets_of_an_open_transaction_are_waited_for(settings: Settings) -> None:
    """The frozen owner's offsets are with the broker, its commit is not."""
    group, name = clients.group_id(settings, "track"), JOBS_EVENTS.name(settings.prefix)
    owner, successor = clients.consumer(settings, group), clients.consumer(settings, group)
    producer = clients.transactional_producer(settings, "frozen")
    producer.begin_transaction()
    place = TopicPartition(name, 0, 7)
    producer.send_offsets_to_transaction([place], owner.consumer_group_metadata(), 30)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(await_stable, successor, [TopicPartition(name, 0)])
        done, _ = wait([waiting], LONG_ENOUGH_S)
        assert not done
        producer.commit_transaction(30)
        waiting.result()
    assert successor.committed([TopicPartition(name, 0)], timeout=30)[0].offset == 7
    owner.close()
    successor.close()
