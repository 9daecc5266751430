"""Scratch folders on this machine whose processes were killed.

Stages hold an flock on the file `lock` of their folder for as long as they live, and sweep when they start; a machine
whose stage does not start again, or a folder without lock, waits for this. What is young is left alone: its process may
not have come to lock it yet.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ops.settings import Settings

LOCKED_AGE_S = 60.0
UNLOCKED_AGE_S = 24 * 3600.0
SHARED_MEMORY = Path("/dev/shm")


def sweep(settings: Settings, *, dry_run: bool = False, now_s: float | None = None) -> int:
    """Remove abandoned folders; how many there were. What cannot be removed is left for another time."""
    moment_s = time.time() if now_s is None else now_s
    count = 0
    for folder in _folders(settings):
        with contextlib.suppress(OSError):
            if _abandoned(folder, moment_s):
                count += 1
                if not dry_run:
                    shutil.rmtree(folder, ignore_errors=True)
    return count


def _folders(settings: Settings) -> Iterator[Path]:
    mine = f"reelbus-render-{os.getuid()}-*"
    for parent in {SHARED_MEMORY, Path(tempfile.gettempdir())}:
        yield from parent.glob(mine)
        yield from parent.glob("reelbus-inspect-*")
    for stage in ("scratch", "intake"):
        yield from (Path(settings.data_dir) / stage).glob("*")


def _abandoned(folder: Path, now_s: float) -> bool:
    about = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or about.st_uid != os.getuid():
        return False
    age_s = now_s - about.st_mtime
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return age_s > LOCKED_AGE_S
    except FileNotFoundError:
        return age_s > UNLOCKED_AGE_S
    except BlockingIOError:
        return False
