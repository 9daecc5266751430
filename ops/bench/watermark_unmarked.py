"""Clips without a mark for the bench: how often is one taken for marked?"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from ops.bench.watermark_clips import Picture, drawn, seeds
from schemas.mark_keys import PUBLIC, MasterKey
from stream_processors.mux.mark import KEYED_CONFIDENCE, Detector, Plane, Reading, detail_of, grid_of
from stream_processors.mux.resync import Kept, mean_of, places, read_anywhere

SIZE, FRAMES, STEP = (320, 180), 4, 12
PART = 50
"""Clips that a process takes at a time."""
SEARCHED_EVERY = 20
"""The search takes a second, the plain reading a few milliseconds: one in so many clips is also searched."""
KEYS = 20
"""Tenants' keys that every clip is also read by; other ones for every clip."""
_FIRST_SEED = 1_000_000
_MASTER = MasterKey(b"bench of the invisible mark")


@dataclass(frozen=True, slots=True)
class Unmarked:
    """Some clips without a mark: how many were read as they are, how many also searched, and taken for marked."""

    clips: int
    found: int
    highest_confidence: float
    searched: int
    searched_found: int
    energies: tuple[float, ...]
    """Of the best place of every clip that was searched."""
    keyed: int
    """Readings by tenants' keys."""
    keyed_clear: tuple[int, ...]
    """Of them with enough confidence to be believed with no, one and two bits repaired."""
    keyed_found: int


def read_as_verify_does(frames: Iterable[tuple[Plane, bool]], key: bytes = PUBLIC, *, search: bool = True) -> Reading:
    """As `reelbus verify` reads. frames: luma of each, and whether it is a keyframe. key: the tenant's."""
    detector, kept = Detector(), Kept()
    for luma, keyframe in frames:
        grid = grid_of(luma)
        detector.add_detail(detail_of(grid), keyframe)
        kept.add(grid, keyframe)
    reading = detector.read(key)
    return reading if reading.valid or not search else read_anywhere(kept, reading, key)


def read_by_keys(frames: Iterable[tuple[Plane, bool]], keys: Iterable[bytes]) -> list[Reading]:
    """Plain readings by tenants' keys."""
    detector = Detector()
    for luma, keyframe in frames:
        detector.add(luma, keyframe)
    return [detector.read(key) for key in keys]


def look(first: int, count: int) -> Unmarked:
    """Readings of clips without a mark."""
    plain, searched, energies, keyed = [], [], [], []
    for number, (kind, seed) in enumerate(seeds(_FIRST_SEED + first, count)):
        draw = drawn(kind, seed, *SIZE)
        # As of a video with one keyframe.
        greys = [(_grey(draw(STEP * n)), n == 0) for n in range(FRAMES)]
        plain.append(read_as_verify_does(greys, search=False))
        keyed += read_by_keys(greys, [_MASTER.of(f"{seed}-{tenant}") for tenant in range(KEYS)])
        # Another place in every part, so that every kind has its turn.
        if number % SEARCHED_EVERY == first // PART % SEARCHED_EVERY:
            searched.append(read_as_verify_does(greys))
            mean = mean_of([(detail_of(grid_of(grey)), key) for grey, key in greys])
            energies.append(places(mean)[0].energy)
    return Unmarked(
        clips=count,
        found=sum(r.valid for r in plain),
        highest_confidence=max(r.confidence for r in plain),
        searched=len(searched),
        searched_found=sum(r.valid for r in searched),
        energies=tuple(round(energy, 1) for energy in energies),
        keyed=len(keyed),
        keyed_clear=tuple(sum(r.confidence >= least for r in keyed) for least in KEYED_CONFIDENCE),
        keyed_found=sum(r.valid for r in keyed),
    )


def _grey(picture: Picture) -> Plane:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
