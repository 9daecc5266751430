"""The checkpoint and the error file of a batch."""

import os
import time
from pathlib import Path
from typing import IO

import msgspec

from producers.batch.progress import Checkpoint
from producers.batch.rows import RowFault
from schemas.errors import Fatal

FOLDER = "batches"


def folder_of(data_dir: str) -> Path:
    """Where checkpoints lie."""
    return Path(data_dir) / FOLDER


def load(path: Path) -> Checkpoint | None:
    """The checkpoint, None when there is none yet. Raises Fatal for a file that is something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise Fatal(f"{path} is no checkpoint of a batch: {exc}") from None


class CheckpointFile:
    """Written at most every `every_s`; a crash leaves the one before or the new one, never half of one."""

    def __init__(self, path: Path, every_s: float = 1.0) -> None:
        self._path = path
        self._every_s = every_s
        self._written_s = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, checkpoint: Checkpoint, *, now: bool = False) -> None:
        """Write it, if it is time or `now`."""
        if not now and time.monotonic() - self._written_s < self._every_s:
            return
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.draft")
        with draft.open("wb") as stream:
            stream.write(msgspec.json.encode(checkpoint))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._path)
        self._written_s = time.monotonic()


class ErrorFile:
    """JSON lines {"source", "row", "cell", "field", "message"} of the rows that are wrong. Made with the first.

    append: go on with what an earlier run wrote, without repeating it
    """

    def __init__(self, path: Path, *, append: bool) -> None:
        self.path = path
        self.count = 0
        self._append = append
        self._known = _places(path) if append and path.exists() else set()
        self._stream: IO[bytes] | None = None

    def add(self, source: str, row: int, cell: int, fault: RowFault) -> None:
        """One more."""
        self.count += 1
        if (source, row, cell) in self._known:
            return
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab" if self._append else "wb")
        line = {"source": source, "row": row, "cell": cell, "field": fault.field, "message": fault.message}
        self._stream.write(msgspec.json.encode(line) + b"\n")

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


def _places(path: Path) -> set[tuple[str, int, int]]:
    """What an error file names already. A half-written last line, of a run that was killed, is cut off."""
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        path.write_bytes(whole)
    lines = (msgspec.json.decode(line) for line in whole.splitlines())
    return {(line["source"], line["row"], line["cell"]) for line in lines}
