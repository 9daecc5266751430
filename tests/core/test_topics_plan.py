"""What `reelbus topics plan` finds, without a broker."""

from dataclasses import replace

import pytest

from ops.topics_admin import Change, Found, compare
from ops.topics_wanted import Wanted, wanted, wanted_replies
from schemas.tenants import TenantEntry, TenantsFile
from schemas.topics import HOUR_MS, JOBS_EVENTS, JOBS_FINISHED, JOBS_REQUESTED, JOBS_STATE, LIVE_TOPICS, WORKERS_STATE

PLAIN = Wanted("p.a.v1", 4, {"retention.ms": "1000"})
FIXED = Wanted("p.b.v1", 4, {"cleanup.policy": "compact"}, fixed=True)


def actions(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.topic, change.action) for change in changes]


@pytest.mark.parametrize(
    ("want", "have", "expected"),
    [
        (PLAIN, None, ["create"]),
        (PLAIN, Found(4, {"retention.ms": "1000", "segment.bytes": "9"}), []),
        (PLAIN, Found(2, {"retention.ms": "1000"}), ["add-partitions"]),
        (PLAIN, Found(9, {"retention.ms": "1000"}), []),
        (PLAIN, Found(4, {"retention.ms": "7"}), ["set-config"]),
        (PLAIN, Found(1, {}), ["add-partitions", "set-config"]),
        (FIXED, Found(4, {"cleanup.policy": "compact"}), []),
        (FIXED, Found(3, {"cleanup.policy": "compact"}), ["refused"]),
        (FIXED, Found(8, {"cleanup.policy": "compact"}), ["refused"]),
        (FIXED, Found(8, {"cleanup.policy": "delete"}), ["refused", "set-config"]),
    ],
)
def test_each_difference_has_its_change(want: Wanted, have: Found | None, expected: list[str]) -> None:
    found = {} if have is None else {want.name: have}
    assert [c.action for c in compare([want], found, [want.name], 1)] == expected


def test_changes_say_what_and_from_where() -> None:
    raised, retention = compare([PLAIN], {PLAIN.name: Found(2, {"retention.ms": "7"})}, [PLAIN.name], 1)
    assert (raised.partitions, raised.detail) == (4, "2 -> 4 partitions")
    assert (retention.config, retention.detail) == ({"retention.ms": "1000"}, "retention.ms=1000 (is retention.ms=7)")


def test_a_topic_that_the_table_does_not_have_is_reported_even_when_a_part_is_planned() -> None:
    found = {PLAIN.name: Found(4, PLAIN.config), FIXED.name: Found(4, FIXED.config), "p.old.v1": Found(1, {})}
    assert actions(compare([PLAIN], found, [PLAIN.name, FIXED.name], 1)) == [("p.old.v1", "unknown")]


def test_every_live_topic_is_wanted_and_every_typed_one_has_dead_letters() -> None:
    names = {want.name: want for want in wanted("p")}
    assert {topic.name("p") for topic in LIVE_TOPICS} <= names.keys()
    dead = {f"dlq.{topic.name('p')}" for topic in LIVE_TOPICS if topic.record is not None}
    assert names.keys() - {topic.name("p") for topic in LIVE_TOPICS} == dead
    assert all(names[name].partitions == 1 and names[name].config["retention.ms"] == "2592000000" for name in dead)


def test_state_is_compacted_and_requests_carry_the_brokers_clock() -> None:
    names = {want.name: want for want in wanted("p")}
    assert names[JOBS_STATE.name("p")].config["cleanup.policy"] == "compact"
    assert "retention.ms" not in names[JOBS_STATE.name("p")].config
    assert names[JOBS_STATE.name("p")].fixed
    assert names[JOBS_EVENTS.name("p")].fixed
    assert not names[JOBS_FINISHED.name("p")].fixed
    assert names[JOBS_REQUESTED["bulk"].name("p")].config["message.timestamp.type"] == "LogAppendTime"
    assert int(names[WORKERS_STATE.name("p")].config["segment.ms"]) < HOUR_MS


@pytest.mark.parametrize(("replication", "expected"), [(1, None), (2, None), (3, "2")])
def test_three_replicas_acknowledge_by_two(replication: int, expected: str | None) -> None:
    assert {want.config.get("min.insync.replicas") for want in wanted("p", replication=replication)} == {expected}


def test_every_tenant_of_the_file_gets_a_reply_topic_unless_it_names_its_own() -> None:
    elsewhere = TenantEntry(reply_topics=("answers.globex",))
    file = TenantsFile(tenants={"globex": elsewhere, "acme": TenantEntry(), "default": TenantEntry()})
    (acme,) = wanted_replies("p", file)
    (default,) = [want for want in wanted("p") if want.name == "p.replies.default.v1"]
    assert acme == replace(default, name="p.replies.acme.v1")
    assert wanted_replies("p", None) == []
