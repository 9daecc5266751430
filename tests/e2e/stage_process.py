"""Running a stage, or any entry of that kind, as a process of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ops.settings import Settings

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def running(settings: Settings, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m argv...` with these settings; killed at the end if it still runs. Its log: data_dir/<pid>.log."""
    folder = Path(settings.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{argv[-1]}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=ROOT,
            env={**os.environ, **settings.environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def device_pids(parent: subprocess.Popen[bytes]) -> list[int]:
    """The device processes that a render worker has."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if b"gpu_consumers.render.child" in command and str(parent.pid).encode() in command:
                found.append(int(folder.name))
    return found
