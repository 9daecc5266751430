"""`reelbus topics plan` and `apply` against the real broker."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import ConfigResource, NewTopic

from ops import topics_admin
from ops.bus import clients
from ops.settings import Settings
from schemas.errors import Transient
from schemas.topics import JOBS_STATE, LIVE_TOPICS, NOTIFY_LOG, WORKERS_STATE, DeadLetters

pytestmark = pytest.mark.kafka


def test_apply_creates_the_whole_table_and_a_second_plan_is_empty(settings: Settings) -> None:
    there = clients.admin(settings).list_topics(timeout=10).topics
    for topic in LIVE_TOPICS:
        assert len(there[topic.name(settings.prefix)].partitions) == topic.partitions
        assert (DeadLetters(topic).name(settings.prefix) in there) == (topic.record is not None)
    assert topics_admin.plan(settings) == []


def test_apply_twice_changes_nothing(make_settings: Callable[..., Settings], bare_settings: Settings) -> None:
    settings = make_settings(topics=())
    changes = topics_admin.plan(settings, topics=(NOTIFY_LOG, JOBS_STATE))
    topics_admin.apply(settings, changes)
    topics_admin.apply(settings, changes)
    assert topics_admin.plan(settings, topics=(NOTIFY_LOG, JOBS_STATE)) == []


def test_drift_is_found_and_put_right_except_where_it_would_lose_state(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(topics=())
    admin = clients.admin(settings)
    log, state = NOTIFY_LOG.name(settings.prefix), JOBS_STATE.name(settings.prefix)
    old = f"{settings.prefix}.old.thing.v1"
    made = admin.create_topics([NewTopic(log, 1, 1), NewTopic(state, 2, 1), NewTopic(old, 1, 1)])
    for answer in made.values():
        answer.result()
    topics = (NOTIFY_LOG, JOBS_STATE)
    before = topics_admin.plan(settings, topics=topics)
    assert {(c.topic, c.action) for c in before if not c.topic.startswith("dlq.")} == {
        (log, "add-partitions"), (log, "set-config"), (state, "refused"), (state, "set-config"), (old, "unknown"),
    }  # fmt: skip
    topics_admin.apply(settings, before)
    after = topics_admin.plan(settings, topics=topics)
    assert [(c.topic, c.action) for c in after] == [(state, "refused"), (old, "unknown")]
    resource = ConfigResource(ConfigResource.Type.TOPIC, state)
    config = admin.describe_configs([resource])[resource].result()
    assert config["cleanup.policy"].value == "compact"


def test_a_replication_factor_beyond_the_brokers_is_refused_by_name(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(topics=())
    changes = topics_admin.plan(settings, topics=(WORKERS_STATE,), replication=3)
    with pytest.raises(Transient, match=r"workers\.state"):
        topics_admin.apply(settings, changes)
