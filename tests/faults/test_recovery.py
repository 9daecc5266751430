"""Recovery times from records of commits."""

import struct

import pytest

from tests.faults.recovery import Commit, Recovery, _parse, percentile, recoveries

TOPIC = "f.mux.tasks.v1"
PLACE = ("f.mux", TOPIC, 0)
CAME = {(TOPIC, 0): [1.0, 2.0, 3.0, 9.0]}
"""Records 0 to 3 came at these moments."""


def commit(offset: int, at_s: float) -> Commit:
    return Commit(PLACE, offset, at_s)


def packed(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def test_a_kill_is_measured_to_the_next_commit_that_moves_on() -> None:
    history = [commit(1, 3.5), commit(1, 5.0), commit(2, 6.5), commit(3, 7.0)]
    assert recoveries([(4.0, "mux-2")], history, CAME) == [Recovery(2.5, 4.0, "mux-2", TOPIC, 0)]


def test_a_kill_with_nothing_to_do_is_not_measured() -> None:
    history = [commit(3, 3.5), commit(4, 9.5)]
    assert recoveries([(4.0, "mux")], history, CAME) == []


def test_only_partitions_of_the_killed_stage_count() -> None:
    history = [commit(1, 3.5), commit(3, 6.0), Commit(("f.notify", "f.jobs.finished.v1", 0), 1, 3.0)]
    assert recoveries([(4.0, "notify")], history, CAME) == []


@pytest.mark.parametrize("waits", ["f.mux.tasks.retry.1m.v1", "f.plans.parked.v1"])
def test_a_record_that_is_meant_to_wait_is_not_measured(waits: str) -> None:
    history = [Commit(("f.mux", waits, 0), 1, 3.5), Commit(("f.mux", waits, 0), 2, 62.0)]
    assert recoveries([(4.0, "mux")], history, {(waits, 0): [1.0, 2.0]}) == []


def test_what_falls_into_an_outage_of_the_broker_is_left_out() -> None:
    history = [commit(1, 3.5), commit(3, 9.0)]
    assert recoveries([(4.0, "mux")], history, CAME, outages=[(5.0, 8.0)]) == []
    assert recoveries([(4.0, "mux")], history, CAME, outages=[(9.5, 12.0)]) == [Recovery(5.0, 4.0, "mux", TOPIC, 0)]


def test_who_never_recovers_is_not_measured_here_but_left_to_the_checker() -> None:
    assert recoveries([(4.0, "mux")], [commit(1, 3.5)], CAME) == []


def test_a_record_of_the_offsets_topic_is_read() -> None:
    key = struct.pack(">h", 1) + packed("f.mux") + packed(TOPIC) + struct.pack(">i", 3)
    value = struct.pack(">hqi", 3, 42, -1) + packed("") + struct.pack(">q", 7)
    assert _parse(key, value, 5.0) == Commit(("f.mux", TOPIC, 3), 42, 5.0)
    assert _parse(struct.pack(">h", 2) + packed("f.mux"), b"", 5.0) is None


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 6.0), (0.95, 10.0), (1.0, 10.0)])
def test_percentiles(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], share) == value
    assert percentile([], share) == 0.0
