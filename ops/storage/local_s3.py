"""A real S3 server on this machine, for tests: versitygw over a directory.

`python -m ops.storage.local_s3` builds it beforehand, so that a test run need not wait for it.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Fatal

VERSION = "v1.8.0"
MODULE = "github.com/versity/versitygw/cmd/versitygw"
START_TIMEOUT_S = 60.0

Say = Callable[[str], None]


class GoMissing(Fatal):
    """No go command: versitygw cannot be built here."""


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """A running server and the credentials of its owner."""

    url: str
    access_key: str
    secret_key: str


def binary_path() -> Path:
    """Where the built server is kept between runs: ${XDG_CACHE_HOME:-~/.cache}/reelbus/bin."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "reelbus" / "bin" / f"versitygw-{VERSION}"


def build(say: Say) -> Path:
    """The server's binary, built with `go install` when it is not there yet. Raises GoMissing, Fatal."""
    binary = binary_path()
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        raise GoMissing("cannot build versitygw (S3 server for tests): no go command; install Go 1.25 or later")
    say(f"building versitygw {VERSION} with go install (once; 1 to 5 minutes, 90 MB)")
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        _go_install(Path(folder), say)
        # Two builds may run at once: whoever ends last puts an equal file in place.
        os.replace(Path(folder) / "versitygw", binary)
    say(f"versitygw {VERSION} is built")
    return binary


def _go_install(folder: Path, say: Say) -> None:
    command = ["go", "install", "-v", f"{MODULE}@{VERSION}"]
    environment = {**os.environ, "GOBIN": str(folder)}
    tail: list[str] = []
    started_s, compiled = time.monotonic(), 0
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as go:
        assert go.stderr is not None
        for line in go.stderr:
            tail = [*tail[-9:], line.rstrip()]
            compiled += not line.startswith("go: ")
            if compiled and compiled % 50 == 0:
                say(f"building versitygw: {compiled} packages, {time.monotonic() - started_s:.0f} s")
    if go.returncode != 0:
        raise Fatal(f"go install of versitygw {VERSION} failed with {go.returncode}:\n" + "\n".join(tail))


@contextmanager
def serve(folder: Path, say: Say) -> Iterator[S3Endpoint]:
    """Runs the server over `folder` on a free loopback port until the block ends. Builds it first when needed.

    The folder's file system must keep extended attributes (ext4, xfs, btrfs do). Raises GoMissing, Fatal.
    """
    binary = build(say)
    endpoint = S3Endpoint(f"http://127.0.0.1:{_free_port()}", "reelbus-test", secrets.token_hex(16))
    # Keys go by the environment: a command line is visible to every user of the machine.
    keys = {"ROOT_ACCESS_KEY_ID": endpoint.access_key, "ROOT_SECRET_ACCESS_KEY": endpoint.secret_key}
    command = [str(binary), "--quiet", "--port", endpoint.url.removeprefix("http://"), "posix", str(folder)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, env={**os.environ, **keys}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            if not _answers(server, endpoint):
                log.seek(0)
                raise Fatal(f"versitygw does not start: {log.read()[-2000:].decode(errors='replace')}")
            yield endpoint
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _answers(server: subprocess.Popen[bytes], endpoint: S3Endpoint) -> bool:
    """True once the server accepts a connection, False when it ended or START_TIMEOUT_S have passed."""
    port = int(endpoint.url.rpartition(":")[2])
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            try:
                server.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            return False
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Builds the server; 0 also when there is no Go here, since then its tests are skipped, or fail in CI."""
    try:
        build(lambda text: print(text, file=sys.stderr, flush=True))
    except GoMissing as exc:
        print(exc, file=sys.stderr)
    except Fatal as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
