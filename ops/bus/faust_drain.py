"""How a Faust worker stops without doing anything twice.

Faust's own way cancels its agents, and acknowledges the records that they were at. Here no agent begins another round
once SIGTERM came; those at work finish theirs, the offsets are committed, the group is told that we leave, so that a
successor gets the partitions at once, and the process ends. Faust's shutdown is not run: nothing of it is needed then.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from typing import Any, cast

import faust

from ops.bus.process import end_now, stop_uncommitted

log = logging.getLogger(__name__)

COMMIT_S, LEAVE_S = 10.0, 5.0
POLL_S = 0.02


class Drain:
    """What one app's agents are at, and whether they may go on. drain_s: longest time for the records at work."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._working: set[str] = set()
        self._begun = False

    async def turn(self) -> None:
        """Returns when the next record may be handled: never, once the drain has begun."""
        if self._begun:
            await asyncio.Event().wait()

    @contextlib.contextmanager
    def working(self, place: str) -> Iterator[None]:
        """Records are at work until the block ends; it acknowledges them itself."""
        self._working.add(place)
        yield
        self._working.discard(place)

    async def finish(self, app: faust.App) -> None:
        """Drain and end the process: with 0, or EXIT_UNCOMMITTED when a record took too long or cannot be committed."""
        if self._begun:
            return
        self._begun = True
        log.info("stopping: %d records at work", len(self._working))
        why = await self._committed(app)
        self._leave(app)
        if why:
            stop_uncommitted(why)
        end_now(0)

    async def _committed(self, app: faust.App) -> str:
        """Why not; empty when everything that was done is committed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle(), self._drain_s)
        if self._working:
            return f"not finished within {self._drain_s:.0f} s: {', '.join(sorted(self._working))}"
        try:
            await asyncio.wait_for(_commit(app), COMMIT_S)
        except Exception as exc:  # aiokafka and Faust each raise their own, asyncio its time-out
            return f"not committed: {type(exc).__name__}: {exc}"
        return ""

    async def _idle(self) -> None:
        while self._working:
            await asyncio.sleep(POLL_S)

    def _leave(self, app: faust.App) -> None:
        """Tell the group. The main loop stands still meanwhile, so that nothing in it reacts to what goes away."""
        thread = getattr(app.consumer, "_thread", None)
        kafka = getattr(thread, "_consumer", None)
        if thread is None or kafka is None:  # it had not started yet
            return
        leaving = asyncio.run_coroutine_threadsafe(kafka.stop(), thread.thread_loop)
        try:
            leaving.result(LEAVE_S)
        except Exception as exc:  # the broker will find out by itself
            log.warning("could not leave the group: %s: %s", type(exc).__name__, exc)


async def _commit(app: faust.App) -> None:
    consumer: Any = app.consumer
    # A commit that is under way may have begun before the last acknowledgement: another one must follow it.
    await consumer.maybe_wait_for_commit_to_finish()
    await consumer.force_commit()


class DrainingWorker(faust.Worker):
    """A worker that drains when it is told to stop."""

    drain: Drain

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        self._draining = asyncio.ensure_future(self.drain.finish(cast(faust.App, self.app)), loop=self.loop)
