"""Brings the cluster's access control lists in line with `ops.access`: first a plan, then its changes."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from ops import tenants as tenants_file
from ops.access import Grant, Pattern, Resource, grants, is_ours, touches
from ops.bus import clients
from ops.settings import Settings
from schemas.errors import Fatal, Transient

TIMEOUT_S = 30.0
AUTHORIZER = "authorizer.class.name"
NO_AUTHORIZER = f"the cluster keeps no access control lists: set {AUTHORIZER} on its brokers first"
_RESOURCES: dict[Resource, ResourceType] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,  # librdkafka's name for the resource that Kafka calls CLUSTER
}
_PATTERNS: dict[Pattern, ResourcePatternType] = {
    "literal": ResourcePatternType.LITERAL,
    "prefixed": ResourcePatternType.PREFIXED,
}
_PASSING = (
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)  # fmt: skip
"""The first group of a new cluster waits for its coordinator."""
_RESOURCE_NAMES = {kind: name for name, kind in _RESOURCES.items()}
_PATTERN_NAMES = {kind: name for name, kind in _PATTERNS.items()}
IMPLIED = {
    AclOperation.DESCRIBE: {AclOperation.READ, AclOperation.WRITE, AclOperation.DELETE, AclOperation.ALTER},
    AclOperation.DESCRIBE_CONFIGS: {AclOperation.ALTER_CONFIGS},
}
"""What Kafka takes for granted together with something else."""


@dataclass(frozen=True, slots=True)
class AccessChange:
    """One difference.

    grant:   the table has it, the cluster has not; `apply` makes it
    revoke:  one of our principals has it, the table has not; `apply` takes it away when asked to
    foreign: somebody else reaches topics, groups or ids of ours; reported only
    """

    action: Literal["grant", "revoke", "foreign"]
    grant: Grant


def wanted(settings: Settings) -> list[Grant]:
    """The table's grants for the settings' prefix and tenants file. Raises Fatal for a tenants file that is wrong."""
    tenants = tenants_file.load(settings.tenants)[0] if settings.tenants else None
    return grants(settings.prefix, tenants)


def found(settings: Settings) -> list[Grant]:
    """Every access control entry of the cluster. Raises Fatal when it keeps none or we may not see them."""
    admin = clients.reached(settings)
    # librdkafka gives an empty list instead of the broker's refusal, for either reason.
    cluster = _answer(admin.describe_cluster(include_authorized_operations=True, request_timeout=TIMEOUT_S), settings)
    if AclOperation.DESCRIBE not in (cluster.authorized_operations or ()):
        raise Fatal(_not_for_us(settings))
    any_text: Any = None
    every = AclBindingFilter(
        ResourceType.ANY,
        any_text,
        ResourcePatternType.ANY,
        any_text,
        any_text,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    bindings = _answer(admin.describe_acls(every, request_timeout=TIMEOUT_S), settings)
    if not bindings:
        broker = ConfigResource(ConfigResource.Type.BROKER, str(cluster.nodes[0].id))
        config = _answer(admin.describe_configs([broker], request_timeout=TIMEOUT_S)[broker], settings)
        if AUTHORIZER in config and not config[AUTHORIZER].value:
            raise Fatal(NO_AUTHORIZER)
    return sorted(_grant(binding) for binding in bindings if binding.restype in _RESOURCE_NAMES)


def compare(wanted: Iterable[Grant], found: Iterable[Grant], prefix: str) -> list[AccessChange]:
    """The changes that lead from what is found to what is wanted. Pure."""
    want, have = set(wanted), set(found)
    changes = [AccessChange("grant", grant) for grant in sorted(want - have)]
    for grant in sorted(have - want):
        if is_ours(grant.principal, prefix) and (touches(grant, prefix) or grant.resource == "cluster"):
            changes.append(AccessChange("revoke", grant))
        elif touches(grant, prefix):
            changes.append(AccessChange("foreign", grant))
    return changes


def plan(settings: Settings) -> list[AccessChange]:
    """Compare the cluster with the table. Raises Fatal or Transient."""
    return compare(wanted(settings), found(settings), settings.prefix)


def apply(settings: Settings, changes: Sequence[AccessChange], *, revoke: bool = False) -> None:
    """Make the changes of a plan; those that take rights away only when `revoke` says so. Raises Fatal or Transient."""
    admin = clients.reached(settings)
    create = [_binding(change.grant) for change in changes if change.action == "grant"]
    delete = [_filter(change.grant) for change in changes if change.action == "revoke" and revoke]
    if create:
        for made in admin.create_acls(create, request_timeout=TIMEOUT_S).values():
            _answer(made, settings)
    if delete:
        for gone in admin.delete_acls(delete, request_timeout=TIMEOUT_S).values():
            _answer(gone, settings)


def missing(settings: Settings, needed: Iterable[Grant]) -> list[Grant]:
    """Which of these grants the user of the settings' own credentials does not have, asked of the broker with them.

    Literal topics and groups only: a broker says nothing about names that do not exist, or about transactional ids.
    Raises Transient when no broker answers, or a topic does not exist.
    """
    literal = [grant for grant in needed if grant.pattern == "literal"]
    allowed = _allowed(settings, literal)
    return [grant for grant in literal if not _has(allowed[grant.resource, grant.name], AclOperation[grant.operation])]


def complaint(settings: Settings, stage: str, lacking: Sequence[Grant]) -> str:
    """What is missing, in one sentence for whoever started the stage."""
    who = settings.kafka.get("sasl.username", "its user")
    what = ", ".join(f"{grant.operation} {grant.resource} {grant.name}" for grant in lacking)
    return f"stage {stage}: {who} may not {what}; grant it with `reelbus topics acls apply`"


def _has(allowed: set[AclOperation], operation: AclOperation) -> bool:
    return bool(allowed & {operation, AclOperation.ALL, *IMPLIED.get(operation, ())})


def _allowed(settings: Settings, needed: Sequence[Grant]) -> dict[tuple[Resource, str], set[AclOperation]]:
    """Operations that the broker says are ours, by resource and name."""
    admin = clients.reached(settings)
    left = {(grant.resource, grant.name) for grant in needed}
    allowed: dict[tuple[Resource, str], set[AclOperation]] = {}
    until_s = time.monotonic() + TIMEOUT_S
    while left:
        for place, answer in _ask(admin, left).items():
            operations = _operations(place, answer, final=time.monotonic() > until_s)
            if operations is not None:
                allowed[place] = operations
        left -= allowed.keys()
        if left:
            time.sleep(0.1)
    return allowed


def _ask(admin: AdminClient, places: Iterable[tuple[Resource, str]]) -> dict[tuple[Resource, str], Any]:
    topics = sorted(name for kind, name in places if kind == "topic")
    groups = sorted(name for kind, name in places if kind == "group")
    more: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": TIMEOUT_S}
    asked: dict[tuple[Resource, str], Any] = {}
    if topics:
        asked |= {("topic", n): a for n, a in admin.describe_topics(TopicCollection(topics), **more).items()}
    if groups:
        asked |= {("group", n): a for n, a in admin.describe_consumer_groups(groups, **more).items()}
    return asked


def _operations(place: tuple[Resource, str], answer: Any, final: bool) -> set[AclOperation] | None:
    """None when it is worth asking again. final: it is not any more."""
    try:
        return set(answer.result(TIMEOUT_S).authorized_operations or ())
    except TimeoutError:
        raise Transient(f"no answer about {place[0]} {place[1]} in {TIMEOUT_S:.0f} s") from None
    except KafkaException as exc:
        error: Any = exc.args[0]
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        return set()
    if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
        return {AclOperation.READ}  # nobody has used it yet, but we would not be told so without a right to it
    if error.code() in _PASSING and not final:
        return None
    raise Transient(f"cannot ask about {place[0]} {place[1]}: {error.str() or error.name()}")


def _binding(grant: Grant) -> AclBinding:
    return AclBinding(*_fields(grant))


def _filter(grant: Grant) -> AclBindingFilter:
    return AclBindingFilter(*_fields(grant))


def _fields(grant: Grant) -> tuple[Any, ...]:
    return (
        _RESOURCES[grant.resource],
        grant.name,
        _PATTERNS[grant.pattern],
        grant.principal,
        grant.host,
        AclOperation[grant.operation],
        AclPermissionType[grant.permission],
    )


def _grant(binding: Any) -> Grant:
    return Grant(
        binding.principal,
        _RESOURCE_NAMES[binding.restype],
        binding.name,
        _PATTERN_NAMES[binding.resource_pattern_type],
        binding.operation.name,
        binding.host,
        "ALLOW" if binding.permission_type is AclPermissionType.ALLOW else "DENY",
    )


def _answer(future: Any, settings: Settings) -> Any:
    try:
        return future.result(TIMEOUT_S)
    except TimeoutError:
        raise Transient(f"{settings.bootstrap_servers} does not answer") from None
    except KafkaException as exc:
        error: Any = exc.args[0]
    if error.code() == KafkaError.SECURITY_DISABLED:
        raise Fatal(NO_AUTHORIZER)
    if error.code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
        raise Fatal(_not_for_us(settings))
    raise Transient(f"access control lists of {settings.bootstrap_servers}: {error.str()}")


def _not_for_us(settings: Settings) -> str:
    who = settings.kafka.get("sasl.username", "this user")
    return f"{who} may not see or change access control lists: a super user may, or DESCRIBE and ALTER on the cluster"
