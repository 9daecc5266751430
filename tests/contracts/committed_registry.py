"""The committed schemas behind the one call of Confluent's API that readers make: GET /schemas/ids/<id>."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ops import schema_files

_TEXTS = {
    version.id: json.dumps(version.schema) for versions in schema_files.committed().values() for version in versions
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        head, _, last = self.path.partition("?")[0].rpartition("/")
        found = _TEXTS.get(int(last)) if head == "/schemas/ids" and last.isdigit() else None
        body = {"error_code": 40403, "message": "no such schema"} if found is None else {"schema": found}
        raw = json.dumps(body).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Its URL while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
