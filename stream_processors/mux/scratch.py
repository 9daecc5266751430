"""Scratch folders that do not outlive a killed process.

A process holds an flock on a file in its folder; the kernel lets go of it however the process ends. Whoever finds a
folder whose lock is free removes it.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "mux-"
_LOCK = "lock"


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """An empty folder under `parent` for the length of the block."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> int:
    """Remove folders of processes that are gone; returns how many. A folder without its lock yet is left alone."""
    removed = 0
    for folder in sorted(parent.glob(_PREFIX + "*")):
        try:
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        except OSError:
            continue
    return removed
