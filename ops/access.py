"""Who may do what on the cluster, derived from the tables of stages, topics and tenants. Pure.

Default-deny: what stands here is all that a principal may do. Brokers are taken to be Kafka 3.0 or later, where WRITE
on a topic is enough for an idempotent producer (KIP-679), so nobody needs IDEMPOTENT_WRITE on the cluster.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ops.stages import STAGES, Stage
from schemas.tenants import TenantEntry, TenantsFile
from schemas.topics import (
    JOBS_REQUESTED,
    ORDERS_REQUESTED,
    POOLS,
    REVIEWS_DECIDED,
    REVIEWS_OPEN,
    DeadLetters,
    Topic,
    reply_topics_of,
)

Resource = Literal["topic", "group", "transactional-id", "cluster"]
Pattern = Literal["literal", "prefixed"]

GROUPS: dict[str, tuple[str, ...]] = {
    "dispatch": ("dispatch", "dispatch-leader"),
    "render": tuple(f"render.{pool}" for pool in POOLS),
}
"""Consumer groups by stage, without the prefix; any other stage has one, named as it is."""
TABLE_GROUP = "table-reader"
"""Group under which compacted topics are read back. It commits nothing, but the client looks up its coordinator."""
TRANSACTIONAL = ("dispatch", "track")
"""Stages that write in transactions; their transactional ids are <prefix>.<stage>-<slot>."""
OPEN_TENANT = "default"
"""The tenant that has a reply topic in the table; the only one with grants when there is no tenants file."""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One access control entry, in Kafka's words.

    principal: e.g. User:reelbus-track
    name:      of the resource, or what such names start with when pattern is prefixed
    operation: READ, WRITE, DESCRIBE, ALL ...
    """

    principal: str
    resource: Resource
    name: str
    pattern: Pattern
    operation: str
    host: str = "*"
    permission: Literal["ALLOW", "DENY"] = "ALLOW"

    def sentence(self) -> str:
        """For a person, e.g. User:reelbus-track may WRITE topic reelbus.jobs.state.v1"""
        verb = "may" if self.permission == "ALLOW" else "may not"
        every = "* (prefixed)" if self.pattern == "prefixed" else ""
        where = f" from {self.host}" if self.host != "*" else ""
        return f"{self.principal} {verb} {self.operation} {self.resource} {self.name}{every}{where}"


def stage_principal(stage: str, prefix: str) -> str:
    """Principal of a stage: User:reelbus-track."""
    return f"User:{prefix}-{stage}"


def operator_principal(prefix: str) -> str:
    """Principal of the operators' command line."""
    return f"User:{prefix}-ops"


def tenant_principal(tenant: str) -> str:
    """Principal of a tenant."""
    return f"User:tenant-{tenant}"


def stage_grants(stage: Stage, prefix: str, tenants: TenantsFile | None = None) -> list[Grant]:
    """What one stage needs, and no more.

    tenants: with it, the stage that writes replies also gets the reply topics that the file names outside
             <prefix>.replies.
    """
    who = stage_principal(stage.name, prefix)
    grants: list[Grant] = []
    for topic in stage.reads:
        grants += _on_topic(who, topic.name(prefix), "READ")
        if _is_consumed(topic):
            grants += _on_topic(who, DeadLetters(topic).name(prefix), "WRITE")
    for topic in stage.writes:
        if topic.record is not None:  # nobody ever writes a topic without records: owning it is what it is for
            grants += _on_topic(who, topic.name(prefix), "WRITE")
    if stage.writes_replies:
        for name, pattern in _all_reply_topics(prefix, tenants):
            grants += _on_topic(who, name, "WRITE", pattern)
    grants += [Grant(who, "group", f"{prefix}.{group}", "literal", "READ") for group in stage_groups(stage)]
    if stage.name in TRANSACTIONAL:
        ids = f"{prefix}.{stage.name}-"
        grants += [Grant(who, "transactional-id", ids, "prefixed", operation) for operation in ("DESCRIBE", "WRITE")]
    return sorted(set(grants))


def stage_groups(stage: Stage) -> tuple[str, ...]:
    """Consumer groups of a stage, without the prefix."""
    tables = (TABLE_GROUP,) if any(topic.compacted for topic in stage.reads) else ()
    return (*GROUPS.get(stage.name, (stage.name,)), *tables)


def tenant_grants(tenant: str, prefix: str, entry: TenantEntry | None = None) -> list[Grant]:
    """What one tenant may: send requests and orders, read its own answers in groups of its own name."""
    who = tenant_principal(tenant)
    grants = [Grant(who, "group", reply_topics_of(tenant, prefix), "prefixed", "READ")]
    for topic in (*JOBS_REQUESTED.values(), ORDERS_REQUESTED):
        grants += _on_topic(who, topic.name(prefix), "WRITE")
    for name, pattern in _reply_topics(tenant, prefix, entry):
        grants += _on_topic(who, name, "READ", pattern)
    return sorted(set(grants))


def operator_grants(prefix: str) -> list[Grant]:
    """What the operators' command line may: all on everything under the prefix, nothing on the cluster itself."""
    who = operator_principal(prefix)
    named: tuple[tuple[Resource, str], ...] = (
        ("topic", f"{prefix}."), ("topic", f"dlq.{prefix}."), ("group", f"{prefix}."),
        ("transactional-id", f"{prefix}."),
    )  # fmt: skip
    return sorted(Grant(who, resource, name, "prefixed", "ALL") for resource, name in named)


def reviewer_principal(prefix: str) -> str:
    """Principal of those who look at frames."""
    return f"User:{prefix}-reviewer"


def reviewer_grants(prefix: str) -> list[Grant]:
    """What a reviewer may: read what is to be looked at, and say what is to become of it."""
    who = reviewer_principal(prefix)
    grants = [Grant(who, "group", f"{prefix}.{TABLE_GROUP}", "literal", "READ")]
    grants += _on_topic(who, REVIEWS_OPEN.name(prefix), "READ")
    grants += _on_topic(who, REVIEWS_DECIDED.name(prefix), "WRITE")
    return sorted(grants)


def grants(prefix: str, tenants: TenantsFile | None = None) -> list[Grant]:
    """Everybody's grants, sorted. Without a tenants file the only tenant is OPEN_TENANT."""
    made = [grant for stage in STAGES.values() for grant in stage_grants(stage, prefix, tenants)]
    members = {OPEN_TENANT: None} if tenants is None else tenants.tenants
    for tenant, entry in members.items():
        made += tenant_grants(tenant, prefix, entry)
    return sorted({*made, *operator_grants(prefix), *reviewer_grants(prefix)})


def touches(grant: Grant, prefix: str) -> bool:
    """Whether a grant reaches anything of this installation."""
    if grant.resource == "cluster":
        return False
    bases = (f"{prefix}.", f"dlq.{prefix}.") if grant.resource == "topic" else (f"{prefix}.",)
    if grant.pattern == "literal":
        return grant.name == "*" or grant.name.startswith(bases)
    return any(grant.name.startswith(base) or base.startswith(grant.name) for base in bases)


def is_ours(principal: str, prefix: str) -> bool:
    """Whether the table decides all that a principal may: stages, operators and tenants, those of old included."""
    stages = {stage_principal(name, prefix) for name in STAGES}
    people = (operator_principal(prefix), reviewer_principal(prefix))
    return principal in stages or principal in people or principal.startswith(tenant_principal(""))


def _is_consumed(topic: Topic) -> bool:
    """Compacted topics are read back as tables, and one without records has none to bury."""
    return topic.record is not None and not topic.compacted


def _on_topic(who: str, name: str, operation: str, pattern: Pattern = "literal") -> Iterable[Grant]:
    return (Grant(who, "topic", name, pattern, one) for one in (operation, "DESCRIBE"))


def _reply_topics(tenant: str, prefix: str, entry: TenantEntry | None) -> list[tuple[str, Pattern]]:
    if entry is None or entry.reply_topics is None:
        return [(reply_topics_of(tenant, prefix), "prefixed")]
    return [(p[:-1], "prefixed") if p.endswith(".*") else (p, "literal") for p in entry.reply_topics]


def _all_reply_topics(prefix: str, tenants: TenantsFile | None) -> list[tuple[str, Pattern]]:
    """The one beginning under which all tenants' own topics are, and what the tenants file names elsewhere."""
    base = f"{prefix}.replies."
    members = {} if tenants is None else tenants.tenants
    named = {place for tenant, entry in members.items() for place in _reply_topics(tenant, prefix, entry)}
    return [(base, "prefixed"), *sorted(place for place in named if not place[0].startswith(base))]
