"""What may be asked of groups, transactional ids and the cluster, one call each (see `actor`)."""

import time
from typing import Any

import aiokafka
from aiokafka.protocol.admin import DescribeAclsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.e2e.access.actor import ANSWER_S, Actor, NoAnswer, ask_bare, commit, in_loop, only


def join(actor: Actor, group: str) -> None:
    """Take part in a group, reading something that everybody of the test may describe."""
    consumer = actor.member(group)
    assigned: list[object] = []
    try:
        consumer.subscribe([actor.open_topic], on_assign=lambda _, places: assigned.append(places))
        until_s = time.monotonic() + ANSWER_S
        while True:
            message = consumer.poll(0.2)
            if assigned:
                return  # whoever is let in may still be refused the topic that it names
            if message is not None and message.error() is not None:
                raise KafkaException(message.error())
            if time.monotonic() > until_s:
                raise NoAnswer
    finally:
        consumer.close()


def describe_group(actor: Actor, group: str) -> None:
    only(actor.admin.describe_consumer_groups([group], request_timeout=ANSWER_S))


def list_groups(actor: Actor, group: str) -> None:
    """Groups that one may not describe are left out without a word."""
    found = actor.admin.list_consumer_groups(request_timeout=ANSWER_S).result(ANSWER_S)
    if group not in {one.group_id for one in found.valid}:
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


def group_offsets(actor: Actor, group: str) -> None:
    only(actor.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=ANSWER_S))


def committed(actor: Actor, group: str) -> None:
    def code_of(answer: Any) -> int:
        return int(answer.error_code)

    ask_bare(actor, OffsetFetchRequest(group, [(actor.open_topic, [0])]), code_of)


def commit_in_group(actor: Actor, group: str) -> None:
    commit(actor, group, actor.committed_topic)


def delete_group(actor: Actor, group: str) -> None:
    only(actor.admin.delete_consumer_groups([group], request_timeout=ANSWER_S))


def init_transactions(actor: Actor, transactional_id: str) -> None:
    """Would fence whoever has that id."""
    _transactional(actor, transactional_id).init_transactions(ANSWER_S)


def _transactional(actor: Actor, transactional_id: str) -> Producer:
    return Producer({**actor.config(), "transactional.id": transactional_id})


def aio_transaction(actor: Actor, transactional_id: str) -> None:
    async def work() -> None:
        producer = aiokafka.AIOKafkaProducer(**actor.aio(), transactional_id=transactional_id)
        try:
            await producer.start()
        finally:
            await producer.stop()

    in_loop(actor, work)


def create_acl(actor: Actor, principal: str) -> None:
    binding = AclBinding(
        ResourceType.TOPIC, "elsewhere", ResourcePatternType.LITERAL, principal, "*", AclOperation.READ,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    only(actor.admin.create_acls([binding], request_timeout=ANSWER_S))


def delete_acl(actor: Actor, principal: str) -> None:
    pattern = AclBindingFilter(
        ResourceType.TOPIC, "elsewhere", ResourcePatternType.LITERAL, principal, "*", AclOperation.READ,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    only(actor.admin.delete_acls([pattern], request_timeout=ANSWER_S))


def describe_acls(actor: Actor, principal: str) -> None:
    """librdkafka gives an empty list to somebody who may not see any."""
    every = 1  # any resource, pattern, operation, permission
    request = DescribeAclsRequest(every, None, every, principal, None, every, every)
    ask_bare(actor, request, lambda answer: int(answer.error_code))


def set_password(actor: Actor, principal: str) -> None:
    """Of a user whose name begins like the principal's."""
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    name = f"{principal.removeprefix('User:')}-spare"
    change = UserScramCredentialUpsertion(name, scram, b"probe")
    only(actor.admin.alter_user_scram_credentials([change], request_timeout=ANSWER_S))


def broker_configs(actor: Actor, _: str) -> None:
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    only(actor.admin.describe_configs([resource], request_timeout=ANSWER_S))


def alter_broker(actor: Actor, _: str) -> None:
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    resource.add_incremental_config(
        ConfigEntry(
            "log.cleaner.threads",
            "1",
            ConfigSource.DYNAMIC_BROKER_CONFIG,
            incremental_operation=AlterConfigOpType.SET,
        )
    )
    only(actor.admin.incremental_alter_configs([resource], request_timeout=ANSWER_S))
