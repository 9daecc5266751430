"""The producer of jobs and reader of results."""

import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from ops.bus import clients
from ops.settings import Settings
from producers.client.core import checked, key_of, name_of
from producers.client.reader import TopicReader, partitions_of
from schemas.codec import encode
from schemas.errors import InvalidMessage, Transient
from schemas.events import JobFinished, JobState
from schemas.ids import job_key
from schemas.lifecycle import TERMINAL
from schemas.request import JobOrder, JobRequest
from schemas.topics import JOBS_FINISHED, JOBS_REQUESTED, JOBS_STATE, ORDERS_REQUESTED, Topic

MOST_ON_THEIR_WAY = 500
DELIVERY_TIMEOUT_MS = 60_000
POLL_S = 0.25


def new_job_id() -> str:
    """A job id that nobody has used."""
    return uuid.uuid4().hex


class _Sent:
    """One record on its way."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.done = False
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, message: object) -> None:
        self.done, self.error = True, error

    def acknowledged(self) -> str:
        """What was sent. Raises Transient when the broker did not take it."""
        if not self.done or self.error is not None:
            why = self.error.str() if self.error is not None else "no acknowledgement"
            raise Transient(f"{self.what} was not taken by the broker: {why}")
        return self.what


class Client:
    """Submits jobs and reads what became of them. One per thread.

    A job's name is its job id, or ``tenant/job_id`` for a tenant other than ``default``.
    Every method raises Transient when the broker is out of reach.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opened: Producer | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    @property
    def _producer(self) -> Producer:
        if self._opened is None:
            made = clients.producer(self.settings, delivery_timeout_ms=DELIVERY_TIMEOUT_MS)
            partitions_of(made, self.settings, [*JOBS_REQUESTED.values(), ORDERS_REQUESTED])
            self._opened = made
        return self._opened

    def submit(self, request: JobRequest | Mapping[str, Any]) -> str:
        """Publish one job and return its name, once the broker has it on all replicas.

        The request is checked here by the same decoding as in the pipeline. Raises InvalidMessage that names the
        field; nothing is sent then. Sending the same job id twice is safe: the second changes nothing.
        """
        (name,) = self.submit_many([request])
        return name

    def submit_many(self, requests: Iterable[JobRequest | Mapping[str, Any]]) -> Iterator[str]:
        """Publish jobs as they come; yields each name once the broker has it. At most 500 are unacknowledged.

        A request that is wrong raises InvalidMessage; those before it are sent, it and the rest are not.
        """
        waiting: deque[_Sent] = deque()
        fault: InvalidMessage | None = None
        try:
            for request in requests:
                good = checked(request, new_job_id)
                name = name_of(job_key(good.tenant, good.job_id))
                waiting.append(self._send(JOBS_REQUESTED[good.lane], good.job_id, good, what=name))
                self._producer.poll(0)
                if len(waiting) >= MOST_ON_THEIR_WAY:
                    self._flush()
                while waiting and waiting[0].done:
                    yield waiting.popleft().acknowledged()
        except InvalidMessage as exc:
            fault = exc
        self._flush()
        yield from (sent.acknowledged() for sent in waiting)
        if fault is not None:
            raise fault

    def _send(self, topic: Topic, key: str, record: msgspec.Struct, what: str) -> _Sent:
        sent = _Sent(what)
        try:
            self._producer.produce(
                topic.name(self.settings.prefix), key=key, value=encode(record, "json"), on_delivery=sent
            )
        except KafkaException as exc:
            raise Transient(f"cannot send: {exc.args[0].str()}") from None
        return sent

    def _flush(self) -> None:
        # Every record ends as delivered or failed within delivery.timeout.ms, so this is bounded.
        if self._opened is not None:
            self._opened.flush(DELIVERY_TIMEOUT_MS / 1000 + 5)

    def cancel(self, job: str, reason: str = "") -> None:
        """Ask for a job to be cancelled; it stops at the next chunk. A finished job stays as it is."""
        tenant, _, job_id = key_of(job).partition("/")
        order = JobOrder(tenant=tenant, job_id=job_id, action="cancel", reason=reason)
        sent = self._send(ORDERS_REQUESTED, job_id, order, what=f"the order to cancel {job}")
        self._flush()
        sent.acknowledged()

    def states(self, jobs: Iterable[str] = (), *, follow: bool = True) -> Iterator[JobState]:
        """States of all jobs, or of `jobs`: first what is known, then every change as it happens.

        Without `follow` it ends where the topic ended. With it, it never ends by itself.
        """
        wanted = {key_of(job) for job in jobs}
        with TopicReader(self.settings, [JOBS_STATE]) as reader:
            while follow or not reader.caught_up:
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobState) and (not wanted or entry.record.job in wanted):
                        yield entry.record

    def state(self, job: str) -> JobState | None:
        """Where a job stands now; None when nothing is known of it."""
        known = list(self.states([job], follow=False))
        return max(known, key=lambda state: state.sequence, default=None)

    def wait(self, job: str, timeout_s: float) -> JobState:
        """The terminal state of a job. Raises Transient when it has none after `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        key, last = key_of(job), "not known"
        with TopicReader(self.settings, [JOBS_STATE]) as reader:
            while time.monotonic() < until_s:
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobState) and entry.record.job == key:
                        last = entry.record.state
                        if last in TERMINAL:
                            return entry.record
        raise Transient(f"job {job} is {last} after {timeout_s:g} s")

    def results(self, *, follow: bool = True) -> Iterator[JobFinished]:
        """Terminal records of all jobs, exactly one per job, as far back as the topic keeps them."""
        with TopicReader(self.settings, [JOBS_FINISHED]) as reader:
            while follow or not reader.caught_up:
                for entry in reader.poll(POLL_S):
                    if isinstance(entry.record, JobFinished):
                        yield entry.record
