"""The S3 store when network or service fail: real requests through a proxy that misbehaves, to moto's server."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore import exceptions as boto
from moto.server import ThreadedMotoServer

from ops.storage.s3 import CONDITIONAL_TRIES, S3Store
from ops.storage.s3_errors import explain
from ops.storage.store import ObjectCorrupt, PutOutcome
from schemas.errors import Fatal, PipelineError, Transient

MIB = 1 << 20

Fault = Callable[["Handler"], bool]
"""Looks at a request; True when it has dealt with it, False to let it pass."""


class Proxy(ThreadingHTTPServer):
    """Passes requests on, except for those that a fault takes."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream, self.faults, self.seen = upstream, list[Fault](), list[str]()
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.seen.append(f"{self.command} {self.path}")
        if not any(fault(self) for fault in list(self.server.faults)):
            self.answer(*self.forward())

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def forward(self, without: str = "") -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.server.upstream)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", without)}
        upstream.request(self.command, self.path, self.body, headers)
        reply = upstream.getresponse()
        answer = (reply.status, reply.getheaders(), reply.read())
        upstream.close()
        return answer

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = {n.lower(): v for n, v in headers}.get("content-length", str(len(body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
        self.answer(status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def refusing(request: str, status: int, code: str, times: int = 10**6) -> Fault:
    """Answers the first `times` requests whose line starts with `request` with an error of S3."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if not f"{handler.command} {handler.path}".startswith(request) or left[0] == 0:
            return False
        left[0] -= 1
        handler.refuse(status, code)
        return True

    return fault


def losing_the_answer(of: Callable[[Handler], bool]) -> Fault:
    """Does the first such request, and closes the connection instead of answering."""
    done = list[bool]()

    def fault(handler: Handler) -> bool:
        if done or not of(handler):
            return False
        done.append(True)
        assert handler.forward()[0] == 200
        handler.close_connection = True
        return True

    return fault


def altering(times: int) -> Fault:
    """The first bodies that are read have another first byte."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if handler.command != "GET" or left[0] == 0:
            return False
        left[0] -= 1
        status, headers, body = handler.forward()
        handler.answer(status, headers, bytes([body[0] ^ 0xFF]) + body[1:])
        return True

    return fault


@pytest.fixture(scope="module")
def moto_address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def plain(moto_address: str) -> Any:
    """boto3 itself, past the proxy."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.session.Session(**keys, region_name="us-east-1").client("s3", endpoint_url=f"http://{moto_address}")


@pytest.fixture
def proxy(moto_address: str) -> Iterator[Proxy]:
    with Proxy(moto_address) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield proxy
        proxy.released.set()
        proxy.shutdown()
        thread.join()


@pytest.fixture
def bucket(plain: Any) -> Iterator[str]:
    name = f"test-{uuid4()}"
    plain.create_bucket(Bucket=name)
    yield name
    assert plain.list_multipart_uploads(Bucket=name).get("Uploads", []) == []


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def make_store(
    proxy: Proxy, bucket: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., S3Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    def make(**options: Any) -> S3Store:
        usual = {"multipart_from_bytes": 6 * MIB, "part_bytes": 5 * MIB, "max_attempts": 2, "pause": pauses.append}
        return S3Store(bucket, **{"endpoint_url": proxy.url, **usual, **options})

    return make


def test_a_put_whose_answer_got_lost_ends_as_existed_with_its_own_hash(
    proxy: Proxy, make_store: Callable[..., S3Store]
) -> None:
    proxy.faults.append(losing_the_answer(lambda request: request.command == "PUT"))
    outcome, info = make_store().put("k", b"pixels", "text/plain")
    assert outcome is PutOutcome.EXISTED
    assert info == make_store().head("k")
    assert make_store().read("k") == b"pixels"


@pytest.mark.parametrize("times", [1, 2])
def test_a_body_that_is_altered_on_its_way_is_read_once_more(
    proxy: Proxy, make_store: Callable[..., S3Store], tmp_path: Path, times: int
) -> None:
    """Whoever finds an object corrupt deletes it."""
    make_store().put("k", b"pixels", "text/plain")
    proxy.faults.append(altering(times))
    if times == 1:
        assert make_store().fetch("k", tmp_path / "k").size_bytes == 6
        assert (tmp_path / "k").read_bytes() == b"pixels"
    else:
        with pytest.raises(ObjectCorrupt, match="recorded sha256"):
            make_store().read("k")
    assert [line.split()[0] for line in proxy.seen].count("GET") == 2


@pytest.mark.parametrize(
    ("second_answer", "expected"),
    [
        (None, PutOutcome.CREATED),
        ((404, "NoSuchUpload"), PutOutcome.EXISTED),
        ((412, "PreconditionFailed"), PutOutcome.EXISTED),
    ],
    ids=["done-again", "upload-gone", "taken"],
)
def test_an_upload_whose_completion_got_lost_is_stored_once(
    proxy: Proxy,
    make_store: Callable[..., S3Store],
    bucket: str,
    second_answer: tuple[int, str] | None,
    expected: PutOutcome,
) -> None:
    """Services answer a completion that comes twice in three ways."""
    data = bytes(7 * MIB)
    proxy.faults.append(losing_the_answer(lambda request: request.command == "POST" and "?uploadId" in request.path))
    if second_answer:
        proxy.faults.append(refusing(f"POST /{bucket}/k?uploadId", *second_answer))
    outcome, info = make_store().put("k", data, "text/plain")
    assert (outcome, info.size_bytes) == (expected, len(data))
    assert make_store().head("k") == info
    assert make_store().read("k") == data


def test_a_raced_put_is_tried_again(
    proxy: Proxy, make_store: Callable[..., S3Store], pauses: list[float], bucket: str
) -> None:
    proxy.faults.append(refusing(f"PUT /{bucket}/k", 409, "ConditionalRequestConflict", times=2))
    assert make_store().put("k", b"pixels", "text/plain")[0] is PutOutcome.CREATED
    assert pauses == [0.1, 0.2]


def test_a_put_that_races_forever_is_transient(proxy: Proxy, make_store: Callable[..., S3Store], bucket: str) -> None:
    proxy.faults.append(refusing(f"PUT /{bucket}/k", 409, "ConditionalRequestConflict"))
    with pytest.raises(Transient, match="no clear outcome"):
        make_store().put("k", b"pixels", "text/plain")
    assert len(proxy.seen) == CONDITIONAL_TRIES


def test_a_put_is_tried_again_when_the_winner_is_gone(
    proxy: Proxy, make_store: Callable[..., S3Store], bucket: str
) -> None:
    proxy.faults.append(refusing(f"PUT /{bucket}/k", 412, "PreconditionFailed", times=1))
    assert make_store().put("k", b"pixels", "text/plain")[0] is PutOutcome.CREATED


def test_a_service_that_is_down_is_tried_again_then_transient(
    proxy: Proxy, make_store: Callable[..., S3Store], tmp_path: Path
) -> None:
    proxy.faults.append(refusing("", 503, "SlowDown"))
    store = make_store()
    for call in (
        lambda: store.put("k", b"x", "text/plain"),
        lambda: store.put("k", bytes(7 * MIB), "text/plain"),
        lambda: store.head("k"),
        lambda: store.fetch("k", tmp_path / "out"),
        lambda: store.delete("k"),
        lambda: list(store.list("")),
    ):
        proxy.seen.clear()
        with pytest.raises(Transient, match="503"):
            call()
        assert len(proxy.seen) == 2


def test_a_failed_part_aborts_the_upload(
    proxy: Proxy, make_store: Callable[..., S3Store], bucket: str, plain: Any
) -> None:
    def fail_the_second(request: Handler) -> bool:
        if "partNumber=2" in request.path:
            request.refuse(500, "InternalError")
        return "partNumber=2" in request.path

    proxy.faults.append(fail_the_second)
    with pytest.raises(Transient, match="part 2"):
        make_store().put("k", bytes(7 * MIB), "text/plain")
    assert any(line.startswith(f"DELETE /{bucket}/k?uploadId") for line in proxy.seen)
    assert plain.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_source_that_changes_while_it_is_stored_is_not_published(
    proxy: Proxy, make_store: Callable[..., S3Store], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.write_bytes(bytes(12 * MIB))

    def change(request: Handler) -> bool:
        if "partNumber=1" in request.path:
            with source.open("r+b") as stream:
                stream.seek(11 * MIB)
                stream.write(b"changed")
        return False

    proxy.faults.append(change)
    with pytest.raises(Transient, match="was changed"):
        make_store().put("k", source, "text/plain")
    assert make_store().head("k") is None


def test_a_body_that_breaks_off_is_transient_and_no_file_appears(
    proxy: Proxy, make_store: Callable[..., S3Store], tmp_path: Path
) -> None:
    store = make_store()
    store.put("k", bytes(MIB), "text/plain")

    def cut(request: Handler) -> bool:
        if request.command == "GET":
            request.answer(*request.forward(), cut=True)
        return request.command == "GET"

    proxy.faults.append(cut)
    with pytest.raises(Transient, match="cannot read object k"):
        store.fetch("k", tmp_path / "out")
    with pytest.raises(Transient, match="cannot read object k"):
        store.read("k")
    assert list(tmp_path.iterdir()) == []


def test_a_silent_service_is_transient(proxy: Proxy, make_store: Callable[..., S3Store]) -> None:
    proxy.faults.append(lambda _: proxy.released.wait())
    with pytest.raises(Transient, match="timeout"):
        make_store(timeout_s=0.3, max_attempts=1).head("k")


def test_no_service_is_transient(make_store: Callable[..., S3Store]) -> None:
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        store = make_store(endpoint_url=f"http://127.0.0.1:{bound_but_deaf.getsockname()[1]}", max_attempts=1)
        with pytest.raises(Transient, match="Could not connect"):
            store.put("k", b"x", "text/plain")


def test_a_service_without_conditional_writes_fails_the_probe(
    proxy: Proxy, make_store: Callable[..., S3Store], plain: Any, bucket: str
) -> None:
    def forget_the_condition(request: Handler) -> bool:
        request.answer(*request.forward(without="if-none-match"))
        return True

    make_store().probe()
    proxy.faults.append(forget_the_condition)
    with pytest.raises(Fatal, match="ignores If-None-Match"):
        make_store().probe()
    assert plain.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_no_credentials_are_fatal(
    make_store: Callable[..., S3Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Fatal, match="AWS_ACCESS_KEY_ID"):
        make_store().put("k", b"x", "text/plain")


@pytest.mark.parametrize(
    ("status", "code", "expected", "advice"),
    [
        (403, "AccessDenied", Fatal, "s3:PutObject"),
        (403, "403", Fatal, "s3:ListBucket"),
        (403, "InvalidAccessKeyId", Fatal, "AWS_ACCESS_KEY_ID"),
        (403, "RequestTimeTooSkewed", Fatal, "clock"),
        (404, "NoSuchBucket", Fatal, "create the bucket"),
        (400, "ExpiredToken", Fatal, "renew"),
        (301, "PermanentRedirect", Fatal, "region"),
        (501, "NotImplemented", Fatal, "another"),
        (418, "Unheard", Fatal, "418 Unheard"),
        (500, "InternalError", Transient, "500"),
        (503, "SlowDown", Transient, "SlowDown"),
        (429, "Whatever", Transient, "429"),
        (400, "RequestTimeout", Transient, "RequestTimeout"),
        (400, "BadDigest", Transient, "BadDigest"),
        (409, "OperationAborted", Transient, "409"),
    ],
)
def test_what_a_services_answer_means(status: int, code: str, expected: type[PipelineError], advice: str) -> None:
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = explain(boto.ClientError(answer, "PutObject"), "cannot store object k")
    assert type(error) is expected
    assert str(error).startswith("cannot store object k: ")
    assert advice in str(error)
