"""A moderation service on this machine, over real HTTP, that answers as it is told to: in each service's own form, or
with whatever else a server can do to its client."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
ON_PICTURES = ("self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic")
DRIPS, DRIP_S = 400, 0.01
HANG_S = 30.0


class Handler(http.server.BaseHTTPRequestHandler):
    """One request to a Server."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.asked.append(Asked(self.path, dict(self.headers), body))
            behave = self.server.next()
        behave(self)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        named = {"Content-Type": self.server.content_type} | {k.replace("_", "-"): v for k, v in headers.items()}
        for name, value in named.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


Behave = Callable[[Handler], None]


@dataclass
class Asked:
    """One request that came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Server(http.server.ThreadingHTTPServer):
    """script: behaviours for the next requests; after them `always`."""

    daemon_threads = True

    def __init__(self, content_type: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content_type = content_type
        self.lock = threading.Lock()
        self.asked: list[Asked] = []
        self.script: list[Behave] = []
        self.always: Behave = status(500)
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next(self) -> Behave:
        return self.script.pop(0) if self.script else self.always

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is what these tests are about."""


@contextmanager
def serving(content_type: str = "application/json") -> Iterator[Server]:
    server = Server(content_type)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


# ---- what it can do --------------------------------------------------------------------------------------------------


def says(value: object) -> Behave:
    """200 with this, as JSON (Python's, so NaN can be said) or as it is."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda handler: handler.answer(200, body)


def status(code: int, body: bytes = b'{"error": {"code": "some_code", "message": "said"}}', **headers: str) -> Behave:
    return lambda handler: handler.answer(code, body, **headers)


def hangs(handler: Handler) -> None:
    """Never answers."""
    handler.server.closing.wait(HANG_S)
    handler.close_connection = True


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def breaks_off(body: bytes) -> Behave:
    """Promises more than it sends."""

    def behave(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", handler.server.content_type)
        handler.send_header("Content-Length", str(len(body) + 100))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return behave


def _drips(handler: Handler, first: bytes, drop: bytes) -> None:
    handler.wfile.write(first)
    for _ in range(DRIPS):
        handler.wfile.write(drop)
        handler.wfile.flush()
        if handler.server.closing.wait(DRIP_S):
            break
    handler.close_connection = True


def drips_body(handler: Handler) -> None:
    """A byte now and then: no single read is ever late."""
    kind = handler.server.content_type.encode()
    _drips(handler, b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nContent-Length: 100000\r\n\r\n", b" ")


def drips_headers(handler: Handler) -> None:
    _drips(handler, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")


def floods(handler: Handler) -> None:
    """A body without end, as far as anybody reads."""
    handler.send_response(200)
    handler.send_header("Content-Type", handler.server.content_type)
    handler.send_header("Connection", "close")
    handler.end_headers()
    for _ in range(64):
        handler.wfile.write(b" " * 65536)
    handler.close_connection = True


# ---- answers in the services' own form -------------------------------------------------------------------------------


def openai_result(**changed: Any) -> dict[str, Any]:
    scores = dict.fromkeys(CATEGORIES, 0.001) | changed.pop("scores", {})
    flags = {name: isinstance(score, float) and score > 0.5 for name, score in scores.items()}
    applied = {name: ["image"] if name in ON_PICTURES else [] for name in CATEGORIES}
    result = {
        "flagged": any(flags.values()), "categories": flags, "category_scores": scores,
        "category_applied_input_types": applied,
    }  # fmt: skip
    return result | changed


def openai(*results: dict[str, Any]) -> dict[str, Any]:
    return {"id": "modr-1", "model": "omni-moderation-latest", "results": list(results) or [openai_result()]}


def azure(**severities: Any) -> dict[str, Any]:
    all_of = {"Hate": 0, "SelfHarm": 0, "Sexual": 0, "Violence": 0} | severities
    return {"categoriesAnalysis": [{"category": name, "severity": value} for name, value in all_of.items()]}


def rekognition(*labels: tuple[str, str, int, Any]) -> dict[str, Any]:
    """labels: name, parent, level, confidence."""
    return {
        "ModerationLabels": [
            {"Name": name, "ParentName": parent, "TaxonomyLevel": level, "Confidence": confidence}
            for name, parent, level, confidence in labels
        ],
        "ModerationModelVersion": "7.0",
        "ContentTypes": [],
    }
