"""Finds the invisible mark in a cropped video: where in the whole picture did this part lie?

The mark is tied to the canonical grid of the whole picture, so cropping moves and stretches it. The search tries
sizes of the part and, by correlation in the Fourier domain, all places of a size at once. Payload and place are both
unknown, so a place is judged by the energy of all 64 bits; the payload's check is asked only of the best places found.
Only a foreign file is searched (`reelbus verify`): the muxer knows where its pictures are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.mark_keys import PUBLIC
from schemas.mark_payload import BITS
from stream_processors.mux.carriers import carriers
from stream_processors.mux.mark import GRID, Detector, Plane, Reading, Spectrum, detail_of

SMALLEST = 0.75
"""Share of width and of height that must be left of the picture."""
ENERGY_FOUND = 12.0
"""A place is believed from so many standard deviations over the mean of all places of one size."""
PLACES_READ = 3
_COARSE = 128
"""Side of the grid that is searched. It holds frequencies up to 127; the mark's highest is 85."""
_STEP = 2
"""Pixels of the coarse grid by which sizes differ: at the right place no edge is off by more than one."""
_WHITEN = 20.0
_FINE_STEPS = (1.0, 0.5, 0.25)
"""Pixels of the canonical grid by which a place's edges are moved, from coarse to fine."""

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom of the part, in pixels of the canonical grid."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part may have lain, and how far its energy stands out."""

    edges: Edges
    energy: float


class Choice:
    """An even choice of what comes by, at most `most`: memory is bounded."""

    def __init__(self, most: int) -> None:
        self.grids: list[Plane] = []
        self._most, self._seen, self._every = most, 0, 1

    def add(self, grid: Plane) -> None:
        """The next one."""
        if self._seen % self._every == 0:
            if len(self.grids) == self._most:
                del self.grids[1::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self.grids.append(grid)
        self._seen += 1


class Kept:
    """An even choice of a video's frames, and one of its keyframes: a search may be needed."""

    MOST, MOST_KEYS = 96, 32

    def __init__(self) -> None:
        self.keys, self.others = Choice(self.MOST_KEYS), Choice(self.MOST)

    def add(self, grid: Plane, key: bool = False) -> None:
        """The next frame, as `mark.grid_of` gives it. key: it is a keyframe."""
        (self.keys if key else self.others).add(grid)

    def details(self) -> list[tuple[Spectrum, bool]]:
        """What `mark.detail_of` makes of them, and whether each is a keyframe."""
        return [
            (detail_of(grid), key) for key, kept in ((True, self.keys), (False, self.others)) for grid in kept.grids
        ]


def read_anywhere(kept: Kept, plain: Reading, key: bytes = PUBLIC) -> Reading:
    """The mark of a video whose `plain` reading failed; `kept` are its frames, `key` the tenant's. Returns `plain` when
    no place is believed or none reads. About one second of one core for every key."""
    details = kept.details()
    mean = mean_of(details)
    for place in places(mean, key)[:PLACES_READ]:
        if place.energy < ENERGY_FOUND:
            break
        edges = _moved(mean, place.edges, key)
        detector = Detector()
        for detail, keyframe in details:
            detector.add_detail(_placed(detail, edges), keyframe)
        reading = detector.read(key)
        if reading.valid:
            return reading
    return plain


def mean_of(details: Sequence[tuple[Spectrum, bool]]) -> Spectrum:
    """What stands still: the mark does, and most of what moves is gone. Keyframes together weigh as much as all frames;
    see `mark.Detector`."""
    means = [np.mean([detail for detail, _ in details], axis=0)]
    if keys := [detail for detail, key in details if key]:
        means.append(np.mean(keys, axis=0))
    return np.asarray(np.mean(means, axis=0), np.float32)


def places(mean: Spectrum, key: bytes = PUBLIC) -> list[Place]:
    """The best place of every size, best first. `mean`: detail of all frames, of shape (GRID, GRID)."""
    sizes = range(round(_COARSE * SMALLEST), _COARSE + 1, _STEP)
    return sorted((_best(mean, *size, key) for size in product(sizes, sizes)), key=lambda place: -place.energy)


def _best(mean: Spectrum, width: int, height: int, key: bytes) -> Place:
    canvas = np.zeros((_COARSE, _COARSE), np.float32)
    canvas[:height, :width] = cv2.resize(mean, (width, height), interpolation=cv2.INTER_AREA)
    spectrum = _complex(cv2.dft(canvas, flags=cv2.DFT_COMPLEX_OUTPUT))
    spectrum = np.conj(spectrum / (np.abs(spectrum) + _WHITEN))
    energy = np.zeros((_COARSE, _COARSE), np.float32)
    for pair in _pairs(key):
        scores = cv2.dft(_channels(spectrum * pair), flags=cv2.DFT_INVERSE)
        energy += scores[..., 0] ** 2 + scores[..., 1] ** 2
    allowed = energy[: _COARSE - height + 1, : _COARSE - width + 1]
    top, left = divmod(int(allowed.argmax()), allowed.shape[1])
    spread = float(energy.std())
    scale = GRID / _COARSE
    edges = left * scale, top * scale, (left + width) * scale, (top + height) * scale
    return Place(edges, (float(allowed.max()) - float(energy.mean())) / spread if spread > 0 else 0.0)


@lru_cache(1)
def _pairs(key: bytes) -> tuple[NDArray[np.complex64], ...]:
    """Spectra of the bits' patterns, two in one: the picture is real, so one correlation scores both, one bit in the
    real part and one in the imaginary."""
    spectra = []
    for bit in range(0, BITS, 2):
        real, imaginary = (_pattern(bit + n, key) for n in range(2))
        spectra.append(_complex(cv2.dft(np.dstack([real, imaginary]))))
    return tuple(spectra)


def _pattern(bit: int, key: bytes) -> Spectrum:
    carrier = carriers(key)[bit]
    spectrum = np.zeros((_COARSE, _COARSE), np.float32)
    spectrum[carrier.rows, carrier.columns] = carrier.signs
    return np.asarray(cv2.idct(spectrum))


def _complex(channels: NDArray[Any]) -> NDArray[np.complex64]:
    return np.ascontiguousarray(channels).view(np.complex64)[..., 0]


def _channels(values: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values).view(np.float32).reshape(*values.shape, 2)


def _placed(detail: Spectrum, edges: Edges) -> Spectrum:
    """The part at its place in the whole picture; nothing around it."""
    left, top, right, bottom = edges
    x, y = (right - left) / GRID, (bottom - top) / GRID
    # Pixel centres lie at n + 0.5.
    matrix = np.array([[x, 0, left + 0.5 * x - 0.5], [0, y, top + 0.5 * y - 0.5]], np.float32)
    return np.asarray(cv2.warpAffine(detail, matrix, (GRID, GRID), flags=cv2.INTER_LINEAR))


def _energy(mean: Spectrum, edges: Edges, key: bytes) -> float:
    detector = Detector()
    detector.add_detail(_placed(mean, edges))
    return float((detector.scores(key=key) ** 2).sum())


def _moved(mean: Spectrum, edges: Edges, key: bytes) -> Edges:
    """The edges moved, one after the other, as long as the energy grows."""
    best, energy = edges, _energy(mean, edges, key)
    for step in _FINE_STEPS:
        grown = True
        while grown:
            grown = False
            for tried in _neighbours(best, step):
                found = _energy(mean, tried, key)
                if found > energy:
                    best, energy, grown = tried, found, True
    return best


def _neighbours(edges: Edges, step: float) -> Iterator[Edges]:
    """Every edge by one step either way, and both edges of an axis together."""
    left, top, right, bottom = edges
    for by in (-step, step):
        yield left + by, top, right, bottom
        yield left, top + by, right, bottom
        yield left, top, right + by, bottom
        yield left, top, right, bottom + by
        yield left + by, top, right + by, bottom
        yield left, top + by, right, bottom + by
