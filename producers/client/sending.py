"""Sends requests and orders: idempotent, acknowledged by all replicas, with the headers of the contract."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from ops.bus import clients
from ops.settings import Settings
from producers.client.reader import partitions_of
from producers.client.signing import Signer
from producers.client.story import submission_id
from schemas.cloud_events import TRACE
from schemas.codec import decode, encode
from schemas.errors import InvalidMessage, JobRejected, Transient
from schemas.ids import fingerprint, job_key
from schemas.request import JobOrder, JobRequest
from schemas.steering import check
from schemas.topics import JOBS_REQUESTED, ORDERS_REQUESTED, Topic

MOST_ON_THEIR_WAY = 500
DELIVERY_TIMEOUT_MS = 60_000
REPORT_TIMEOUT_S = 5.0
SOURCE = "/reelbus/client"


class _Sent:
    """One record on its way."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.error: KafkaError | None = None
        self._reported = threading.Event()

    def __call__(self, error: KafkaError | None, message: object) -> None:
        self.error = error
        self._reported.set()

    @property
    def done(self) -> bool:
        """Whether its delivery report came."""
        return self._reported.is_set()

    def check(self) -> None:
        """Raises Transient when the broker did not take it."""
        # Another thread that polls the same producer may have taken the report and not handed it over yet.
        if not self._reported.wait(REPORT_TIMEOUT_S) or self.error is not None:
            why = self.error.str() if self.error is not None else "no acknowledgement"
            raise Transient(f"{self.what} was not taken by the broker: {why}")


class Sender:
    """One producer. Safe for several threads.

    signer: signs every record; None where the operator asks for no signatures
    source: CloudEvents source of the records, e.g. /shop/checkout; comes back as `origin.ce_source` of every result
    """

    def __init__(self, settings: Settings, signer: Signer | None = None, source: str = SOURCE) -> None:
        self._settings = settings
        self._signer = signer
        self._source = source
        self._opened: Producer | None = None
        self._opening = threading.Lock()

    @property
    def _producer(self) -> Producer:
        with self._opening:
            if self._opened is None:
                made = clients.producer(self._settings, delivery_timeout_ms=DELIVERY_TIMEOUT_MS)
                partitions_of(made, self._settings, [*JOBS_REQUESTED.values(), ORDERS_REQUESTED])
                self._opened = made
            return self._opened

    def requests(self, requests: Iterable[JobRequest], trace: Mapping[str, str] | None = None) -> Iterator[JobRequest]:
        """Publish requests as they come; yields each once the broker has it. At most 500 are unacknowledged.

        trace: W3C trace context for their headers: traceparent, tracestate, baggage
        An InvalidMessage that `requests` raises comes through after all before it are acknowledged. Raises Transient.
        """
        waiting: deque[tuple[JobRequest, _Sent]] = deque()
        fault: InvalidMessage | None = None
        try:
            for request in requests:
                what = f"job {job_key(request.tenant, request.job_id)}"
                sent = self._send(JOBS_REQUESTED[request.lane], request.tenant, request.job_id, request, what, trace)
                waiting.append((request, sent))
                self._producer.poll(0)
                if len(waiting) >= MOST_ON_THEIR_WAY:
                    self.flush()
                while waiting and waiting[0][1].done:
                    yield _acknowledged(waiting.popleft())
        except InvalidMessage as exc:
            fault = exc
        self.flush()
        yield from map(_acknowledged, waiting)
        if fault is not None:
            raise fault

    def order(self, order: JobOrder) -> None:
        """Publish an order. Raises InvalidMessage for a wrong one, Transient when the broker did not take it."""
        self.orders([order])

    def orders(self, orders: Iterable[JobOrder]) -> int:
        """Publish orders as they come and wait for all; returns how many. Raises like `order`."""
        waiting: deque[_Sent] = deque()
        count = 0
        for order in orders:
            count += 1
            decode(JobOrder, encode(order, "json"))
            try:
                check(order)
            except JobRejected as refusal:
                raise InvalidMessage(refusal.message) from None
            what = f"the order to {order.action} {job_key(order.tenant, order.job_id)}"
            waiting.append(self._send(ORDERS_REQUESTED, order.tenant, order.job_id, order, what, None))
            self._producer.poll(0)
            if len(waiting) >= MOST_ON_THEIR_WAY:
                self.flush()
            while waiting and waiting[0].done:
                waiting.popleft().check()
        self.flush()
        for sent in waiting:
            sent.check()
        return count

    def _send(
        self, topic: Topic, tenant: str, key: str, record: msgspec.Struct, what: str, trace: Mapping[str, str] | None
    ) -> _Sent:
        name, value = topic.name(self._settings.prefix), encode(record, "json")
        given = {
            "ce_specversion": "1.0",
            "ce_id": submission_id(key, fingerprint(record)),
            "ce_source": self._source,
            "ce_type": f"reelbus.{topic.entity}.v1",
            "ce_subject": key,
            "content-type": "application/json",
            **{header: text for header, text in (trace or {}).items() if header in TRACE},
        }
        headers: list[tuple[str, str | bytes | None]] = [*given.items()]
        if self._signer is not None:
            headers.append(self._signer.sign(name, tenant, key, value))
        sent = _Sent(what)
        produce: Callable[..., None] = self._producer.produce
        try:
            produce(name, key=key, value=value, headers=headers, on_delivery=sent)
        except KafkaException as exc:
            raise Transient(f"cannot send: {exc.args[0].str()}") from None
        return sent

    def flush(self) -> None:
        """Wait until every record is delivered or failed, which is bounded by delivery.timeout.ms."""
        if self._opened is not None:
            self._opened.flush(DELIVERY_TIMEOUT_MS / 1000 + 5)


def _acknowledged(entry: tuple[JobRequest, _Sent]) -> JobRequest:
    entry[1].check()
    return entry[0]
