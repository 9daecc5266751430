"""What is known of the jobs of a reply topic: replies in, per job in order and once. No I/O; safe for threads."""

import bisect
import itertools
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from schemas.errors import PipelineError
from schemas.events import JobReply

MOST_UNWATCHED = 10_000
"""So many jobs that nobody asked for are remembered, the last ones; older ones are looked up when somebody asks."""


class Inbox:
    """Replies by job id. `deliver` is called by the one reader, the rest by any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._replies: dict[str, list[JobReply]] = {}
        self._watched: dict[str, int] = {}
        self._unwatched: OrderedDict[str, None] = OrderedDict()
        """Jobs of `_replies` that nobody watches, those that are dropped first first."""
        self._listeners: defaultdict[str, dict[int, Callable[[], None]]] = defaultdict(dict)
        self._handles = itertools.count()
        self._fault: PipelineError | None = None

    def watch(self, job_id: str) -> None:
        """Keep what is said of this job, whatever else comes, until as many `forget`s."""
        with self._changed:
            self._watched[job_id] = self._watched.get(job_id, 0) + 1
            self._unwatched.pop(job_id, None)

    def forget(self, job_id: str) -> None:
        """End one `watch`. Called when a job is garbage, so maybe in the middle of any other method."""
        with self._changed:
            self._watched[job_id] -= 1
            if not self._watched[job_id]:
                del self._watched[job_id]
                if job_id in self._replies:
                    self._unwatched[job_id] = None
                    self._unwatched.move_to_end(job_id, last=False)

    def deliver(self, reply: JobReply) -> None:
        """One reply from the topic. A repeated one changes nothing.

        The end that is told again has its old id, and the origin of the request that asked again: that is news.
        """
        with self._changed:
            known = self._replies.setdefault(reply.job_id, [])
            if reply.job_id not in self._watched:
                self._unwatched[reply.job_id] = None
                self._unwatched.move_to_end(reply.job_id)
            if any((reply.id, reply.origin.ce_id) == (other.id, other.origin.ce_id) for other in known):
                return
            bisect.insort(known, reply, key=lambda other: other.sequence)
            while len(self._unwatched) > MOST_UNWATCHED:
                del self._replies[self._unwatched.popitem(last=False)[0]]
            self._changed.notify_all()
            woken = list(self._listeners.get(reply.job_id, {}).values())
        for call in woken:
            call()

    def fail(self, fault: PipelineError) -> None:
        """The reader cannot go on: everybody who waits, now or later, is told why."""
        with self._changed:
            self._fault = fault
            self._changed.notify_all()
            woken = [call for calls in self._listeners.values() for call in calls.values()]
        for call in woken:
            call()

    def recover(self) -> None:
        """Another reader goes on."""
        with self._changed:
            self._fault = None

    def known(self, job_id: str, after: int = 0) -> list[JobReply]:
        """Replies of a job, without the first `after`. Raises the reader's fault when nothing more is known."""
        with self._changed:
            found = self._replies.get(job_id, [])[after:]
            if not found and self._fault is not None:
                raise self._fault
            return found

    def wait(self, job_id: str, after: int, timeout_s: float) -> list[JobReply]:
        """`known`, once there is one; empty after `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while not (found := self.known(job_id, after)):
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return []
                self._changed.wait(left_s)
            return found

    def listen(self, job_id: str, call: Callable[[], None]) -> int:
        """Call `call`, in the reader's thread, whenever something is said of a job. Returns a handle for `unlisten`."""
        with self._changed:
            handle = next(self._handles)
            self._listeners[job_id][handle] = call
            return handle

    def unlisten(self, job_id: str, handle: int) -> None:
        """End a `listen`."""
        with self._changed:
            self._listeners[job_id].pop(handle, None)
            if not self._listeners[job_id]:
                del self._listeners[job_id]
