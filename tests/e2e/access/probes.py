"""The table of probes: calls by which a tenant reaches for what is another's, the stages' or the cluster's.

Every call is made twice: by somebody who may not, and by whoever rightfully may.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.e2e.access.actor import Actor
from tests.e2e.access.other_calls import (
    aio_transaction,
    alter_broker,
    broker_configs,
    commit_in_group,
    committed,
    create_acl,
    delete_acl,
    delete_group,
    describe_acls,
    describe_group,
    group_offsets,
    init_transactions,
    join,
    list_groups,
    set_password,
)
from tests.e2e.access.topic_calls import (
    add_partitions,
    aio_offsets,
    aio_send,
    alter_configs,
    commit_on_topic,
    create_topic,
    delete_records,
    delete_topic,
    describe,
    describe_configs,
    fetch,
    fetch_in_group,
    first_offset,
    last_offset,
    metadata,
    metadata_of_all,
    offset_by_time,
    send,
    send_idempotent,
)

Call = Callable[[Actor, str], object]

READING: tuple[Call, ...] = (
    fetch, fetch_in_group, aio_offsets, first_offset, last_offset, offset_by_time, metadata, metadata_of_all, describe,
    commit_on_topic,
)  # fmt: skip
WRITING: tuple[Call, ...] = (send, send_idempotent, aio_send)
CHANGING: tuple[Call, ...] = (describe_configs, alter_configs)
UNDESCRIBED: tuple[Call, ...] = (fetch, fetch_in_group, commit_on_topic, delete_records, *CHANGING)
"""What is not for a tenant on a topic that it may write, and therefore describe."""
GROUPS: tuple[Call, ...] = (
    join, describe_group, list_groups, group_offsets, committed, commit_in_group, delete_group,
)  # fmt: skip
CLUSTER: tuple[Call, ...] = (create_acl, delete_acl, describe_acls, set_password, broker_configs, alter_broker)


@dataclass(frozen=True, slots=True)
class Probe:
    """A call, what it is about, and who may make it."""

    call: Call
    target: str
    rightful: str

    def __str__(self) -> str:
        return f"{self.call.__name__} {self.target}"


def _all(calls: Sequence[Call], targets: Sequence[str], rightful: str) -> list[Probe]:
    return [Probe(call, target, rightful) for target in targets for call in calls]


def probes(prefix: str, other: str) -> list[Probe]:
    """Everything that a tenant may try on what belongs to tenant `other` or to the stages. rightful: a user's name."""
    theirs, base = f"{prefix}.replies.{other}.v1", f"{prefix}.replies.{other}."
    ops, tenant, replier = f"{prefix}-ops", f"tenant-{other}", f"{prefix}-reply"
    inside = [
        *(f"{prefix}.{entity}.v1" for entity in (
            "replies.default", "jobs.replies", "jobs.state", "jobs.finished", "jobs.events", "jobs.control",
            "jobs.cleared.standard", "dispatch.state", "usage.metered",
        )),
        f"dlq.{prefix}.jobs.requested.standard.v1",
    ]  # fmt: skip
    asked = [f"{prefix}.jobs.requested.standard.v1", f"{prefix}.orders.requested.v1"]
    spare = [f"{base}spare", f"{prefix}.jobs.spare.v1"]
    groups = [f"{prefix}.track", f"{prefix}.dispatch-leader"]
    return [
        *_all(READING, [theirs], tenant),
        *_all(WRITING, [theirs], replier),
        *_all(CHANGING, [theirs], ops),
        *_all((*READING, *WRITING, *CHANGING), inside, ops),
        *_all((delete_records,), [theirs, *(topic for topic in inside if ".state." not in topic)], ops),
        *_all(UNDESCRIBED, asked, ops),
        *_all((create_topic, add_partitions, delete_topic), spare, ops),
        *_all(GROUPS[:-1], [f"{base}service"], tenant),
        *_all(GROUPS[-1:], [f"{base}service"], ops),
        *_all(GROUPS, groups, ops),
        *_all(
            (init_transactions, aio_transaction), [f"{prefix}.track-0", f"{prefix}.dispatch-leader", f"{base}x"], ops
        ),
        *_all(CLUSTER, [f"User:{tenant}"], "admin"),
    ]
