"""The checkpoint and the error file of a batch."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import msgspec

from producers.batch.plan import RowFault
from producers.batch.progress import Checkpoint
from schemas.errors import Fatal

FOLDER = "batches"


def path_of(data_dir: str, batch_id: str) -> Path:
    """Where the checkpoint of a batch lies."""
    return Path(data_dir) / FOLDER / f"{quote(batch_id, safe='')}.json"


def load(path: Path) -> Checkpoint | None:
    """The checkpoint, None when there is none yet. Raises Fatal for a file that is something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise Fatal(f"{path} is no checkpoint of a batch: {exc}") from None


class CheckpointFile:
    """To be written every `every_s`; a crash leaves the one before or the new one, never half of one.

    As a context manager it belongs to this process alone. Raises Fatal when another one has it.
    """

    def __init__(self, path: Path, every_s: float = 0.5) -> None:
        self.path = path
        self._every_s = every_s
        self._written_s = 0.0
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> "CheckpointFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.path.with_suffix(".lock").open("wb")
        try:
            # The system drops it with the process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise Fatal(f"another process is sending this batch ({self.path} is locked)") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._written_s >= self._every_s

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write it."""
        draft = self.path.with_suffix(".draft")
        with draft.open("wb") as stream:
            stream.write(msgspec.json.encode(checkpoint))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.path)
        self._written_s = time.monotonic()


class ErrorFile:
    """JSON lines {"source", "row", "cell", "field", "message"} of what is wrong. The file is made with the first.

    keep_bytes: of a file that is there already; what is behind is cut off, since it will be told again
    """

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self.path = path
        self.count = 0
        self._stream: IO[bytes] | None = None
        self.length_bytes = 0
        """All that was written, flushed or not."""
        if path.exists():
            self.length_bytes = min(keep_bytes, path.stat().st_size)
            if self.length_bytes:
                os.truncate(path, self.length_bytes)
            else:
                path.unlink()

    def add(self, source: str, row: int, cell: int, fault: RowFault) -> None:
        """One more."""
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab")
        line = {"source": source, "row": row, "cell": cell, "field": fault.field, "message": fault.message}
        self.length_bytes += self._stream.write(msgspec.json.encode(line) + b"\n")
        self.count += 1

    def flush(self) -> None:
        """To disk: before the checkpoint that counts these rows as done."""
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Done."""
        if self._stream is not None:
            self.flush()
            self._stream.close()
            self._stream = None
