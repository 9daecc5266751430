"""A decoder child that looks at many files, for fuzzing: started by media_fuzz.py, behind the limits and the filter of
ops.media.decode_child, whose code it runs. Each file comes as 4 bytes of length and its bytes; each answer is a line.

The product starts a child per file. Here one lives on, because starting costs more than decoding; so processor time is
kept by whoever feeds it, and memory that leaks adds up and is seen.
"""

import hashlib
import io
import os
import struct
import sys

import av
import msgspec

from ops.bus.process import die_with_parent
from ops.media.decode_child import look, warm_up
from ops.media.decoding import MAX_PIXELS, MEMORY_BYTES, Order
from ops.sandbox import lockdown

SIDE = 32
LIFE_S = 600


class Verdict(msgspec.Struct, frozen=True):
    """What became of one file. pixels: length of what came out; digest: of it."""

    error: str
    pixels: int
    digest: str
    peak_rss_bytes: int


def main() -> None:
    """Answer until the input ends."""
    die_with_parent()
    limits = lockdown.Limits(memory_bytes=MEMORY_BYTES, cpu_s=LIFE_S, wall_s=LIFE_S, output_bytes=0)
    order = Order(0, limits, SIDE, SIDE, MAX_PIXELS)
    lockdown.apply(limits)
    av.logging.set_level(None)
    warm_up()
    peak_rss_bytes = lockdown.memory_meter()
    guards = lockdown.lock("decoding")
    told, said = sys.stdin.buffer, sys.stdout.buffer
    said.write(msgspec.json.encode(guards) + b"\n")
    said.flush()
    while length := told.read(4):
        answer, pixels = look(io.BytesIO(told.read(struct.unpack(">I", length)[0])), order)
        digest = hashlib.sha256(pixels).hexdigest()[:16] if pixels else ""
        said.write(msgspec.json.encode(Verdict(answer.error, len(pixels), digest, peak_rss_bytes())) + b"\n")
        said.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
