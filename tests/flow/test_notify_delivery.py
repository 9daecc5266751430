"""notify against real HTTP servers on this machine: what is sent, and what every kind of answer leads to."""

import contextlib
import dataclasses
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from standardwebhooks import Webhook as Verifier

from schemas.codec import decode, encode
from schemas.errors import Fatal, InvalidMessage
from schemas.events import JobFinished, WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.request import Webhook
from schemas.retries import ATTEMPT_HEADER
from schemas.topics import JOBS_FINISHED_RETRY, NOTIFY_DELAYS, NOTIFY_LOG
from stream_processors.notify import core
from stream_processors.notify.fetch import MAX_ANSWER_BYTES, Fetcher
from stream_processors.notify.outages import FAILURES, PAUSE_MS
from stream_processors.notify.shell import Notifier, due_ms, wall_clock_ms
from stream_processors.notify.signing import Signer, load_signer

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"
OTHER_SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"

Respond = Callable[[socket.socket], None]


@dataclasses.dataclass
class Seen:
    line: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """An HTTP/1.1 server that answers each connection with the next of its responses, the last one for ever."""

    def __init__(self, responses: list[Respond]) -> None:
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self._responses = responses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def url(self, path: str = "/in?token=SECRETTOKEN") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _serve(self) -> None:
        while not self.stopping.is_set():
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):
                if not self.stopping.is_set() and self._read(connection):
                    respond = self._responses[min(len(self.seen), len(self._responses)) - 1]
                    respond(connection)

    def _read(self, connection: socket.socket) -> bool:
        raw = b""
        while b"\r\n\r\n" not in raw:
            if not (part := connection.recv(65536)):
                return False
            raw += part
        head, _, body = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        while len(body) < int(headers["content-length"]):
            body += connection.recv(65536)
        self.seen.append(Seen(line, headers, body))
        return True

    def close(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Receiver]]:
    with contextlib.ExitStack() as stack:

        def start(*responses: Respond) -> Receiver:
            receiver = Receiver(list(responses))
            stack.callback(receiver.close)
            return receiver

        yield start


def answer(status: int, *fields: str, body: bytes = b"ok") -> Respond:
    head = "\r\n".join([f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *fields])
    return lambda connection: connection.sendall(head.encode() + b"\r\n\r\n" + body)


def finished(url: str | None, **changes: object) -> JobFinished:
    job = JobFinished(
        id="e1", job="default/j1", job_id="j1", tenant="default", state="completed", lane="standard", model="shapes",
        requested_at_ms=1, finished_at_ms=1_790_000_000_000, sequence=5,
        webhook=Webhook(url=url) if url else None, metadata={"title": "häuser \u2028 \U0001f3e0"},
    )  # fmt: skip
    return msgspec.structs.replace(job, **changes)


def incoming(job: JobFinished, headers: tuple[tuple[str, bytes], ...] = ()) -> Incoming:
    return Incoming("reelbus.jobs.finished.v1", 0, 0, job.job.encode(), encode(job), headers, 0)


def notifier(
    timeout_s: float = 10, now_ms: Callable[[], int] = wall_clock_ms, secrets: tuple[str, ...] = (SECRET,)
) -> Notifier:
    return Notifier(Signer(secrets), Fetcher(allow_private=True, timeout_s=timeout_s), now_ms)


def delivery(records: list[Outgoing] | tuple[Outgoing, ...]) -> WebhookDelivery:
    logged = [r.record for r in records if r.topic is NOTIFY_LOG]
    assert len(logged) == 1
    assert isinstance(logged[0], WebhookDelivery)
    assert decode(WebhookDelivery, encode(logged[0])) == logged[0]
    return logged[0]


def retried(records: list[Outgoing]) -> Outgoing:
    (retry,) = [r for r in records if r.topic in JOBS_FINISHED_RETRY.values()]
    return retry


def test_a_delivered_message_verifies_and_carries_the_record(serve: Callable[..., Receiver]) -> None:
    receiver = serve(answer(204, body=b""))
    job = finished(receiver.url())
    records = list(notifier()(incoming(job)))
    (seen,) = receiver.seen
    assert seen.line == "POST /in?token=SECRETTOKEN HTTP/1.1"
    assert seen.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert seen.headers["content-type"] == "application/json"
    told = Verifier(SECRET).verify(seen.body, seen.headers)
    assert told["type"] == "video.completed"
    assert told["id"] == seen.headers["webhook-id"] == core.message_id(job.job)
    assert told["data"]["metadata"] == job.metadata
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(SECRET).verify(seen.body.replace(b"completed", b"cancelled"), seen.headers)
    assert len(records) == 1
    logged = delivery(records)
    assert (logged.outcome, logged.status, logged.attempt, logged.error) == ("delivered", 204, 1, "")


def test_500_then_200_arrives_at_the_second_try_with_the_same_id(serve: Callable[..., Receiver]) -> None:
    receiver = serve(answer(500), answer(200))
    clock = iter(range(1_790_000_000_000, 1_790_001_000_000, 1000))
    handle = notifier(now_ms=lambda: next(clock))
    first = list(handle(incoming(finished(receiver.url()))))
    logged = delivery(first)
    assert (logged.outcome, logged.status, logged.attempt) == ("retry", 500, 1)
    again = retried(first)
    assert again.topic is JOBS_FINISHED_RETRY["5s"]
    assert again.key == "default/j1"
    assert again.record == finished(receiver.url()), "the retry carries the record unchanged"
    assert again.record is not None
    second = Incoming("retry", 0, 0, b"default/j1", encode(again.record), again.headers, 0)
    assert due_ms(second) == logged.at_ms + 5000
    records = list(handle(second))
    assert (delivery(records).outcome, delivery(records).attempt, len(records)) == ("delivered", 2, 1)
    one, two = receiver.seen
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert one.body == two.body
    assert one.headers["webhook-timestamp"] < two.headers["webhook-timestamp"], "each try has its own timestamp"


def test_a_receiver_that_never_recovers_gets_every_try_of_the_table_and_no_more(
    serve: Callable[..., Receiver],
) -> None:
    receiver = serve(answer(503))
    handle = notifier()
    record = incoming(finished(receiver.url()))
    delays = []
    while len(records := list(handle(record))) == 2:
        again = retried(records)
        assert again.record is not None
        delays.append(next(delay for delay, topic in JOBS_FINISHED_RETRY.items() if topic is again.topic))
        record = Incoming("retry", 0, 0, b"default/j1", encode(again.record), again.headers, 0)
    assert delays == [delay for delay, _ in NOTIFY_DELAYS]
    assert delivery(records).outcome == "given-up"
    assert len(receiver.seen) == core.MAX_ATTEMPTS


def test_redirects_are_not_followed(serve: Callable[..., Receiver]) -> None:
    elsewhere = serve(answer(200))
    receiver = serve(answer(302, f"Location: {elsewhere.url()}"))
    records = list(notifier()(incoming(finished(receiver.url()))))
    assert (delivery(records).outcome, delivery(records).status) == ("retry", 302)
    assert elsewhere.seen == []


def test_410_ends_it(serve: Callable[..., Receiver]) -> None:
    receiver = serve(answer(410))
    records = list(notifier()(incoming(finished(receiver.url()))))
    assert (delivery(records).outcome, delivery(records).status, len(records)) == ("given-up", 410, 1)


def test_retry_after_picks_a_longer_delay(serve: Callable[..., Receiver]) -> None:
    receiver = serve(answer(429, "Retry-After: 120"))
    assert retried(list(notifier()(incoming(finished(receiver.url()))))).topic is JOBS_FINISHED_RETRY["10m"]


def hangs(receiver: list[Receiver]) -> Respond:
    return lambda _connection: void(receiver[0].stopping.wait())


def void(_value: object) -> None:
    return None


def drips(head: bytes) -> Callable[[list[Receiver]], Respond]:
    """Sends one byte at a time, well within any time-out per read, for ever."""

    def make(receiver: list[Receiver]) -> Respond:
        def respond(connection: socket.socket) -> None:
            connection.sendall(head)
            while not receiver[0].stopping.wait(0.05):
                connection.sendall(b"x")

        return respond

    return make


@pytest.mark.parametrize(
    "slow",
    [
        hangs,
        drips(b""),
        drips(b"HTTP/1.1 200 OK\r\nX-Long: "),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
    ],
    ids=["silent", "drips-status", "drips-header", "drips-body"],
)
def test_a_slow_receiver_is_cut_off(serve: Callable[..., Receiver], slow: Callable[[list[Receiver]], Respond]) -> None:
    box: list[Receiver] = []
    box.append(serve(slow(box)))
    records = list(notifier(timeout_s=0.5)(incoming(finished(box[0].url()))))
    logged = delivery(records)
    assert (logged.outcome, logged.status, logged.error) == (
        "retry", 0, "no complete answer in time; next try in 5s",
    )  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\x1b[31m\x00line\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
    ],
    ids=["closes", "dies-mid-body", "dies-mid-chunk", "dies-mid-status", "not-http", "bad-header", "endless-header"],
)
def test_a_broken_answer_is_no_delivery(serve: Callable[..., Receiver], raw: bytes) -> None:
    receiver = serve(lambda connection: connection.sendall(raw))
    records = list(notifier()(incoming(finished(receiver.url()))))
    logged = delivery(records)
    assert (logged.outcome, logged.status) == ("retry", 0)
    assert logged.error.isprintable()
    assert len(logged.error) < 300
    assert "SECRETTOKEN" not in logged.error
    retried(records)


def test_of_a_huge_answer_only_the_start_is_read(serve: Callable[..., Receiver]) -> None:
    sent: list[int] = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while sum(sent) < 2**30:
                sent.append(connection.send(b"x" * MAX_ANSWER_BYTES))

    receiver = serve(endless)
    assert delivery(list(notifier()(incoming(finished(receiver.url()))))).outcome == "delivered"
    receiver.close()
    assert sum(sent) < 2**30, "the connection was closed on the endless answer"


def test_no_receiver_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    records = list(notifier()(incoming(finished(f"http://127.0.0.1:{port}/"))))
    assert (delivery(records).outcome, delivery(records).status) == ("retry", 0)
    assert "refused" in delivery(records).error.lower()


def test_a_job_without_webhook_sends_and_logs_nothing() -> None:
    assert list(notifier()(incoming(finished(None)))) == []


def test_without_a_secret_nothing_is_sent_and_the_log_says_why(serve: Callable[..., Receiver]) -> None:
    receiver = serve(answer(200))
    handle = Notifier(None, Fetcher(allow_private=True), wall_clock_ms)
    records = list(handle(incoming(finished(receiver.url()))))
    assert delivery(records).outcome == "refused"
    assert "no webhook secret" in delivery(records).error
    assert receiver.seen == []


def test_a_receiver_that_hangs_does_not_hold_up_the_others(serve: Callable[..., Receiver]) -> None:
    box: list[Receiver] = []
    box.append(serve(hangs(box)))
    well = serve(answer(200))
    now_ms = [1_790_000_000_000]
    handle = notifier(timeout_s=0.2, now_ms=lambda: now_ms[0])
    for _ in range(FAILURES):
        handle(incoming(finished(box[0].url())))
    records = list(handle(incoming(finished(box[0].url()))))
    assert delivery(records).error.startswith("not sent: the receiver gave no answer several times")
    retried(records)
    assert delivery(list(handle(incoming(finished(well.url()))))).outcome == "delivered"
    now_ms[0] += PAUSE_MS
    records = list(handle(incoming(finished(box[0].url()))))
    assert delivery(records).error.startswith("no complete answer in time"), "after the pause it is tried again"


def test_bad_records_are_dead_letters() -> None:
    handle = notifier()
    good = incoming(finished("http://127.0.0.1:9/"))
    for value in (b"", b"{", b"\xff\xfe", b"[]", b'{"id":1}', None):
        with pytest.raises(InvalidMessage):
            handle(dataclasses.replace(good, value=value))
    with pytest.raises(InvalidMessage, match="reelbus-attempt"):
        handle(dataclasses.replace(good, headers=((ATTEMPT_HEADER, b"99"),)))


def test_secrets_and_tokens_stay_out_of_logs_and_records(
    serve: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = serve(answer(500), lambda connection: connection.close(), answer(410), answer(200))
    handle = notifier()
    logged = [delivery(list(handle(incoming(finished(receiver.url()))))) for _ in range(4)]
    assert len(receiver.seen) == 4
    text = caplog.text + json.dumps([msgspec.to_builtins(record) for record in logged])
    assert "default/j1" in caplog.text
    for canary in (SECRET, SECRET.removeprefix("whsec_"), "SECRETTOKEN"):
        assert canary not in text
    assert all(SECRET.encode() not in seen.body and SECRET not in str(seen.headers) for seen in receiver.seen)


def test_both_secrets_verify_during_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{OTHER_SECRET}\n{SECRET}\n")
    headers = load_signer(file).headers("m1", datetime.now(UTC), b'{"a":1}')
    for secret in (SECRET, OTHER_SECRET):
        assert Verifier(secret).verify(b'{"a":1}', headers) == {"a": 1}
    with pytest.raises(Exception, match="No matching signature"):
        Verifier("whsec_" + "A" * 32).verify(b'{"a":1}', headers)


@pytest.mark.parametrize(
    "text", ["", "\n", "hunter2hunter2hunter2hunter2hunter2", "whsec_CANARY", "whsec_Q0FOQVJZ", "whsec_!" + "A" * 40,
             f"{SECRET}\nwhsec_" + "A" * 200]
)  # fmt: skip
def test_a_wrong_secret_file_stops_the_stage_and_is_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(Fatal, match="webhook secret file") as caught:
        load_signer(file)
    for line in text.split():
        assert line not in str(caught.value)
    with pytest.raises(Fatal, match="cannot read webhook secret file"):
        load_signer(tmp_path / "absent")
