"""The child process that tries tenants' keys of the invisible mark; see ops.verify_keyed, which starts it.

It decodes nothing: it gets pictures of one size as plain bytes.
"""

import os
import sys
from collections.abc import Iterator

import cv2
import msgspec
import numpy as np

from ops.bus.process import die_with_parent
from ops.sandbox import lockdown
from ops.verify_keyed import SEARCHED_KEYS, Frames, KeyedOrder, Tried
from stream_processors.mux.mark import GRID, Detector, Plane, Reading
from stream_processors.mux.resync import Kept, read_anywhere


def main() -> None:
    """See the module's docstring."""
    die_with_parent()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=KeyedOrder)
    lockdown.apply(order.limits)
    cv2.setNumThreads(1)
    sys.stdout.buffer.write(msgspec.json.encode(tried(order)))
    sys.stdout.buffer.flush()
    os._exit(0)


def tried(order: KeyedOrder) -> Tried:
    """The frames' votes are summed once; a key then costs a millisecond, and a search about a second."""
    kept, detector = _kept(order.frames), Detector()
    for detail, keyframe in kept.details():
        detector.add_detail(detail, keyframe)
    readings = [detector.read(key) for key in order.keys]
    best = max(range(len(readings)), key=lambda n: (readings[n].valid, readings[n].confidence))
    if readings[best].valid:
        return _said(best, readings[best], 0)
    if not order.search or len(order.keys) > SEARCHED_KEYS:
        return Tried()
    for number, key in enumerate(order.keys):
        reading = read_anywhere(kept, readings[number], key)
        if reading.valid:
            return _said(number, reading, number + 1)
    return Tried(searched=len(order.keys))


def _said(number: int, reading: Reading, searched: int) -> Tried:
    return Tried(number, reading.payload, reading.confidence, reading.repaired_bits, reading.frames, searched)


def _kept(frames: Frames) -> Kept:
    kept = Kept()
    for raw, keyframes in ((frames.keys, True), (frames.others, False)):
        for grid in _grids(raw):
            kept.add(grid, keyframes)
    return kept


def _grids(raw: bytes) -> Iterator[Plane]:
    yield from np.frombuffer(raw, np.uint8).reshape(-1, GRID, GRID)
