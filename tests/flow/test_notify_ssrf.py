"""notify is not led into its own network: asserted on a listener that counts packets, not on the exception alone."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpcore
import pytest

from ops.net import dialling
from ops.net.addresses import Refused, parse_url
from ops.net.dialling import NoAnswer
from stream_processors.notify import fetch
from stream_processors.notify.fetch import Fetcher
from tests.hostile import tls

BODY = b'{"the":"body"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    """A listener on all addresses of this machine. A connection to it waits in its queue, whoever asks."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        yield listener


def connections(listener: socket.socket) -> int:
    """Connections that reached the listener. Over loopback connecting completes at once: none is still on its way."""
    count = 0
    while select.select([listener], [], [], 0)[0]:
        listener.accept()[0].close()
        count += 1
    return count


def post(fetcher: Fetcher, url: str) -> fetch.Answer:
    return fetcher.post(parse_url(url), {}, BODY)


# Every one of these leads a client that does not look to this very machine.
LOOPBACK_HOSTS = (
    "127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0x7F.0.0.1", "0177.0.0.1",
    "017700000001", "00000000177.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "127.255.255.254",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::1%25lo]", "good.example@127.0.0.1", "１２７.0.0.1", "127。0。0。1", "%31%32%37.0.0.1",
)  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_no_packet_to_this_machine(sink: socket.socket, host: str) -> None:
    fetcher = Fetcher(allow_private=False)
    with pytest.raises(Refused):
        post(fetcher, f"http://{host}:{sink.getsockname()[1]}/")
    assert connections(sink) == 0


def test_the_sink_does_count(sink: socket.socket) -> None:
    with contextlib.suppress(NoAnswer):
        post(Fetcher(allow_private=True, timeout_s=0.3), f"http://localhost:{sink.getsockname()[1]}/")
    assert connections(sink) >= 1


DENIED_ANSWERS = (
    ["127.0.0.1"], ["::1"], ["10.0.0.1"], ["172.16.0.1"], ["192.168.1.1"], ["169.254.169.254"], ["100.64.0.1"],
    ["0.0.0.0"], ["::"], ["::ffff:127.0.0.1"], ["::127.0.0.1"], ["64:ff9b::7f00:1"], ["64:ff9b::a9fe:a9fe"],
    ["2002:7f00:1::"], ["2002:a9fe:a9fe::1"], ["2001:0:7f00:1::"], ["fe80::1"], ["fd00:ec2::254"], ["192.0.0.192"],
    ["100.100.100.200"], ["168.63.129.16"], ["224.0.0.1"], ["255.255.255.255"], ["ff02::1"], ["fe80::1%lo"],
    ["198.18.0.1"], ["203.0.113.1"], ["2001:db8::1"],
    # one bad address among good ones, wherever it stands
    ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["8.8.8.8", "2606:4700:4700::1111", "::1"],
    ["8.8.8.8"] * 20 + ["10.0.0.1"],
)  # fmt: skip


class RecordingDial(httpcore.NetworkBackend):
    """Notes which address is dialled; connects to `port` on this machine instead, so that no test leaves it."""

    def __init__(self, port: int) -> None:
        self.dialled: list[tuple[str, int]] = []
        self._port = port

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **_: object) -> httpcore.NetworkStream:  # type: ignore[override]
        self.dialled.append((host, port))
        return httpcore.SyncBackend().connect_tcp("127.0.0.1", self._port, timeout)


@pytest.mark.parametrize("addresses", DENIED_ANSWERS, ids=lambda a: a[-1] + f"+{len(a) - 1}")
def test_a_name_that_leads_inside_is_never_dialled(sink: socket.socket, addresses: list[str]) -> None:
    dial = RecordingDial(sink.getsockname()[1])
    fetcher = Fetcher(allow_private=False, resolve=lambda host, port: addresses, dial=dial)
    with pytest.raises(Refused):
        post(fetcher, "https://hooks.example.com/in")
    assert dial.dialled == []
    assert connections(sink) == 0


@contextlib.contextmanager
def server(
    tls: ssl.SSLContext | None = None, response: bytes = OK, host: str = "127.0.0.1"
) -> Iterator[tuple[int, list[bytes]]]:
    """Answers connections with `response`; yields its port and the requests that it read."""
    requests: list[bytes] = []
    listener = socket.create_server((host, 0))

    def work() -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                answer(listener.accept()[0])

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if tls is not None:
                connection = stack.enter_context(tls.wrap_socket(connection, server_side=True))
            request = b""
            while not request.endswith(BODY):  # all of it: closing with unread bytes would reset the connection
                if not (part := connection.recv(65536)):
                    return
                request += part
            requests.append(request)
            connection.sendall(response)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield listener.getsockname()[1], requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_rebinding_finds_no_second_lookup(sink: socket.socket) -> None:
    """The name is public when it is checked and private ever after."""
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["93.184.216.34"] if len(lookups) == 1 else ["127.0.0.1"]

    with server() as (port, requests):
        dial = RecordingDial(port)
        fetcher = Fetcher(allow_private=False, resolve=resolve, dial=dial)
        assert post(fetcher, "http://rebind.example:8080/in").status == 200
        assert lookups == ["rebind.example"]
        assert dial.dialled == [("93.184.216.34", 8080)]
        assert b"Host: rebind.example:8080\r\n" in requests[0]
        with pytest.raises(Refused):
            post(fetcher, "http://rebind.example:8080/in")
        assert len(dial.dialled) == 1, "the second message is checked anew"


def test_rebinding_through_the_whole_real_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same, with the operating system's resolver lying and the real dialler: one lookup, first answer used."""
    lookups: list[str] = []
    real = socket.getaddrinfo

    def lying(host: object, port: object, *args: object, **kwargs: object) -> object:
        text = host.decode() if isinstance(host, bytes) else str(host)
        try:
            ip_address(text)
        except ValueError:
            lookups.append(text)
            text = "127.0.0.1" if len(lookups) == 1 else "127.0.0.2"
        return real(text, port, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lying)
    with server() as (port, requests):
        assert post(Fetcher(allow_private=True), f"http://rebind.example:{port}/").status == 200
        assert lookups == ["rebind.example"]
        assert len(requests) == 1


def test_the_next_checked_address_is_tried_when_one_is_dead() -> None:
    with server() as (port, requests):
        found = ["127.0.0.9", "127.0.0.1"]
        fetcher = Fetcher(allow_private=True, resolve=lambda host, _port: found)
        assert post(fetcher, f"http://hooks.example:{port}/").status == 200
        assert len(requests) == 1


def test_a_redirect_inside_is_not_followed(sink: socket.socket) -> None:
    inside = f"http://127.0.0.1:{sink.getsockname()[1]}/"
    moved = f"HTTP/1.1 307 Moved\r\nLocation: {inside}\r\nContent-Length: 0\r\n\r\n".encode()
    with server(response=moved) as (port, _):
        dial = RecordingDial(port)
        fetcher = Fetcher(allow_private=False, resolve=lambda host, _port: ["93.184.216.34"], dial=dial)
        assert post(fetcher, "http://hooks.example/").status == 307
    assert connections(sink) == 0


def test_no_proxy_from_the_environment(sink: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{sink.getsockname()[1]}")
    with server() as (port, requests):
        assert post(Fetcher(allow_private=True), f"http://127.0.0.1:{port}/").status == 200
        assert len(requests) == 1
    assert connections(sink) == 0


def test_a_lookup_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "LOOKUP_TIMEOUT_S", 0.05)
    release = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        release.wait()
        return ["127.0.0.1"]

    try:
        with pytest.raises(NoAnswer, match="lookup took longer"):
            post(Fetcher(allow_private=True, resolve=resolve), "http://hooks.example/")
    finally:
        release.set()


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_name_that_does_not_exist(failure: Exception) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise failure

    with pytest.raises(NoAnswer, match="lookup failed"):
        post(Fetcher(allow_private=False, resolve=resolve), "http://hooks.example/")


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext, list[str | None]]:
    """A self-signed certificate for `name`: server context, client context that trusts it, names asked for by SNI."""
    ours, public = tls.certificate(folder, [name])
    asked: list[str | None] = []
    ours.sni_callback = lambda _socket, host, _context: asked.append(host)
    return ours, ssl.create_default_context(cafile=str(public)), asked


def test_tls_checks_the_name_and_not_the_pinned_address(tmp_path: Path) -> None:
    ours, trusting, asked = certificate(tmp_path, "hooks.example")
    with server(ours) as (port, requests):
        fetcher = Fetcher(allow_private=True, resolve=lambda host, _port: ["127.0.0.1"], tls=trusting)
        assert post(fetcher, f"https://hooks.example:{port}/in").status == 200
        assert asked == ["hooks.example"]
        assert f"Host: hooks.example:{port}\r\n".encode() in requests[0]
        with pytest.raises(NoAnswer, match=r"(?i)mismatch"):
            post(fetcher, f"https://evil.example:{port}/in")
        with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
            post(
                Fetcher(allow_private=True, resolve=lambda host, _port: ["127.0.0.1"]), f"https://hooks.example:{port}/"
            )
        assert len(requests) == 1, "nothing is sent to who cannot prove the name"


def test_a_tls_handshake_that_hangs_is_cut_off(sink: socket.socket) -> None:
    with pytest.raises(NoAnswer, match="no complete answer in time"):
        post(Fetcher(allow_private=True, timeout_s=0.3), f"https://127.0.0.1:{sink.getsockname()[1]}/")
