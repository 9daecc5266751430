"""Reads one reply topic in the background and puts what comes into an inbox. Joins no consumer group."""

import logging
import threading
import time

from ops.settings import Settings
from producers.client.inbox import Inbox
from producers.client.reader import TopicReader
from schemas.errors import PipelineError, Transient
from schemas.events import JobReply
from schemas.topics import CallersTopic, reply_topics_of

log = logging.getLogger(__name__)

POLL_S = 0.25
STOP_TIMEOUT_S = 30.0
CLOSED = "the client is closed"


class Mailbox:
    """One reader thread. Open it before the first request is sent, so that no reply is missed.

    inbox:      where replies go; it goes on with what it has when an earlier reader gave up
    lookback_s: how far back it starts to read; answers that are older are looked up when somebody asks for a job
    Raises Transient when the topic does not exist or no broker answers.
    """

    def __init__(self, settings: Settings, inbox: Inbox, tenant: str, reply_topic: str, lookback_s: float) -> None:
        self.inbox = inbox
        self._settings = settings
        self._topic = CallersTopic(reply_topic)
        self._groups = reply_topics_of(tenant, settings.prefix)
        self._reader = TopicReader(settings, [self._topic], {self._topic.entity: lookback_s}, self._groups)
        self._caught_up = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reelbus-replies-{reply_topic}", daemon=True)
        inbox.recover()
        self._thread.start()

    @property
    def gave_up(self) -> bool:
        """Whether it ended by itself; what it could not read is told by the inbox."""
        return not self._thread.is_alive() and not self._stop.is_set()

    def _run(self) -> None:
        try:
            with self._reader as reader:
                while not self._stop.is_set():
                    for entry in reader.poll(POLL_S):
                        if isinstance(entry.record, JobReply):
                            self.inbox.deliver(entry.record)
                    if reader.caught_up:
                        self._caught_up.set()
        except PipelineError as exc:
            log.error("replies: %s", exc)
            self.inbox.fail(exc)
        except Exception as exc:
            log.exception("replies: the reader ended")
            self.inbox.fail(Transient(f"the reader of {self._topic.full_name} ended: {type(exc).__name__}: {exc}"))
        finally:
            self._caught_up.set()

    def look_back(self, job_id: str, timeout_s: float) -> None:
        """Make sure that what was said of a job until now is in the inbox, if nothing was said of it since.

        Raises TimeoutError after `timeout_s`, Transient when replies cannot be read.
        """
        until_s = time.monotonic() + timeout_s
        self._caught_up.wait(timeout_s)
        if self.inbox.known(job_id):
            return
        with TopicReader(self._settings, [self._topic], groups=self._groups) as reader:
            while not reader.caught_up and not self._stop.is_set():
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobReply) and entry.record.job_id == job_id:
                        self.inbox.deliver(entry.record)
                if time.monotonic() > until_s:
                    raise TimeoutError(f"job {job_id}: its replies were not found within {timeout_s:g} s")

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)
        self.inbox.fail(Transient(CLOSED))
