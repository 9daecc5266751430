"""One HTTP request to an address that a stranger chose: one lookup, pinned addresses, bounded in time.

httpcore, not httpx: it has no proxies from the environment, redirects, cookies or decompression to switch off, and its
network backend is the seam where the checked address is dialled while Host, SNI and the certificate check keep the
host's name.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpcore

from ops.net.addresses import Target, check_address

LOOKUP_TIMEOUT_S = 5.0
MAX_DIALLED = 4

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]


class NoAnswer(Exception):
    """No complete answer. The message says why, without the URL."""


def system_resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, as the operating system finds them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(place[0]) for *_, place in found]


def tls_context() -> ssl.SSLContext:
    """Certifi's authorities, and those of the system or of SSL_CERT_FILE."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


class Deadline:
    """A moment by which all must be done, however slowly the other side drips."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds left, more than 0. Raises NoAnswer when none are."""
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise NoAnswer("no complete answer in time")
        return left


class _BoundedStream(httpcore.NetworkStream):
    """A stream whose every operation ends by the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=self._deadline.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for first in range(0, len(buffer), 4096):
            self._inner.write(buffer[first : first + 4096], timeout=self._deadline.left_s())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, timeout=self._deadline.left_s())
        return _BoundedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _PinnedBackend(httpcore.NetworkBackend):
    """Dials the checked addresses, whatever name it is asked for: there is no second lookup to lie to."""

    def __init__(self, addresses: Sequence[Address], deadline: Deadline, dial: httpcore.NetworkBackend) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._dial = dial

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        problem: Exception = NoAnswer("no address")
        for number, address in enumerate(self._addresses):
            # Each of the remaining addresses gets its share of the time that is left.
            share_s = self._deadline.left_s() / (len(self._addresses) - number)
            try:
                stream = self._dial.connect_tcp(str(address), port, timeout=share_s, socket_options=socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                problem = exc
            else:
                return _BoundedStream(stream, self._deadline)
        raise problem


class Dialler:
    """Makes requests to strangers' addresses. Calls are independent of each other, and no connection is kept."""

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
        dial: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._tls = tls or tls_context()
        self._dial = dial or httpcore.SyncBackend()

    @contextlib.contextmanager
    def request(
        self, method: str, target: Target, headers: Mapping[str, str], deadline: Deadline, body: bytes | None = None
    ) -> Iterator[httpcore.Response]:
        """One request; its answer's body is read by the caller, inside the `with`. Redirects are not followed.

        Raises Refused before any packet goes to a denied address, NoAnswer when there is no complete answer by the
        deadline, which covers everything from the lookup to the last byte.
        """
        addresses = self._checked(target, deadline)
        length = {} if body is None else {"Content-Length": str(len(body))}
        sent = {"Host": target.host_header, **length, "Connection": "close", **headers}
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.target)
        backend = _PinnedBackend(addresses, deadline, self._dial)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
                pool.stream(method, url, headers=list(sent.items()), content=body) as response,
            ):
                yield response
        except (httpcore.TimeoutException, TimeoutError):
            raise NoAnswer("no complete answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
            # The other side's bytes may be in the message: no control characters in our logs.
            raise NoAnswer(ascii(f"{type(exc).__name__}: {exc}"[:200])[1:-1]) from None

    def _checked(self, target: Target, deadline: Deadline) -> Sequence[Address]:
        """Addresses to dial. Every one that the lookup gave must be allowed, not only the first."""
        try:
            found: Sequence[Address] = [ip_address(target.host)]
        except ValueError:
            timeout_s = min(LOOKUP_TIMEOUT_S, deadline.left_s())
            found = [ip_address(text) for text in _lookup(self._resolve, target, timeout_s)]
        if not found:
            raise NoAnswer("host name has no address")
        for address in found:
            check_address(address, allow_private=self._allow_private)
        return list(dict.fromkeys(found))[:MAX_DIALLED]


def header_texts(response: httpcore.Response) -> dict[str, str]:
    """The answer's headers; names in lower case, of a repeated one the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _lookup(resolve: Resolve, target: Target, timeout_s: float) -> Sequence[str]:
    """Addresses of the target's name. The system's resolver takes no time-out, so it runs beside and may be left."""
    found: list[str] = []
    problems: list[OSError | UnicodeError] = []

    def work() -> None:
        try:
            found.extend(resolve(target.host, target.port))
        except (OSError, UnicodeError) as exc:
            problems.append(exc)

    thread = threading.Thread(target=work, daemon=True, name="lookup")
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise NoAnswer(f"host name lookup took longer than {timeout_s:.0f} s")
    if problems:
        raise NoAnswer(f"host name lookup failed: {problems[0]}")
    return found
