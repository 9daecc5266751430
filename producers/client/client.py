"""The SDK: submit jobs, follow them, fetch their videos. It needs no rights but those of its tenant."""

import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ops.settings import Settings, load
from producers.client.core import addressed, checked, id_of_content
from producers.client.download import fetch
from producers.client.inbox import Inbox
from producers.client.mailbox import CLOSED, Mailbox
from producers.client.orders import Orders
from producers.client.redo import redone
from producers.client.sending import SOURCE, Sender
from producers.client.signing import Signer
from producers.client.story import Story, submission_id
from schemas.errors import Transient
from schemas.events import JobFinished, JobReply
from schemas.ids import fingerprint
from schemas.request import JobOrder, JobRequest, Lane
from schemas.topics import reply_topic_of

Request = JobRequest | Mapping[str, Any]
LOOKBACK_S = 3600.0
FOREVER_S = 10.0 * 365 * 24 * 3600


def one_of(request: Request | None, fields: Mapping[str, Any]) -> Request:
    """What `submit` is given: a request, or its fields. Raises TypeError for both."""
    if request is None:
        return fields
    if fields:
        raise TypeError(f"submit takes a request or its fields, not both: found {', '.join(sorted(fields))} as well")
    return request


class Job:
    """One job of a client. Made by `Client.submit` and `Client.job`."""

    def __init__(self, client: "Client", job_id: str, ce_id: str = "") -> None:
        self.job_id = job_id
        self._client = client
        self._ce_id = ce_id
        client.inbox.watch(job_id)
        weakref.finalize(self, client.inbox.forget, job_id)

    def __repr__(self) -> str:
        return f"Job({self.job_id!r})"

    def events(self, timeout_s: float | None = None) -> Iterator[JobReply]:
        """What is said of the job, in order and once each, from its acceptance to its end.

        Raises TimeoutError when the end does not come within `timeout_s`, Transient when replies cannot be read.
        """
        yield from self._tell(self.story(timeout_s), timeout_s)

    def story(self, timeout_s: float | None = None) -> Story:
        """A new telling of the job, with what was said before this client was there looked up."""
        mailbox = self._client.mailbox
        if not self._ce_id:
            mailbox.look_back(self.job_id, FOREVER_S if timeout_s is None else timeout_s)
        return Story(self.job_id, self._ce_id)

    def _tell(self, story: Story, timeout_s: float | None) -> Iterator[JobReply]:
        limit_s = FOREVER_S if timeout_s is None else timeout_s
        until_s = time.monotonic() + limit_s
        seen, inbox = 0, self._client.inbox
        while not story.ended:
            replies = inbox.wait(self.job_id, seen, until_s - time.monotonic())
            seen += len(replies)
            yield from story.tell(replies)
            if not replies:
                raise story.late(limit_s)

    def wait(self, timeout_s: float | None = None) -> JobFinished:
        """The result, once the job is completed.

        Raises JobRejected (code, field, message), NoVideo (failed, cancelled, expired, deleted), TimeoutError with
        where the job stands, Transient.
        """
        story = self.story(timeout_s)
        for _ in self._tell(story, timeout_s):
            pass
        return story.result()

    def cancel(self, reason: str = "") -> None:
        """Ask for the job to be cancelled; it stops at the next denoise step. `events` tells what becomes of it."""
        self._client.cancel(self.job_id, reason)

    def hold(self, reason: str = "") -> None:
        """No further chunk until `resume`; what renders is finished, the deadline still counts."""
        self._client.hold(self.job_id, reason)

    def resume(self) -> None:
        """Go on where it was held."""
        self._client.resume(self.job_id)

    def reprioritise(self, priority: int) -> None:
        """priority: -10..10, higher goes first among the tenant's jobs in the lane."""
        self._client.reprioritise(self.job_id, priority)

    def move_lane(self, lane: Lane) -> None:
        """Serve it in another lane from its next chunk on."""
        self._client.move_lane(self.job_id, lane)

    def change_deadline(self, deadline_ms: int | None) -> None:
        """deadline_ms: ms since the epoch, in the future; None takes the deadline away."""
        self._client.change_deadline(self.job_id, deadline_ms)

    def download(self, path: Path | str, timeout_s: float | None = None) -> Path:
        """Wait for the video and write it to `path`, which appears only once its bytes are verified.

        Raises like `wait`, and ObjectMissing or ObjectCorrupt when the store has not what the result says.
        """
        video = self.wait(timeout_s).video
        assert video is not None
        return fetch(self._client.settings, video.file, Path(path))


class Client(Orders):
    """Sends jobs of one tenant and reads the replies to them. Safe to share between threads.

    settings:    Settings, "host:port" of a broker, or nothing for the REELBUS_* environment
    reply_topic: full name of the topic that replies come on; <prefix>.replies.<tenant>.v1 unless given
    signer:      signs requests where the operator asks for that
    lookback_s:  replies so old are at hand at once; older ones are looked up for `job`
    source:      CloudEvents source of the requests; comes back as origin.ce_source of every result
    What needs the broker raises Transient when it is out of reach; who waits for a job goes on waiting.
    """

    def __init__(
        self,
        settings: Settings | str | None = None,
        *,
        tenant: str = "default",
        reply_topic: str = "",
        signer: Signer | None = None,
        lookback_s: float = LOOKBACK_S,
        source: str = SOURCE,
    ) -> None:
        named = Settings(bootstrap_servers=settings) if isinstance(settings, str) else settings
        self.settings = named or load()
        self.tenant = tenant
        self.reply_topic = reply_topic or reply_topic_of(tenant, self.settings.prefix)
        self._lookback_s = lookback_s
        self._sender = Sender(self.settings, signer, source)
        self.inbox = Inbox()
        self._mailbox: Mailbox | None = None
        self._closed = False
        self._opening = threading.Lock()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Send what is waiting and stop reading. Jobs go on."""
        self._sender.flush()
        with self._opening:
            self._closed = True
            if self._mailbox is not None:
                self._mailbox.close()

    @property
    def mailbox(self) -> Mailbox:
        """The reader of the reply topic, opened at first use, and anew when it had to give up."""
        with self._opening:
            if not self._closed and (self._mailbox is None or self._mailbox.gave_up):
                self._mailbox = Mailbox(self.settings, self.inbox, self.tenant, self.reply_topic, self._lookback_s)
            if self._mailbox is None:
                raise Transient(CLOSED)
            return self._mailbox

    def submit(
        self,
        request: Request | None = None,
        *,
        trace: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Job:
        """Publish one job, a JobRequest, a mapping, or its fields as keywords, once the broker has it on all replicas.

        Idempotent: without a `job_id` one is made from the content, so the same call again is the same job; give one to
        have another job of the same content. trace: W3C headers, e.g. {"traceparent": ...}; they come back on results.
        Raises InvalidMessage that names the field; nothing is sent then.
        """
        (job,) = self.submit_many([one_of(request, fields)], trace=trace)
        return job

    def submit_many(self, requests: Iterable[Request], *, trace: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Publish jobs as they come; yields each once the broker has it. At most 500 are unacknowledged.

        A request that is wrong raises InvalidMessage; those before it are sent, it and the rest are not.
        """
        if self._closed:
            raise Transient(CLOSED)
        _ = self.mailbox  # it reads before the first request goes out
        for request in self._sender.requests(map(self._prepared, requests), trace):
            yield Job(self, request.job_id, submission_id(request.job_id, fingerprint(request)))

    def _prepared(self, request: Request) -> JobRequest:
        plain = addressed(request, self.tenant, self.reply_topic)
        return checked(plain, lambda: id_of_content(plain))

    def redo(
        self, request: Request, shot: int, chunk: int | None = None, *, seed: int | None = None, job_id: str = ""
    ) -> Job:
        """Publish a job that makes the same video but for one shot, or one chunk of it (`redo.redone`).

        request: as it was submitted, its job_id included; without one, the id is made from the content as `submit` does
        Raises InvalidMessage that names what is wrong.
        """
        return self.submit(redone(self._prepared(request), shot, chunk, seed=seed, job_id=job_id))

    def job(self, job_id: str) -> Job:
        """A job that was sent before, by whomever, with this client's reply topic."""
        return Job(self, job_id)

    def named(self, job: str) -> tuple[str, str]:
        """A job of this tenant, by its id."""
        return self.tenant, job

    def order(self, order: JobOrder) -> None:
        """Publish an order; see `Orders`."""
        self._sender.order(order)
