"""What parent and device process say to each other: length-prefixed msgpack messages over two pipes."""

from typing import BinaryIO, Literal

import msgspec

from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_LENGTH_BYTES = 4
WARM_MODELS = 2
"""Models that the device process keeps loaded; the one that was used longest ago makes room."""


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Parent of every message."""


class Setup(Message, frozen=True):
    """Parent to child, first and once."""

    device: str
    dtype: str
    scratch: str
    """Folder for raw frames."""
    models: tuple[ModelEntry, ...]


class Chunk(msgspec.Struct, frozen=True):
    spec: ChunkSpec
    given: str
    """Scratch file with (given_frames, H, W, 3) uint8, or empty."""
    frames: str
    """Scratch file to write (frames, H, W, 3) uint8 to."""


class Render(Message, frozen=True):
    """Parent to child: a batch of compatible chunks."""

    batch: int
    chunks: tuple[Chunk, ...]


class Load(Message, frozen=True):
    """Parent to child: have this model ready before it is needed."""

    model: str


class Withdraw(Message, frozen=True):
    """Parent to child: nobody wants these chunks of a batch any more. A batch of which nothing is left stops at its
    next denoise step, or does not begin."""

    batch: int
    frames: tuple[str, ...]
    """Their `Chunk.frames`."""


class Ready(Message, frozen=True):
    """Child to parent: up."""


class Warm(Message, frozen=True):
    """Child to parent: these models are loaded, the last one in load_s seconds."""

    models: tuple[str, ...]
    load_s: float


class Step(Message, frozen=True):
    """Child to parent: the beat."""

    batch: int
    step: int
    steps: int


class Done(Message, frozen=True):
    """Child to parent: the frames are in their files."""

    batch: int
    device_s: float
    left_out: tuple[str, ...] = ()
    """`Chunk.frames` of those that were withdrawn before the batch began: they took no time."""


class Stopped(Message, frozen=True):
    """Child to parent: all chunks of the batch were withdrawn, and it was not finished."""

    batch: int
    device_s: float


class Failed(Message, frozen=True):
    """Child to parent: the batch failed (batch 0: loading a model before there was one).

    transient: trying again may help. invalid: it cannot. bug: an error that nobody expected. device: the process
    cannot go on and ends. fatal: the worker's set-up is wrong, another process will not help.
    """

    batch: int
    kind: Literal["transient", "invalid", "bug", "device", "fatal"]
    error: str


Said = Ready | Warm | Step | Done | Stopped | Failed
Told = Setup | Load | Render | Withdraw
_told = msgspec.msgpack.Decoder(Told)
_said = msgspec.msgpack.Decoder(Said)


def write(pipe: BinaryIO, message: Message) -> None:
    """Blocks until the pipe has taken it. OSError when the other side is gone."""
    raw = msgspec.msgpack.encode(message)
    pipe.write(len(raw).to_bytes(_LENGTH_BYTES, "big") + raw)
    pipe.flush()


def read_told(pipe: BinaryIO) -> Told | None:
    """The next message to the child; None when the parent is gone."""
    raw = _read(pipe)
    return None if raw is None else _told.decode(raw)


def read_said(pipe: BinaryIO) -> Said | None:
    """The next message of the child; None when it is gone."""
    raw = _read(pipe)
    return None if raw is None else _said.decode(raw)


def _read(pipe: BinaryIO) -> bytes | None:
    head = pipe.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {length} bytes; the limit is {MAX_MESSAGE_BYTES}")
    raw = pipe.read(length)
    return raw if len(raw) == length else None
