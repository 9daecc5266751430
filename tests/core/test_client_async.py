"""Awaiting jobs without a broker: what a time-out strikes, and what a closed event loop leaves behind."""

import asyncio

import pytest

from producers.client import AsyncJob, Client
from producers.client.client import Job
from producers.client.story import Story
from schemas.events import JobReply
from tests.core.test_client_sdk import reply


class Known(Job):
    """A job whose replies a test puts into the inbox."""

    def story(self, timeout_s: float | None = None) -> Story:
        return Story(self.job_id)


def known(client: Client) -> AsyncJob:
    return AsyncJob(Known(client, "a"), client)


def test_a_time_out_does_not_strike_while_the_caller_works_on_a_reply() -> None:
    client, done = Client("127.0.0.1:1"), []
    client.inbox.deliver(reply("a", 1))

    async def scene() -> None:
        async for _ in known(client).events(0.01):
            await asyncio.sleep(0.1)
            done.append("the work")

    with pytest.raises(TimeoutError, match="job a is accepted"):
        asyncio.run(scene())
    assert done == ["the work"]


def test_replies_wake_who_awaits_them() -> None:
    client = Client("127.0.0.1:1")
    loop_of: list[JobReply] = []

    async def scene() -> None:
        asyncio.get_running_loop().call_later(0.05, client.inbox.deliver, reply("a", 2, "finished", "failed"))
        loop_of.extend([r async for r in known(client).events(30)])

    asyncio.run(scene())
    assert [r.type for r in loop_of] == ["finished"]


def test_a_loop_that_was_closed_while_somebody_waited_does_not_stop_the_reader() -> None:
    client, loop = Client("127.0.0.1:1"), asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would complain of the task that is left

    async def begin() -> asyncio.Task[JobReply]:
        waiting = asyncio.ensure_future(known(client).events().__anext__())
        await asyncio.sleep(0.1)
        return waiting

    waiting = loop.run_until_complete(begin())
    loop.close()
    client.inbox.deliver(reply("a", 1))
    assert [r.sequence for r in client.inbox.known("a")] == [1]
    assert not waiting.done()
