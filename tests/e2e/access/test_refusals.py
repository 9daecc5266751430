"""A stage that lacks a grant ends, and its last words say which."""

import time

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from ops import access
from ops.access import Grant
from ops.bus import clients
from ops.stages import STAGES
from tests.e2e.access.world import RunningStage, World

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

END_S = 30.0


def grant_of(world: World, stage: str, operation: str, resource: str, name: str) -> Grant:
    full = f"{world.prefix}.{name}"
    needed = access.stage_grants(STAGES[stage], world.prefix)
    (grant,) = [g for g in needed if (g.operation, g.resource, g.name) == (operation, resource, full)]
    return grant


@pytest.mark.parametrize(
    ("stage", "operation", "resource", "name"),
    [
        ("moderate", "READ", "topic", "orders.requested.v1"),
        ("split", "READ", "group", "split"),
        ("track", "WRITE", "transactional-id", "track-"),
        ("render", "WRITE", "topic", "workers.state.v1"),
    ],
)
def test_a_stage_does_not_start_without_a_grant(
    world: World, stage: str, operation: str, resource: str, name: str
) -> None:
    grant = grant_of(world, stage, operation, resource, name)
    with world.without(grant), world.stage(stage) as running:
        status = running.process.wait(END_S)
        last = running.text().strip().splitlines()[-1]
    assert status == 1
    assert grant.name in last
    assert f"may not {operation}" in last


def await_member(admin: AdminClient, group: str, running: RunningStage) -> None:
    """Until a group belongs to the process. Each case has a group of its own, so it is nobody else's."""
    deadline_s = time.monotonic() + END_S
    while admin.describe_consumer_groups([group])[group].result().state is not ConsumerGroupState.STABLE:
        assert running.process.poll() is None, running.text()
        assert time.monotonic() < deadline_s, f"{group} has no member"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("stage", "operation", "resource", "name"),
    [
        ("inspect", "READ", "topic", "chunks.rendered.v1"),
        ("dispatch", "READ", "group", "dispatch-leader"),
        ("render", "WRITE", "topic", "workers.state.v1"),
        ("prioritise", "READ", "group", "prioritise"),
    ],
)
def test_a_stage_ends_when_a_grant_is_taken_from_it_and_the_next_start_says_which(
    world: World, stage: str, operation: str, resource: str, name: str
) -> None:
    grant = grant_of(world, stage, operation, resource, name)
    group = f"{world.prefix}.{name if resource == 'group' else access.stage_groups(STAGES[stage])[0]}"
    with world.stage(stage) as running:
        await_member(clients.admin(world.admin), group, running)
        with world.without(grant), world.stage(stage) as again:
            assert running.process.wait(END_S) > 0
            assert again.process.wait(END_S) == 1
            assert f"may not {operation} {resource} {grant.name}" in again.text().strip().splitlines()[-1]
