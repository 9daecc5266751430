"""An https server on this machine that serves files and counts what it was asked for."""

import http.server
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Served:
    """port; paths that were asked for, in order."""

    port: int
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        """https address of a path."""
        return f"https://127.0.0.1:{self.port}{path}"


@contextmanager
def serving(files: Mapping[str, bytes | tuple[int, str]], tls: ssl.SSLContext) -> Iterator[Served]:
    """files: by path; bytes, or a status and where it moved to."""
    served = Served(0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            match files.get(self.path, (404, "")):
                case bytes(body):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                case (status, place):
                    self.send_response(status)
                    if place:
                        self.send_header("Location", place)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up in the middle is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
