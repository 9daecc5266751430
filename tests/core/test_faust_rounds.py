"""Whose records a Faust stage takes next, in which rounds, and in which order it writes what they lead to."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bus import faust_agent
from ops.bus.burial import Burial
from ops.bus.faust_agent import ROUND_RECORDS, Agent, Waiting
from ops.bus.faust_drain import Drain
from ops.bus.faust_turns import Turns
from ops.settings import Settings
from schemas.errors import Fatal
from schemas.events import WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_CLEARED, NOTIFY_LOG

TOPICS = ("bulk", "express", "orders", "standard")


@given(st.lists(st.sets(st.sampled_from(TOPICS), min_size=1), min_size=len(TOPICS), max_size=60))
def test_what_waits_has_its_turn_before_another_topic_has_two(waiting: list[set[str]]) -> None:
    turns, served = Turns(), list[str]()
    since: dict[str, int] = {}
    for moment, topics in enumerate(waiting):
        for topic in TOPICS:
            if topic in topics:
                since.setdefault(topic, moment)
            else:
                since.pop(topic, None)
        served.append(next(t for t in turns.order(TOPICS) if t in topics))
        turns.had(served[-1])
        for topic, began in since.items():
            missed = served[began:]
            assert topic in missed or max(map(missed.count, missed)) == 1
        since.pop(served[-1])


def event(key: bytes | None) -> Any:
    return SimpleNamespace(message=SimpleNamespace(key=key))


@given(st.lists(st.sampled_from([None, *(b"%d" % i for i in range(200))]), min_size=1, max_size=300))
def test_rounds_hold_every_event_once_in_order_and_no_key_twice(keys: list[bytes | None]) -> None:
    async def rounds() -> list[list[Any]]:
        waiting, taken = Waiting(), list[list[Any]]()

        async def put() -> None:
            for key in keys:
                await waiting.put(event(key))

        putting = asyncio.ensure_future(put())
        while sum(map(len, taken)) < len(keys):
            taken.append(await waiting.take())
        await putting
        return taken

    taken = asyncio.run(rounds())
    assert [e.message.key for events in taken for e in events] == keys
    for events in taken:
        assert 1 <= len(events) <= ROUND_RECORDS
        assert len({e.message.key for e in events}) == len(events)


class Recorder(Agent):
    """Notes what is handed over and what is acknowledged; acknowledgements come in a later turn of the loop."""

    def __init__(self, decide: faust_agent.Decide, burial: Burial) -> None:
        super().__init__(cast(Any, None), "p", "odd", JOBS_CLEARED["bulk"], decide, Drain(1.0), burial)
        self.seen: list[tuple[str, str]] = []

    async def _send(self, topic: str, key: bytes | None, *_: object) -> None:
        name = (key or b"").decode()
        self.seen.append(("sent", name))
        for _turn in range(sum(key or b"") % 5):
            await asyncio.sleep(0)
        self.seen.append(("acknowledged", name))


def record(name: str) -> Incoming:
    return Incoming(JOBS_CLEARED["bulk"].name("p"), 0, 0, name.encode(), b"1", (), 0)


def said(name: str) -> Outgoing:
    return Outgoing(NOTIFY_LOG, name, WebhookDelivery(id="1", job=name, attempt=1, outcome="delivered"))


def recorder(answers: dict[str, int], stops: str = "") -> Recorder:
    """answers: how many records each record leads to. stops: a record that the stage cannot go on with."""

    def decide(got: Incoming) -> Sequence[Outgoing]:
        name = (got.key or b"").decode()
        if name == stops:
            raise Fatal("the policy is gone")
        return [said(f"{name}.{at}") for at in range(answers[name])]

    return Recorder(decide, Burial(Settings(), "odd", "p.odd", None))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_each_record_is_written_after_the_one_before_it_was_acknowledged(counts: list[int]) -> None:
    answers = {f"r{at}": count for at, count in enumerate(counts)}
    agent = recorder(answers)
    asyncio.run(agent._answer([record(name) for name in answers]))
    assert len(agent.seen) == 2 * sum(counts)
    for name, count in answers.items():
        mine = [(what, key) for what, key in agent.seen if key.startswith(f"{name}.")]
        assert mine == [(what, f"{name}.{at}") for at in range(count) for what in ("sent", "acknowledged")]


def test_the_records_of_a_round_go_to_the_broker_together() -> None:
    agent = recorder({"a": 2, "b": 2, "c": 1})
    asyncio.run(agent._answer([record("a"), record("b"), record("c")]))
    assert [key for what, key in agent.seen if what == "sent"] == ["a.0", "b.0", "c.0", "a.1", "b.1"]


def test_a_record_that_stops_the_stage_lets_those_before_it_through_and_none_behind_it() -> None:
    agent = recorder({"a": 2, "b": 1, "c": 1}, stops="b")

    async def answered() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await agent._answer([record("a"), record("b"), record("c")])

    with pytest.raises(Fatal, match="the policy is gone"):
        asyncio.run(answered())
    assert {key for _, key in agent.seen} == {"a.0", "a.1"}
