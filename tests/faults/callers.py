"""What the outside does to a pipeline: services that send jobs, cancel them, and receive webhooks."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from confluent_kafka import Consumer, KafkaError, Producer
from msgspec.structs import replace

from ops.bus import clients
from ops.settings import Settings
from schemas.codec import decode, encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent, JobFinished
from schemas.request import JobOrder, JobRequest
from schemas.topics import JOBS_EVENTS, JOBS_FINISHED, JOBS_REQUESTED, ORDERS_REQUESTED
from tests.faults.jobs import Asked, another
from tests.faults.stack import reply_topic

RUBBISH = (b"", b"{", b"\x00\x00\x00\x00\x01", b'{"job_id": "x"}', b"\xff" * 300, b'{"shots": 1e309}')
"""Sent between the jobs: each becomes a dead letter or a refusal and harms nobody."""
RUBBISH_EVERY = 25
DELIVERY_TIMEOUT_MS = 900_000
"""A caller that is in earnest waits for its broker; whoever gives up sends the same job again."""


class Callers:
    """Sends the jobs over `over_s` seconds and watches what becomes of them, in threads of its own."""

    def __init__(self, settings: Settings, jobs: Sequence[Asked], over_s: float) -> None:
        self.settings, self.jobs, self.over_s = settings, list(jobs), over_s
        self.acknowledged: set[str] = set()
        self.finished: dict[str, str] = {}
        """State by job, as committed readers see it."""
        self.rubbish = 0
        self.failures: list[str] = []
        self._producer: Producer = clients.producer(
            settings, delivery_timeout_ms=DELIVERY_TIMEOUT_MS, reconnect_backoff_max_ms=1000
        )
        self._cancels = {a.job: a for a in jobs if a.cancel_at is not None}
        self._stop = threading.Event()
        self._sent = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send_all, self._watch)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._producer.flush(30)

    @property
    def all_sent(self) -> bool:
        return self._sent.is_set()

    def left(self) -> set[str]:
        """Acknowledged jobs without a terminal record."""
        return self.acknowledged - set(self.finished)

    def send(self, asked: Asked) -> None:
        """Send one job now, as often as it says, and what belongs to it."""
        request = replace(asked.request, reply_topic=reply_topic(self.settings, asked.request.tenant).full_name)
        if asked.deadline_in_s is not None:
            request = replace(request, deadline_ms=int((time.time() + asked.deadline_in_s) * 1000))
        for _ in range(asked.copies):
            self._produce(request, asked.job)
        if asked.kind == "conflict":
            self._produce(replace(another(asked), reply_topic=request.reply_topic), "")

    def _produce(self, request: JobRequest, job: str) -> None:
        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                self.failures.append(f"{request.job_id}: {error}")
            elif job:
                self.acknowledged.add(job)

        topic = JOBS_REQUESTED[request.lane].name(self.settings.prefix)
        value = encode(request, "json" if len(request.shots) == 1 else "avro")
        self._producer.produce(topic, key=request.job_id.encode(), value=value, on_delivery=delivered)
        self._producer.poll(0)

    def _send_all(self) -> None:
        began_s = time.monotonic()
        for number, asked in enumerate(self.jobs):
            due_s = began_s + self.over_s * number / max(1, len(self.jobs))
            while time.monotonic() < due_s and not self._stop.is_set():
                self._producer.poll(min(0.1, max(0.0, due_s - time.monotonic())))
            if self._stop.is_set():
                return
            self.send(asked)
            if number % RUBBISH_EVERY == 0:
                value = RUBBISH[number // RUBBISH_EVERY % len(RUBBISH)]
                self._producer.produce(JOBS_REQUESTED["bulk"].name(self.settings.prefix), key=b"rubbish", value=value)
                self.rubbish += 1
        while self._producer.flush(1) and not self._stop.is_set():
            pass
        self._sent.set()
        while not self._stop.is_set():
            self._producer.poll(0.2)

    def _watch(self) -> None:
        watcher: Consumer = clients.consumer(
            self.settings, f"{self.settings.prefix}.callers", reconnect_backoff_max_ms=1000
        )
        topics = {t.name(self.settings.prefix): t for t in (JOBS_EVENTS, JOBS_FINISHED)}
        watcher.subscribe(list(topics))
        while not self._stop.is_set():
            message = watcher.poll(0.2)
            if message is None or message.error() is not None or message.value() is None:
                continue
            try:
                if topics[message.topic() or ""] is JOBS_FINISHED:
                    done = decode(JobFinished, message.value())
                    self.finished[done.job] = done.state
                else:
                    self._react(decode(JobEvent, message.value()))
            except InvalidMessage as exc:
                self.failures.append(f"{message.topic()}: {exc}")
        watcher.close()

    def _react(self, event: JobEvent) -> None:
        asked = self._cancels.get(event.job)
        if asked is None or event.type != asked.cancel_at:
            return
        del self._cancels[event.job]
        order = JobOrder(tenant=asked.request.tenant, job_id=asked.request.job_id, action="cancel", reason="no longer")
        topic = ORDERS_REQUESTED.name(self.settings.prefix)
        self._producer.produce(topic, key=asked.request.job_id.encode(), value=encode(order, "json"))


class Receiver:
    """Takes webhooks on a loopback port and remembers their ids by path. Every seventh is refused once, then taken."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = defaultdict(list)
        """Ids of all tries by path."""
        self.taken: dict[str, int] = defaultdict(int)
        lock, receiver = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    tries = receiver.ids[self.path]
                    tries.append(self.headers.get("webhook-id", ""))
                    refused = len(tries) == 1 and len(receiver.ids) % 7 == 0
                    receiver.taken[self.path] += not refused
                self.send_response(503 if refused else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
