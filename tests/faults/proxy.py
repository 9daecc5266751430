"""A proxy before the S3 server that breaks things by chance, and knows which puts succeeded.

500, 503     refused before the server sees it
409          ConditionalRequestConflict to a conditional put, before the server sees it
drop         done by the server, then the connection is closed without an answer (time-out after success)
412          a put that succeeded is answered as if somebody else had been faster
cut          the connection ends in the middle of a body that is read
flip         one byte of a body that is read is another
slow         the body comes at a trickle for two seconds
gone         a HEAD says 404 although the object is there
"""

import http.client
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

FAULTS = ("500", "503", "409", "drop", "412", "cut", "flip", "slow", "gone")
SLOW_S = 2.0


class FaultProxy:
    """Listens on a loopback port; a context manager. `rate`: share of requests that are broken, 0 by default."""

    def __init__(self, upstream: str, seed: int) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.rate = 0.0
        self.faults: Counter[str] = Counter()
        self.created: Counter[str] = Counter()
        """Successful puts by path: an object that was put twice was there twice."""
        self.deleted: Counter[str] = Counter()
        self._chance = random.Random(f"store {seed}")
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            pass

        Handler.proxy = proxy
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FaultProxy":
        threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True, name="fault-proxy").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pick(self, method: str, conditional: bool) -> str:
        """The fault for a request, or an empty string."""
        with self._lock:
            if self._chance.random() >= self.rate:
                return ""
            able = {"PUT": ("500", "503", "drop", "slow"), "HEAD": ("500", "503", "gone")}.get(
                method, ("500", "503", "cut", "flip", "slow") if method == "GET" else ("500", "503", "drop")
            )
            fault = self._chance.choice((*able, "409", "412") if conditional else able)
            self.faults[fault] += 1
            return fault

    def note(self, method: str, path: str, status: int) -> None:
        """An answer of the server."""
        with self._lock:
            if method == "PUT" and status == 200:
                self.created[path] += 1
            elif method == "DELETE" and status < 300:
                self.deleted[path] += 1


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"
    upstream: http.client.HTTPConnection | None = None

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        body = self._body()
        fault = self.proxy.pick(self.command, "If-None-Match" in self.headers)
        if fault in ("500", "503", "409"):
            code = {"500": "InternalError", "503": "SlowDown", "409": "ConditionalRequestConflict"}[fault]
            return self._error(int(fault), code)
        status, headers, answer = self._ask(body)
        self.proxy.note(self.command, unquote(urlsplit(self.path).path), status)
        if fault == "drop":
            return self._hang_up()
        if fault == "412" and status == 200:
            return self._error(412, "PreconditionFailed")
        if fault == "gone":
            status, answer = 404, b""
        if fault == "flip" and status in (200, 206) and answer:
            at = len(answer) // 2
            answer = answer[:at] + bytes([answer[at] ^ 0xFF]) + answer[at + 1 :]
        return self._reply(status, headers, answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        # The Host header is under the signature, so it goes on as the client sent it.
        for last in (False, True):
            if self.upstream is None:
                self.upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
            try:
                self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "expect", "connection"):
                        self.upstream.putheader(name, value)
                self.upstream.putheader("Content-Length", str(len(body)))
                self.upstream.endheaders(body)
                answer = self.upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (OSError, http.client.HTTPException):
                self.upstream.close()
                self.upstream = None
                if last:
                    return 502, [], b""
        raise AssertionError

    def _reply(self, status: int, headers: list[tuple[str, str]], answer: bytes, fault: str) -> None:
        self.send_response_only(status)
        length = len(answer)
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = 0 if fault == "gone" else int(value)
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "cut":
            self.wfile.write(answer[: len(answer) // 2])
            self._hang_up()
        elif fault == "slow":
            step = max(1, len(answer) // 20)
            for at in range(0, len(answer), step):
                self.wfile.write(answer[at : at + step])
                time.sleep(SLOW_S / 20)  # this is the fault, not synchronisation
        else:
            self.wfile.write(answer)

    def _error(self, status: int, code: str) -> None:
        body = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>fault</Message></Error>".encode()
        self._reply(status, [("Content-Type", "application/xml")], body, "")

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()
