"""A time-stamp authority (RFC 3161) on this machine, made of `openssl ts`."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/root.pem
signer_key = {folder}/tsa-key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
[purpose]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def _openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def _make_certificates(folder: Path) -> None:
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    root, key, request = (str(folder / name) for name in ("root.pem", "root-key.pem", "request.pem"))
    _openssl("req", "-x509", *new, "-keyout", key, "-out", root, "-days", "30", "-subj", "/O=test/CN=tsa root")
    _openssl("req", *new, "-keyout", str(folder / "tsa-key.pem"), "-out", request, "-subj", "/O=test/CN=tsa")
    config = ("-extfile", str(folder / "ts.cnf"), "-extensions", "purpose", "-days", "29", "-set_serial", "7")
    _openssl("x509", "-req", "-in", request, "-CA", root, "-CAkey", key, *config, "-out", str(folder / "tsa.pem"))


@contextmanager
def time_stamp_authority(folder: Path) -> Iterator[str]:
    """Its address. `folder`: new; its root.pem vouches for it."""
    folder.mkdir()
    (folder / "ts.cnf").write_text(_CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    _make_certificates(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = folder / "query.tsq"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            body = _openssl("ts", "-reply", "-config", str(folder / "ts.cnf"), "-queryfile", str(query))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
