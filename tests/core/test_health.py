"""The health endpoints over real connections: what they say, and what they put up with."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from ops.bus import health
from ops.bus.hang import Verdict
from ops.bus.health import HealthServer
from ops.bus.pulse import Pulse
from ops.bus.watchdog import Watchdog
from ops.settings import Settings, SettingsError, load, parse_address
from schemas.errors import Fatal
from tests.core.test_pulse import P

TIMEOUT_S = 30.0


@pytest.fixture
def pulse() -> Pulse:
    made = Pulse()
    made.loop("poll loop", post=lambda _: None)
    made.joining("g")
    made.assigned([P("jobs", 1), P("jobs", 0)])
    made.role = "leading"
    return made


@pytest.fixture
def dog(pulse: Pulse) -> Watchdog:
    """Not started: a test says itself what the watchdog found."""
    return Watchdog(Settings(), "odd", pulse)


@pytest.fixture
def address(pulse: Pulse, dog: Watchdog) -> Iterator[tuple[str, int]]:
    with HealthServer(("127.0.0.1", 0), "odd", pulse, dog) as server:
        yield server.address


def ask(address: tuple[str, int], path: str, method: str = "GET") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else {}


def say(address: tuple[str, int], sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.sendall(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(4096):
                received += block
        return received


def test_a_process_that_is_well_says_so(address: tuple[str, int]) -> None:
    assert ask(address, "/livez") == (200, {"stage": "odd", "alive": True, "wrong": []})
    assert ask(address, "/readyz?verbose") == (
        200,
        {"stage": "odd", "ready": True, "role": "leading", "partitions": ["jobs[0]", "jobs[1]"], "wrong": []},
    )


def test_what_does_not_get_on_is_neither_alive_nor_ready(address: tuple[str, int], dog: Watchdog) -> None:
    dog.verdict = Verdict(slow=("poll loop has not got on for 30 s (turning)",))
    for path in ("/livez", "/readyz"):
        status, body = ask(address, path)
        assert (status, body["wrong"]) == (503, ["poll loop has not got on for 30 s (turning)"])


def test_what_is_lacking_is_not_ready_but_alive(address: tuple[str, int], pulse: Pulse, dog: Watchdog) -> None:
    pulse.lacks("device", "its process is starting")
    dog.outage = True
    assert ask(address, "/livez")[0] == 200
    status, body = ask(address, "/readyz")
    assert (status, body["wrong"]) == (503, ["device: its process is starting", "no broker answers"])


def test_a_stage_that_has_not_begun_is_not_ready(dog: Watchdog) -> None:
    with HealthServer(("127.0.0.1", 0), "odd", Pulse(), dog) as server:
        assert ask(server.address, "/readyz")[1]["wrong"] == ["start: it is starting"]


def test_head_has_no_body_and_nothing_else_is_allowed(address: tuple[str, int]) -> None:
    assert ask(address, "/livez", "HEAD") == (200, {})
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"):
        assert ask(address, "/livez", method)[0] == 405
    assert ask(address, "/") == (404, {"error": "known are /livez, /readyz"})


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"\xff\x00 \xfe /\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 100_000, b"431"),
    ],
)
def test_rubbish_is_refused(address: tuple[str, int], sent: bytes, status: bytes) -> None:
    # What was not read of a long request may reset the connection before the answer arrives.
    assert say(address, sent).startswith(b"HTTP/1.1 " + status) or len(sent) > 50_000
    assert ask(address, "/livez")[0] == 200


def test_a_connection_that_says_nothing_is_closed(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.2)
    assert say(address, b"GET /livez HTTP/1.1\r\n") == b""


def test_those_that_wait_do_not_keep_others_out_for_ever(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.5)
    with contextlib.ExitStack() as silent:
        for _ in range(health.MAX_CONNECTIONS):
            silent.enter_context(socket.create_connection(address, timeout=TIMEOUT_S))
        said = b""
        while not said:
            said = say(address, b"GET /livez HTTP/1.1\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 200")


def test_an_address_that_is_taken_is_named(address: tuple[str, int], pulse: Pulse, dog: Watchdog) -> None:
    with (
        pytest.raises(Fatal, match=rf"cannot listen on 127\.0\.0\.1:{address[1]}"),
        HealthServer(address, "odd", pulse, dog),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("pod-3.reelbus:81", ("pod-3.reelbus", 81)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected
    assert load({"REELBUS_HEALTH_ADDRESS": text}).health_address == text


@pytest.mark.parametrize(
    "text",
    ["8080", "host", "host:", "host:http", "host:65536", "host:-1", "::1:8080", "http://host:80", "a b:80", "h:٣"],
)
def test_a_wrong_address_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(SettingsError, match=r"HEALTH_ADDRESS=.*expected host:port, e\.g\. 127\.0\.0\.1:8080"):
        load({"REELBUS_HEALTH_ADDRESS": text})


@pytest.mark.parametrize("name", ["REELBUS_WATCHDOG_S", "REELBUS_DRAIN_S"])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon"])
def test_wrong_times_are_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{text}': expected a number, 0 or more"):
        load({name: text})
