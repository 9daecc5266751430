"""A foreign picture or clip to raw pixels, through a child process that can do nothing else."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.sandbox.child import Answered, ChildFailed, ask
from ops.sandbox.lockdown import Limits

MAX_PIXELS = 4096 * 4096
CHILD = "ops.media.decode_child"
_HEADER_BYTES = 4096
MEMORY_BYTES, CPU_S, WALL_S = 320 << 20, 5, 20.0


class Order(msgspec.Struct, frozen=True):
    """What is wanted. fd: the file, readable and seekable."""

    fd: int
    limits: Limits
    width_px: int
    height_px: int
    max_pixels: int


class Answer(msgspec.Struct, frozen=True):
    """The line of JSON. error: empty, or a part of a sentence; then no pixels follow."""

    error: str = ""
    kind: str = ""
    width_px: int = 0
    height_px: int = 0
    guards: tuple[str, ...] = ()
    peak_rss_bytes: int = 0
    """Most memory that the child had; 0 where the system does not say."""


class NotDecodable(Exception):
    """The file is refused; the message is a part of a sentence: "is empty".

    source, used: what the child said and used, where it said something
    """

    source: Answer | None = None
    used: Answered | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of a foreign file, and what the child said of it."""

    rgb: bytes
    """height_px x width_px x 3, rows from the top."""
    source: Answer
    used: Answered


def decode(path: Path, width_px: int, height_px: int, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in a file, or the first frame of a clip: upright, scaled to fill the size, the middle cut out.

    What comes out are pixels of exactly the length that the size says; of what the child answers nothing else is used
    but words for a person. Raises NotDecodable.
    """
    length = width_px * height_px * 3
    limits = Limits(memory_bytes=MEMORY_BYTES, cpu_s=CPU_S, wall_s=WALL_S, output_bytes=_HEADER_BYTES + length)
    with path.open("rb") as file:
        order = Order(file.fileno(), limits, width_px, height_px, max_pixels)
        try:
            used = ask(CHILD, order, limits, hand_over=[file.fileno()])
        except ChildFailed as exc:
            raise NotDecodable(f"cannot be decoded: the decoder {exc}") from None
    head, _, rgb = used.output.partition(b"\n")
    try:
        answer = msgspec.json.decode(head, type=Answer)
    except msgspec.DecodeError:
        raise NotDecodable("cannot be decoded: the decoder's answer makes no sense") from None
    if answer.error:
        refused = NotDecodable(ascii(answer.error[:300])[1:-1])
        refused.source, refused.used = answer, used
        raise refused
    if len(rgb) != length:
        raise NotDecodable(f"cannot be decoded: the decoder gave {len(rgb)} bytes, {length} were expected")
    return Picture(rgb, answer, used)
