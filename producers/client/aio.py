"""The SDK for asyncio: the same client, awaited. Any number of jobs may be waited for at once."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ops.settings import Settings
from producers.client.client import Client, Job, Request, one_of
from producers.client.download import fetch
from producers.client.story import Story
from schemas.events import JobFinished, JobReply
from schemas.request import Lane


class AsyncJob:
    """See `Job`; what blocks there is awaited here."""

    def __init__(self, job: Job, client: Client) -> None:
        self.job_id = job.job_id
        self._job = job
        self._client = client

    def __repr__(self) -> str:
        return f"AsyncJob({self.job_id!r})"

    async def events(self, timeout_s: float | None = None) -> AsyncIterator[JobReply]:
        """See Job.events."""
        story = await asyncio.to_thread(self._job.story, timeout_s)
        async for reply in self._tell(story, timeout_s):
            yield reply

    async def _tell(self, story: Story, timeout_s: float | None) -> AsyncIterator[JobReply]:
        inbox, loop, news = self._client.inbox, asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(news.set)

        until_s = None if timeout_s is None else loop.time() + timeout_s
        handle = inbox.listen(self.job_id, wake)
        seen = 0
        try:
            while not story.ended:
                news.clear()
                replies = inbox.known(self.job_id, seen)
                seen += len(replies)
                for reply in story.tell(replies):
                    yield reply
                if not replies:
                    # Not asyncio.timeout over the loop: it would strike while the caller works on a reply.
                    await asyncio.wait_for(news.wait(), None if until_s is None else until_s - loop.time())
        except TimeoutError:
            raise story.late(timeout_s or 0) from None
        finally:
            inbox.unlisten(self.job_id, handle)

    async def wait(self, timeout_s: float | None = None) -> JobFinished:
        """See Job.wait."""
        story = await asyncio.to_thread(self._job.story, timeout_s)
        async for _ in self._tell(story, timeout_s):
            pass
        return story.result()

    async def cancel(self, reason: str = "") -> None:
        """See Job.cancel."""
        await asyncio.to_thread(self._job.cancel, reason)

    async def hold(self, reason: str = "") -> None:
        """See Job.hold."""
        await asyncio.to_thread(self._job.hold, reason)

    async def resume(self) -> None:
        """See Job.resume."""
        await asyncio.to_thread(self._job.resume)

    async def reprioritise(self, priority: int) -> None:
        """See Job.reprioritise."""
        await asyncio.to_thread(self._job.reprioritise, priority)

    async def move_lane(self, lane: Lane) -> None:
        """See Job.move_lane."""
        await asyncio.to_thread(self._job.move_lane, lane)

    async def change_deadline(self, deadline_ms: int | None) -> None:
        """See Job.change_deadline."""
        await asyncio.to_thread(self._job.change_deadline, deadline_ms)

    async def download(self, path: Path | str, timeout_s: float | None = None) -> Path:
        """See Job.download."""
        video = (await self.wait(timeout_s)).video
        assert video is not None
        return await asyncio.to_thread(fetch, self._client.settings, video.file, Path(path))


class AsyncClient:
    """See `Client`; the same parameters."""

    def __init__(self, settings: Settings | str | None = None, **options: Any) -> None:
        self._client = Client(settings, **options)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._client.close)

    async def submit(
        self,
        request: Request | None = None,
        *,
        trace: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> AsyncJob:
        """See Client.submit."""
        (job,) = await self.submit_many([one_of(request, fields)], trace=trace)
        return job

    async def submit_many(
        self, requests: Iterable[Request], *, trace: Mapping[str, str] | None = None
    ) -> list[AsyncJob]:
        """See Client.submit_many; all of them at once."""

        def send() -> list[Job]:
            return list(self._client.submit_many(requests, trace=trace))

        return [AsyncJob(job, self._client) for job in await asyncio.to_thread(send)]

    async def redo(
        self, request: Request, shot: int, chunk: int | None = None, *, seed: int | None = None, job_id: str = ""
    ) -> AsyncJob:
        """See Client.redo."""
        job = await asyncio.to_thread(self._client.redo, request, shot, chunk, seed=seed, job_id=job_id)
        return AsyncJob(job, self._client)

    async def job(self, job_id: str) -> AsyncJob:
        """See Client.job."""
        return AsyncJob(await asyncio.to_thread(self._client.job, job_id), self._client)

    async def cancel(self, job: str, reason: str = "") -> None:
        """See Client.cancel."""
        await asyncio.to_thread(self._client.cancel, job, reason)

    async def hold(self, job: str, reason: str = "") -> None:
        """See Client.hold."""
        await asyncio.to_thread(self._client.hold, job, reason)

    async def resume(self, job: str) -> None:
        """See Client.resume."""
        await asyncio.to_thread(self._client.resume, job)

    async def reprioritise(self, job: str, priority: int) -> None:
        """See Client.reprioritise."""
        await asyncio.to_thread(self._client.reprioritise, job, priority)

    async def move_lane(self, job: str, lane: Lane) -> None:
        """See Client.move_lane."""
        await asyncio.to_thread(self._client.move_lane, job, lane)

    async def change_deadline(self, job: str, deadline_ms: int | None) -> None:
        """See Client.change_deadline."""
        await asyncio.to_thread(self._client.change_deadline, job, deadline_ms)
