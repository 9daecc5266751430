"""Tries tenants' keys of the invisible mark on frames that another process decoded.

What decodes a foreign file is taken for hostile, and its answer may be shown to whoever sent the file: keys must not
be there. So they are tried in a second child, which sees nothing but small grey pictures of one size.
"""

from collections.abc import Sequence

import msgspec

from ops.mark_keys import TenantMarkKey
from ops.sandbox.child import ask
from ops.sandbox.lockdown import Limits

FRAME_BYTES = 1 << 16
"""A frame on the mark's canonical grid."""
FRAMES_BYTES = 16 << 20
"""Frames in an answer: 128 at most of 64 KiB each, in base64."""
SEARCHED_KEYS = 16
"""A cropped picture is searched with so many keys at most: each takes about a second."""
LIMITS = Limits(memory_bytes=2 << 30, cpu_s=300, wall_s=400.0, output_bytes=64 * 1024)


class Frames(msgspec.Struct, frozen=True):
    """A choice of a video's frames on the mark's canonical grid (stream_processors.mux.mark.GRID), 8-bit luma, row by
    row, one after the other."""

    keys: bytes = b""
    """Keyframes."""
    others: bytes = b""


def whole(frames: Frames) -> bool:
    """True if there is at least one frame, and no piece of one."""
    sizes = len(frames.keys), len(frames.others)
    return sum(sizes) > 0 and not any(size % FRAME_BYTES for size in sizes)


class KeyedOrder(msgspec.Struct, frozen=True):
    """What the child is told.

    search: also search a part of the picture, if nothing is read and there are at most SEARCHED_KEYS keys
    """

    frames: Frames
    keys: tuple[bytes, ...]
    limits: Limits
    search: bool


class Tried(msgspec.Struct, frozen=True):
    """What the child says. key: number of the one that read something."""

    key: int | None = None
    payload: str = ""
    confidence: float = 0.0
    repaired_bits: int = 0
    frames: int = 0
    searched: int = 0
    """Keys that the picture was searched with."""


def try_keys(frames: Frames, keys: Sequence[TenantMarkKey], *, search: bool) -> Tried:
    """The best reading by one of the keys. Raises ChildFailed, for more keys than fit into the time too."""
    order = KeyedOrder(frames, tuple(each.key for each in keys), LIMITS, search)
    return msgspec.json.decode(ask("ops.verify_keyed_child", order, LIMITS).output, type=Tried)
