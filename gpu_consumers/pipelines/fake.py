"""Family "fake": a deterministic renderer without a model, for tests and for breaking the pipeline on purpose.

Every frame says which chunk and which frame it is, in blocks of black and white that survive scaling and a lossy codec,
so a test can prove from the finished video alone that every chunk came once, whole and in order. Rendering takes the
entry's `chunk_cost_s`, spread over the denoise steps.

The blocks are an 8 x 8 grid over the centred square of the picture (so bars that a muxer adds do not matter), row by
row, 1 = white: row 0 is a checkerboard without meaning, because the visible mark covers it; rows 1-4 are the first 32
bits of the chunk id, rows 5-6 the frame's position in the shot (16 bits, modulo 65536), row 7 a CRC-8 of those bytes.

A prompt that contains one of FAULTS makes the device do that instead, as real ones do.
"""

import os
import signal
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_consumers.pipelines.renderer import Frames, OnStep, check
from schemas.errors import Fatal, Transient
from schemas.ids import chunk_id
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry

GRID = 8
DATA_ROWS = 7
FAULTS = ("device-exits", "device-hangs", "device-lost", "device-oom", "device-oom-once", "device-nan")
"""Killed as by a crash in native code; never ends a step; says that its context is gone; has not enough memory, or not
at the first try of this process; makes values that are no numbers."""


def load(entry: ModelEntry, device: str, dtype: str) -> "FakeRenderer":
    """See `renderer.load`; device and dtype mean nothing without a model."""
    del device, dtype
    return FakeRenderer(entry)


class FakeRenderer:
    """See the module's docstring and `renderer.Renderer`."""

    def __init__(self, entry: ModelEntry) -> None:
        self._entry = entry
        self._out_of_memory: set[str] = set()
        """Chunks that a process has run out of memory with."""

    def render(self, specs: Sequence[ChunkSpec], given: Sequence[Frames | None], on_step: OnStep) -> list[Frames]:
        """See `renderer.Renderer.render`. A batch takes as long as one chunk, as on a device that is not full."""
        check(self._entry, specs, given)
        steps = specs[0].steps
        for step in range(steps):
            time.sleep(self._entry.chunk_cost_s / steps)
            if step == steps // 2:
                for spec in specs:
                    self._misbehave(spec)
            on_step(step + 1, steps)
        return [_frames(spec) for spec in specs]

    def _misbehave(self, spec: ChunkSpec) -> None:
        asked = {word for word in spec.prompt.replace(",", " ").split() if word in FAULTS}
        if "device-exits" in asked:
            os.kill(os.getpid(), signal.SIGKILL)
        if "device-hangs" in asked:
            signal.pause()
        if "device-lost" in asked:
            raise Fatal("device lost: as the prompt asks for")
        again = chunk_id(spec) in self._out_of_memory
        if "device-oom" in asked or ("device-oom-once" in asked and not again):
            self._out_of_memory.add(chunk_id(spec))
            raise Transient("device out of memory: as the prompt asks for")
        if "device-nan" in asked:
            raise Transient("the model produced NaN")


def draw_fake(prefix: str, index: int, width_px: int, height_px: int) -> Frames:
    """One frame (H, W, 3) that says `prefix` (8 hex digits of a chunk id) and `index` (position in the shot)."""
    payload = bytes.fromhex(prefix) + (index % 65536).to_bytes(2, "big")
    bits = np.unpackbits(np.frombuffer(payload + bytes([_crc8(payload)]), np.uint8)).reshape(DATA_ROWS, GRID)
    grid = np.vstack([np.arange(GRID) % 2, bits]).astype(np.uint8) * 255
    side = min(width_px, height_px)
    cell = np.arange(side) * GRID // side
    picture = np.zeros((height_px, width_px), np.uint8)
    top, left = (height_px - side) // 2, (width_px - side) // 2
    picture[top : top + side, left : left + side] = grid[np.ix_(cell, cell)]
    return np.repeat(picture[:, :, None], 3, axis=2)


def read_fake(frame: NDArray[np.uint8]) -> tuple[str, int]:
    """(first 8 hex digits of the chunk id, position of the frame in its shot), from a frame (H, W, 3) or (H, W).

    Works at 64 x 64 and above after scaling and lossy coding. Raises ValueError when the checksum does not fit: the
    picture is not a fake frame, is a blend of two, or is damaged.
    """
    luma = frame.mean(axis=2) if frame.ndim == 3 else frame.astype(np.float64)
    side = min(luma.shape)
    top, left = (luma.shape[0] - side) // 2, (luma.shape[1] - side) // 2
    edges = np.arange(GRID + 1) * side // GRID
    inset = max(1, side // GRID // 4)
    bits = [
        luma[
            top + edges[y] + inset : top + edges[y + 1] - inset, left + edges[x] + inset : left + edges[x + 1] - inset
        ].mean()
        > 127.5
        for y in range(GRID - DATA_ROWS, GRID)
        for x in range(GRID)
    ]
    raw = np.packbits(bits).tobytes()
    if _crc8(raw[:6]) != raw[6]:
        raise ValueError(f"no fake frame: checksum {raw[6]:02x} does not fit {raw[:6].hex()}")
    return raw[:4].hex(), int.from_bytes(raw[4:6], "big")


def _frames(spec: ChunkSpec) -> Frames:
    prefix = chunk_id(spec)[:8]
    positions = range(spec.first_frame, spec.first_frame + spec.frames)
    return np.stack([draw_fake(prefix, i, spec.width_px, spec.height_px) for i in positions])


def _crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x07, start 0xFF (so that all zeros, a black picture, does not fit)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
