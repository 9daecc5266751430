"""What is known of the jobs of a reply topic: replies in, per job in order and once. No I/O; safe for threads."""

import bisect
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from schemas.errors import PipelineError
from schemas.events import JobReply

MOST_UNWATCHED = 10_000
"""So many jobs that nobody asked for are remembered, the last ones; older ones are looked up when somebody asks."""
LAST_TYPES = ("finished", "rejected")


class Inbox:
    """Replies by job id. `deliver` is called by the one reader, the rest by any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._replies: OrderedDict[str, list[JobReply]] = OrderedDict()
        self._watched: dict[str, int] = {}
        self._listeners: dict[int, tuple[str, Callable[[], None]]] = {}
        self._fault: PipelineError | None = None

    def watch(self, job_id: str) -> None:
        """Keep what is said of this job, whatever else comes, until as many `forget`s."""
        with self._changed:
            self._watched[job_id] = self._watched.get(job_id, 0) + 1

    def forget(self, job_id: str) -> None:
        """End one `watch`."""
        with self._changed:
            self._watched[job_id] -= 1
            if not self._watched[job_id]:
                del self._watched[job_id]

    def deliver(self, reply: JobReply) -> None:
        """One reply from the topic. A repeated one changes nothing."""
        with self._changed:
            known = self._replies.setdefault(reply.job_id, [])
            self._replies.move_to_end(reply.job_id)
            if any(reply.id == other.id for other in known):
                return
            bisect.insort(known, reply, key=lambda other: other.sequence)
            self._drop_old()
            self._changed.notify_all()
            woken = [call for job_id, call in self._listeners.values() if job_id == reply.job_id]
        for call in woken:
            call()

    def _drop_old(self) -> None:
        if len(self._replies) <= MOST_UNWATCHED + len(self._watched):
            return
        old = next((job_id for job_id in self._replies if job_id not in self._watched), None)
        if old is not None:
            del self._replies[old]

    def fail(self, fault: PipelineError) -> None:
        """The reader cannot go on: everybody who waits, now or later, is told why."""
        with self._changed:
            self._fault = fault
            self._changed.notify_all()
            woken = [call for _, call in self._listeners.values()]
        for call in woken:
            call()

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
            handle = max(self._listeners, default=0) + 1
            self._listeners[handle] = (job_id, call)
            return handle

    def unlisten(self, handle: int) -> None:
        """End a `listen`."""
        with self._changed:
            self._listeners.pop(handle, None)
