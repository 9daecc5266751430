"""A few thousand mutated records: no stage ends, none is lost, good jobs between them are finished."""

from pathlib import Path

import pytest

from ops.local.kafka import LocalKafka
from tests.fuzz.records import records, topics
from tests.fuzz.run import fuzz, settings_in

RECORDS = 1000


def test_the_same_seed_makes_the_same_records() -> None:
    one, same, other = (list(records(seed, 300)) for seed in (7, 7, 8))
    assert one == same != other
    assert {record.topic for record in one} == set(topics())
    assert {record.bad for record in one} == {True, False}
    assert [record.number for record in one] == list(range(300))


@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_no_record_ends_a_stage_or_gets_lost(broker: LocalKafka, tmp_path: Path) -> None:
    report = fuzz(settings_in(tmp_path, broker.bootstrap_servers, "fuzz"), 3, RECORDS, print)
    assert report.exits == dict.fromkeys(report.exits, 0)
    assert (report.unaccounted, report.examples) == (0, [])
    assert (report.not_sent, report.unread) == (0, 0)
    assert report.jobs == RECORDS // 1000
    assert report.jobs_unfinished == []
    assert report.undecodable > RECORDS // 2
    assert report.dead_letters + report.rejections >= report.undecodable
