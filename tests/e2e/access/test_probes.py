"""No tenant reaches what is another's or the stages': every probe is refused, and somebody else shows that it works."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.topics import JOBS_REQUESTED
from tests.e2e.access.actor import ANSWER_S, Actor
from tests.e2e.access.probes import Probe, probes
from tests.e2e.access.world import World

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}  # fmt: skip
"""What a broker says to somebody who may not. The last one hides a topic; that it is there, the control shows."""


@contextmanager
def cast_of(world: World, other: str, users: Iterable[str]) -> Iterator[dict[str, Actor]]:
    """Everybody who acts in the probes, each with one set of clients."""
    open_topic, theirs = JOBS_REQUESTED["standard"].name(world.prefix), world.reply_topic(other)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    actors = {}
    for user in users:
        tenant = user.removeprefix("tenant-")
        group = f"{world.prefix}.replies.{tenant}.probe" if tenant != user else f"{world.prefix}.probe"
        actors[user] = Actor(world.settings(user), group, open_topic, theirs, loop)
    try:
        for actor in actors.values():
            asyncio.run_coroutine_threadsafe(actor.open(), loop).result(ANSWER_S)
        yield actors
    finally:
        for actor in actors.values():
            asyncio.run_coroutine_threadsafe(actor.bare.close(), loop).result(ANSWER_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def refusal(probe: Probe, actor: Actor) -> str:
    """Name of the broker's refusal, or "" when the call succeeded."""
    try:
        probe.call(actor, probe.target)
    except KafkaException as exc:
        return str(exc.args[0].name())
    return ""


def test_no_tenant_reaches_what_is_anothers_or_the_stages(probed: World) -> None:
    table = probes(probed.prefix, "globex")
    assert len({str(probe) for probe in table}) == len(table) >= 200
    allowed_names = {KafkaError(code).name() for code in REFUSALS}
    by_target: dict[str, list[Probe]] = {}
    for probe in table:
        by_target.setdefault(probe.target, []).append(probe)
    with cast_of(probed, "globex", {"tenant-acme", *(probe.rightful for probe in table)}) as cast:

        def try_in_order(about_one_target: Iterable[Probe]) -> list[str]:
            wrong = []
            for probe in about_one_target:
                said, control = refusal(probe, cast["tenant-acme"]), refusal(probe, cast[probe.rightful])
                if said not in allowed_names or control:
                    wrong.append(f"{probe}: acme {said or 'succeeded'}; {probe.rightful} {control or 'succeeded'}")
            return wrong

        with ThreadPoolExecutor(6) as threads:
            wrong = [line for lines in threads.map(try_in_order, by_target.values()) for line in lines]
    assert not wrong, "\n".join(wrong)
