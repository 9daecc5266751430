"""State is read back whole while the leader of some partitions is gone: a table with holes is worse than none, because
what is missing begins anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ops import topics_admin
from ops.bus import clients, table
from ops.settings import Settings
from schemas.topics import Topic
from tests.faults.brokers import Three

ROWS = Topic("rows.of.a.test", None, "Rows.", partitions=12, retention_ms=None)


@pytest.fixture
def three(kafka_jars: str, tmp_path: Path) -> Iterator[Three]:
    nodes = Three(tmp_path / "brokers")
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


def unanswered(settings: Settings) -> int:
    """Partitions of which librdkafka says nothing useful, and no error."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    name = ROWS.name(settings.prefix)
    asked = admin.list_offsets({TopicPartition(name, p): latest for p in range(ROWS.partitions)}, request_timeout=1)
    return sum(answer.exception() is None and answer.result().offset < 0 for answer in asked.values())


def test_a_table_is_whole_or_not_there_while_a_leader_is_gone(three: Three, bare_settings: Settings) -> None:
    settings = bare_settings.replace(bootstrap_servers=three.bootstrap_servers)
    topics_admin.apply(settings, topics_admin.plan(settings, topics=[ROWS]))
    producer = clients.producer(settings)
    rows = {f"row-{number}": str(number).encode() for number in range(600)}
    for key, value in rows.items():
        producer.produce(ROWS.name(settings.prefix), value, key)
    assert producer.flush(30) == 0
    for _ in range(3):  # on a busy machine the others may have noticed before anybody asks
        killed = three.kill()
        if unanswered(settings):
            break
        three.revive(killed)
    else:
        pytest.fail("no leader was away when it was asked: this test shows nothing")
    assert table.load(settings, ROWS) == rows
