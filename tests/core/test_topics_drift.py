"""What `reelbus topics drift` finds beyond the plan, without a broker."""

from dataclasses import replace

import pytest

from ops.topics_drift import Drift, FoundTopic, of_topics
from ops.topics_wanted import Wanted

CLOCK = "message.timestamp.type"
PLAIN = Wanted("p.a.v1", 4, {"retention.ms": "1000"})
TIMED = Wanted("p.b.v1", 4, {"retention.ms": "1000", CLOCK: "LogAppendTime"})
STATE = Wanted("p.c.v1", 4, {"cleanup.policy": "compact"}, fixed=True)


def found(want: Wanted, **changes: object) -> FoundTopic:
    """The topic as `apply` makes it on three brokers, with changes."""
    effective = {CLOCK: "CreateTime", "segment.bytes": "1073741824", **want.config}
    return replace(FoundTopic(want.partitions, 3, want.config, effective), **changes)  # type: ignore[arg-type]


def drift(want: Wanted, have: FoundTopic, replication: int = 3) -> list[Drift]:
    return of_topics([want], {want.name: have}, replication)


@pytest.mark.parametrize("want", [PLAIN, TIMED, STATE])
def test_a_topic_as_it_should_be_is_no_drift(want: Wanted) -> None:
    assert drift(want, found(want)) == []


def test_what_the_plan_tells_is_not_told_twice() -> None:
    """A missing topic, too few partitions, a fixed count that differs, a wrong value of a wanted setting."""
    assert of_topics([PLAIN], {}, 3) == []
    assert drift(PLAIN, found(PLAIN, partitions=2)) == []
    assert drift(STATE, found(STATE, partitions=8)) == []
    wrong = {"retention.ms": "7"}
    assert drift(PLAIN, found(PLAIN, overrides=wrong, effective=wrong)) == []


def test_more_partitions_are_told_as_allowed() -> None:
    assert drift(PLAIN, found(PLAIN, partitions=9)) == [
        Drift("partitions", "p.a.v1", "9 partitions, the table says 4: more are allowed")
    ]


@pytest.mark.parametrize("replicas", [1, 5])
def test_another_replication_factor_is_told(replicas: int) -> None:
    assert drift(PLAIN, found(PLAIN, replicas=replicas)) == [
        Drift("replication", "p.a.v1", f"{replicas} replicas, expected 3")
    ]


def test_settings_made_by_hand_are_told_by_name() -> None:
    have = found(PLAIN, overrides={**PLAIN.config, "segment.bytes": "9", "max.message.bytes": "8"})
    assert drift(PLAIN, have) == [
        Drift("extra-setting", "p.a.v1", "max.message.bytes=8 is set on the topic, the table does not"),
        Drift("extra-setting", "p.a.v1", "segment.bytes=9 is set on the topic, the table does not"),
    ]


def test_a_clock_that_the_brokers_default_makes_another_is_told_once() -> None:
    """Stages take the time of most records for the sender's; a default of LogAppendTime would make it the broker's."""
    by_default = {**PLAIN.config, CLOCK: "LogAppendTime"}
    told = drift(PLAIN, found(PLAIN, effective=by_default))
    assert told == [Drift("setting", "p.a.v1", f"{CLOCK}=LogAppendTime by the brokers' default; expected CreateTime")]
    on_the_topic = drift(PLAIN, found(PLAIN, overrides=by_default, effective=by_default))
    assert [one.kind for one in on_the_topic] == ["extra-setting"]
    assert drift(TIMED, found(TIMED, effective={**TIMED.config, CLOCK: "CreateTime"})) == []
