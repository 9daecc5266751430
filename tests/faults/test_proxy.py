"""The fault proxy in front of a small server: every fault is what it says, and it counts what succeeded."""

import http.client
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.faults import proxy as module
from tests.faults.proxy import FAULTS, FaultProxy

BODY = bytes(range(200))


class Upstream(BaseHTTPRequestHandler):
    """Keeps objects; a conditional put of a key that is taken is refused."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "If-None-Match" in self.headers and self.path in self.objects:
            return self._answer(412)
        self.objects[self.path] = body
        return self._answer(200)

    def do_GET(self) -> None:
        self._answer(200, self.objects[self.path]) if self.path in self.objects else self._answer(404)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {}


@pytest.fixture
def proxy(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setattr(module, "SLOW_S", 0.02)
    handler = type("Keeping", (Upstream,), {"objects": objects})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}", 1) as made:
        yield made
    server.shutdown()
    server.server_close()


def ask(
    proxy: FaultProxy, method: str, path: str = "/b/k", body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def put(proxy: FaultProxy) -> tuple[int, bytes]:
    return ask(proxy, "PUT", body=BODY, If_None_Match="*")


def breaking(proxy: FaultProxy, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every request meets this fault."""
    monkeypatch.setattr(proxy, "pick", lambda method, conditional: fault)


def test_without_faults_it_passes_everything_on_and_counts(proxy: FaultProxy, objects: dict[str, bytes]) -> None:
    assert put(proxy) == (200, b"")
    assert put(proxy)[0] == 412
    assert ask(proxy, "GET") == (200, BODY)
    assert ask(proxy, "HEAD") == (200, b"")
    assert ask(proxy, "DELETE")[0] == 204
    assert put(proxy)[0] == 200
    assert (proxy.created, proxy.deleted, proxy.faults) == (Counter({"/b/k": 2}), Counter({"/b/k": 1}), Counter())


def test_a_chunked_body_arrives_whole(proxy: FaultProxy, objects: dict[str, bytes]) -> None:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    connection.request(
        "PUT", "/b/k", iter([BODY[:50], BODY[50:]]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert connection.getresponse().status == 200
    connection.close()
    assert objects["/b/k"] == BODY


@pytest.mark.parametrize("status", [500, 503, 409])
def test_refused_before_the_server_sees_it(
    proxy: FaultProxy, objects: dict[str, bytes], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(proxy, str(status), monkeypatch)
    assert put(proxy)[0] == status
    assert not objects
    assert not proxy.created


def test_dropped_after_it_was_done(
    proxy: FaultProxy, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(proxy, "drop", monkeypatch)
    with pytest.raises((http.client.HTTPException, OSError)):
        put(proxy)
    assert objects["/b/k"] == BODY
    assert proxy.created["/b/k"] == 1


def test_answered_as_if_somebody_had_been_faster(
    proxy: FaultProxy, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(proxy, "412", monkeypatch)
    assert put(proxy)[0] == 412
    assert objects["/b/k"] == BODY


def test_a_body_is_cut(proxy: FaultProxy, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    objects["/b/k"] = BODY
    breaking(proxy, "cut", monkeypatch)
    with pytest.raises((http.client.IncompleteRead, OSError)):
        ask(proxy, "GET")


def test_one_byte_is_another(proxy: FaultProxy, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    objects["/b/k"] = BODY
    breaking(proxy, "flip", monkeypatch)
    status, body = ask(proxy, "GET")
    assert (status, len(body)) == (200, len(BODY))
    assert sum(a != b for a, b in zip(body, BODY, strict=True)) == 1


def test_slow_is_whole(proxy: FaultProxy, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    objects["/b/k"] = BODY
    breaking(proxy, "slow", monkeypatch)
    assert ask(proxy, "GET") == (200, BODY)


def test_hidden_from_head(proxy: FaultProxy, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    objects["/b/k"] = BODY
    breaking(proxy, "gone", monkeypatch)
    assert ask(proxy, "HEAD")[0] == 404


def test_every_fault_comes_up_by_chance_and_the_same_seed_gives_the_same() -> None:
    def picked(seed: int) -> list[str]:
        proxy = FaultProxy("http://127.0.0.1:1", seed)
        proxy._server.server_close()
        proxy.rate = 0.5
        return [
            proxy.pick(method, cond)
            for _ in range(300)
            for method, cond in (("PUT", True), ("GET", False), ("HEAD", False))
        ]

    assert set(picked(1)) == {"", *FAULTS}
    assert picked(1) == picked(1) != picked(2)
