"""A folder for frames on their way between the processes, in memory where there is room."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from schemas.registry import ModelEntry

SHARED_MEMORY = Path("/dev/shm")
PREFIX = f"reelbus-render-{os.getuid()}-"
Frames = NDArray[np.uint8]


def bytes_needed(entries: Iterable[ModelEntry], capacity: int) -> int:
    """Raw frames that a worker may hold at once: two batches on the device, as many on their way to the store, with
    their given frames."""
    largest = max((e.clip_frames * max(w * h for w, h in e.sizes) * 3 for e in entries), default=0)
    return 3 * capacity * largest


class Scratch:
    """One worker's folder. It holds a lock for as long as the worker lives; folders of dead workers, whose locks are
    free, are removed when the next one starts."""

    def __init__(self, need_bytes: int, places: Iterable[Path] = (SHARED_MEMORY, Path(tempfile.gettempdir()))) -> None:
        roots = [p for p in places if os.access(p, os.W_OK)]
        for root in roots:
            _remove_abandoned(root)
        # The last place is a disk: a lack of room there shows as an error of the write, and the chunk is tried again.
        root = next((p for p in roots if shutil.disk_usage(p).free > 2 * need_bytes), roots[-1])
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        self._lock = (self.folder / "lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def path(self, name: str) -> Path:
        return self.folder / name

    def release(self, ticket: int) -> None:
        """Remove all files of a ticket; their names start with its number and a dot."""
        for path in self.folder.glob(f"{ticket}.*"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def write_frames(path: Path, frames: Frames) -> None:
    """Raw bytes in C order."""
    with path.open("wb") as file:
        np.ascontiguousarray(frames).tofile(file)


def read_frames(path: Path, frames: int, height_px: int, width_px: int) -> Frames:
    """(frames, height_px, width_px, 3), mapped read-only, not copied. ValueError when the file has another size."""
    shape = (frames, height_px, width_px, 3)
    if path.stat().st_size != np.prod(shape):
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, expected frames {shape}")
    return np.memmap(path, np.uint8, "r", shape=shape)


def _remove_abandoned(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open("rb") as lock:
            if _is_free(lock):
                shutil.rmtree(folder, ignore_errors=True)


def _is_free(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
