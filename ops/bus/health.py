"""Liveness and readiness of this process over HTTP: GET /livez, GET /readyz, JSON that says what is wrong.

A thread with an event loop of its own, so that it answers while the stage hangs. It reads one small request per
connection, in a bounded time, from a bounded number of connections at once, and nothing of what it says is secret or
comes from a caller.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ops.bus.pulse import Pulse
from ops.bus.watchdog import Watchdog
from schemas.errors import Fatal

MAX_REQUEST_BYTES = 8 * 1024
MAX_CONNECTIONS = 32
PATIENCE_S = 3.0
"""Longest time for one connection, from its first byte to our last."""
_PHRASES = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and what the body says."""

    status: int
    body: dict[str, object]


def alive(stage: str, watchdog: Watchdog) -> Answer:
    """503 while something in the process does not get on, unless no broker answers: starting again would not help."""
    wrong = list(watchdog.verdict.slow)
    return Answer(503 if wrong else 200, {"stage": stage, "alive": not wrong, "wrong": wrong})


def ready(stage: str, pulse: Pulse, watchdog: Watchdog) -> Answer:
    """200 when it is where its work comes to it: in its group (with partitions or standing by), its device up."""
    wrong = [f"{subject}: {sentence}" for subject, sentence in sorted(pulse.lacking.items())]
    wrong += [*watchdog.verdict.slow, *(["no broker answers"] if watchdog.outage else [])]
    partitions = [f"{topic}[{partition}]" for topic, partition in sorted(pulse.stands)]
    body = {"stage": stage, "ready": not wrong, "role": pulse.role, "partitions": partitions, "wrong": wrong}
    return Answer(503 if wrong else 200, body)


def answer(head: bytes, paths: dict[str, Callable[[], Answer]]) -> tuple[Answer, bool]:
    """The answer to a request head, and whether its body is sent (not for HEAD)."""
    line, _, _ = head.partition(b"\r\n")
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return Answer(400, {"error": "not a request of HTTP/1"}), True
    method, target, _ = parts
    if method not in ("GET", "HEAD"):
        return Answer(405, {"error": "GET and HEAD only"}), True
    path = target.partition("?")[0]
    found = paths.get(path)
    return (found() if found else Answer(404, {"error": f"known are {', '.join(paths)}"})), method == "GET"


class HealthServer(AbstractContextManager["HealthServer"]):
    """Serves while the block runs. `address` is where it listens, once entered.

    Raises Fatal when it cannot listen there.
    """

    def __init__(self, address: tuple[str, int], stage: str, pulse: Pulse, watchdog: Watchdog) -> None:
        self.address = address
        self._paths = {"/livez": lambda: alive(stage, watchdog), "/readyz": lambda: ready(stage, pulse, watchdog)}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="health", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections = 0

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        host, port = self.address
        starting = asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST_BYTES, reuse_address=True)
        try:
            self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        except (OSError, TimeoutError) as exc:
            self.__exit__()
            raise Fatal(f"REELBUS_HEALTH_ADDRESS: cannot listen on {host}:{port}: {exc}") from None
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._loop.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            # A connection too many is closed without a word: the next try of a probe comes soon.
            if self._connections <= MAX_CONNECTIONS:
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(self._answer(reader, writer), PATIENCE_S)
        finally:
            self._connections -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            said, with_body = Answer(431, {"error": f"a request is at most {MAX_REQUEST_BYTES} bytes"}), True
        else:
            said, with_body = answer(head, self._paths)
        writer.write(_rendered(said, with_body))
        await writer.drain()


def _rendered(said: Answer, with_body: bool) -> bytes:
    body = json.dumps(said.body).encode() + b"\n"
    head = [
        f"HTTP/1.1 {said.status} {_PHRASES[said.status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if said.status == 405 else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + (body if with_body else b"")
