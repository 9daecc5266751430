"""The invisible mark: a 64-bit payload as a faint pattern in the luma of every frame.

Additive spread spectrum in the DCT domain (Cox, Kilian, Leighton, Shamoon: "Secure Spread Spectrum Watermarking for
Multimedia", IEEE Trans. Image Processing 6(12), 1997) on a canonical 256x256 picture: every bit owns 51 mid-low
frequencies with fixed signs. Scaling a video scales the pattern with it, so the detector finds it at any size; `resync`
finds it in a part of the picture. It does not survive rotation or mirroring. Frequencies and signs are public unless a
tenant's key decides them (`carriers`): the mark tells where a video comes from, it does not stop someone who wants to
remove it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import mark_payload as payloads
from schemas.mark_keys import PUBLIC
from stream_processors.mux.carriers import carriers
from stream_processors.mux.mask import texture

GRID = 256
"""Side of the canonical picture."""
STRENGTH = 2.5
"""Standard deviation of the pattern in 8-bit luma steps, on texture. It stands still, so the encoder pays for it in
every moving block: a panning texture takes three to four times its bytes without a mark. 2.0 takes about a tenth less,
and a panning texture did not outlive CRF 35."""
FLAT_STRENGTH, FLAT_LIMIT = 1.0, 2
"""The same on flat areas, and how far any pixel may be off there, in steps. With a limit of 1 the mark of a flat clip
did not always outlive half-size scaling and CRF 28. A sky is read with a confidence of 2.6 after them; 2.1 at 0.85."""
SMALL_PX = 128
"""A picture with a side below this has room for few of the frequencies: there flat areas get as much as texture."""
BOOSTS = (1.0, 1.4, 2.0, 4.0, 8.0)
"""Factors on the strength, tried in this order until the mark reads back clearly."""
CONFIDENCE_KEPT = 3.0
"""Confidence of a fresh video from which its mark is known to outlive half-size scaling and CRF 28."""
KEYED_CONFIDENCE = (1.6, 1.7, 1.8)
"""A reading by a tenant's key counts from this confidence on, by how many bits were repaired; see `Detector.read`."""
_HIGH_PASS_SIGMA, _HIGH_PASS_PX = 6.0, 25
_LOUDNESS, _LOUDNESS_PX, _LOUDNESS_FLOOR = 10.0, 21, 4.0
"""Root mean square that detail is brought to, side of the square it is taken over, and what keeps flat places quiet."""
_WHITEN = 20.0
_NEAR, _WHITEN_NEAR = 7, 3.0
"""A frequency counts the less the louder its neighbours are, in a square of this side: content is loud at low
frequencies and along stripes, the mark is as loud everywhere."""
_FLIPS = 2
"""The payload's check bits are used to repair up to this many of the weakest bits."""
_WEAK_BITS = 10

Plane = NDArray[np.uint8]
Spectrum = NDArray[np.float32]


def pattern(payload: str, width_px: int, height_px: int, strength: float, key: bytes = PUBLIC) -> NDArray[np.int16]:
    """Luma offsets of shape (height_px, width_px), rounded, standard deviation about `strength`."""
    spectrum = np.zeros((GRID, GRID), dtype=np.float32)
    for bit, carrier in zip(payloads.bits_of(payload), carriers(key), strict=True):
        spectrum[carrier.rows, carrier.columns] = carrier.signs * (1 if bit else -1)
    grid = cv2.idct(spectrum)
    shrinks = width_px < GRID or height_px < GRID
    scaled = cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    offsets: NDArray[np.int16] = np.rint(scaled * (strength / scaled.std())).astype(np.int16)
    return offsets


class Embedder:
    """Adds one payload's pattern to luma planes of one size, stronger where `mask.texture` sees that it is hidden."""

    def __init__(self, payload: str, width_px: int, height_px: int, boost: float = 1.0, key: bytes = PUBLIC) -> None:
        """boost: factor on the strengths; 0 adds nothing. key: the tenant's, see `carriers`."""
        limit = round(FLAT_LIMIT * boost)
        full = pattern(payload, width_px, height_px, STRENGTH * boost, key).astype(np.float32)
        flat = np.clip(pattern(payload, width_px, height_px, FLAT_STRENGTH * boost, key), -limit, limit)
        self._flat = full if min(width_px, height_px) < SMALL_PX else flat.astype(np.float32)
        self._more = full - self._flat

    def embed(self, luma: Plane, out: Plane, x_px: int = 0, y_px: int = 0) -> None:
        """Write `luma` plus the pattern of the place at (x_px, y_px) into `out`; same shape, may be the same array."""
        height, width = luma.shape
        place = np.s_[y_px : y_px + height, x_px : x_px + width]
        offsets = texture(luma)
        cv2.multiply(self._more[place], offsets, dst=offsets)
        cv2.add(self._flat[place], offsets, dst=offsets)
        # Rounds and saturates.
        cv2.add(luma, offsets, dst=out, dtype=cv2.CV_8U)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector saw."""

    payload: str
    """16 hex characters; meaningless unless `valid`."""
    valid: bool
    """The payload's check fits, and for a key the confidence is high enough."""
    confidence: float
    """Mean over standard deviation of the bits' strengths: about 1.3 without a mark, mostly 2 and up with one."""
    frames: int
    """Frames that voted."""
    repaired_bits: int = 0

    def says(self, payload: str) -> bool:
        """True if it is this payload, and read well enough to be believed."""
        return self.valid and self.payload == payload


def grid_of(luma: Plane) -> Plane:
    """Luma of any size on the canonical grid, shape (GRID, GRID)."""
    height, width = luma.shape
    shrinks = width >= GRID and height >= GRID
    # Shrinking in 8 bits is four times as fast as in floats and costs no vote: the rounding is noise of 0.3 steps.
    grid = cv2.resize(luma, (GRID, GRID), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(grid, np.uint8)


def detail_of(grid: Plane) -> Spectrum:
    """What is finer than picture content, everywhere at the same loudness: an edge or a strong texture then says no
    more than a flat place. Cutting its peaks off instead would cut off the mark that rides on them."""
    values = grid.astype(np.float32)
    fine = values - cv2.GaussianBlur(values, (_HIGH_PASS_PX, _HIGH_PASS_PX), _HIGH_PASS_SIGMA)
    # The moving sum leaves rounding behind a bright edge, and may end up below 0.
    power = np.maximum(cv2.blur(fine * fine, (_LOUDNESS_PX, _LOUDNESS_PX)), 0)
    loudness = np.sqrt(power) + _LOUDNESS_FLOOR
    return np.asarray(fine * (_LOUDNESS / loudness), np.float32)


class Detector:
    """Sums the votes of frames. Whitening bounds what one strong picture frequency can say against the mark.

    Votes are counted twice: of all frames, and with all keyframes weighing as much as all frames. Between keyframes an
    encoder that is short of bits carries old blocks along with the motion, and their pattern then lies in the wrong
    place; where it is not, more frames say more.
    """

    def __init__(self) -> None:
        self._votes: dict[bool, Spectrum] = {key: np.zeros((GRID, GRID), np.float32) for key in (True, False)}
        self._frames = {True: 0, False: 0}

    def add(self, luma: Plane, key: bool = False) -> None:
        """One frame's luma, any size, shape (height, width). key: it is a keyframe."""
        self.add_detail(detail_of(grid_of(luma)), key)

    def add_detail(self, detail: Spectrum, key: bool = False) -> None:
        """One frame's detail at its place on the canonical grid, shape (GRID, GRID)."""
        spectrum = cv2.dct(detail)
        size = np.abs(spectrum)
        near = np.maximum(cv2.blur(size, (_NEAR, _NEAR)), 0)
        self._votes[key] += spectrum / ((size + _WHITEN) * (near + _WHITEN_NEAR))
        self._frames[key] += 1

    def scores(self, keys_weigh: bool = False, key: bytes = PUBLIC) -> NDArray[np.float64]:
        """Signed strength of every bit, shape (64,): positive means 1. keys_weigh: keyframes as much as all frames."""
        keys = self._frames[True]
        votes = (self._votes[True] + self._votes[False]) / max(1, keys + self._frames[False])
        if keys_weigh and keys:
            votes += self._votes[True] / keys
        return np.array([float(votes[c.rows, c.columns] @ c.signs) for c in carriers(key)])

    def read(self, key: bytes = PUBLIC) -> Reading:
        """The better of both counts.

        Whoever tries many keys has many chances to read what is not there. So a reading by a tenant's key must also be
        of KEYED_CONFIDENCE, the more so the more payloads were tried. Without a mark, 3 %, 0.6 % and 0.1 % are so clear
        (the mean over the standard deviation of 64 absolute normal values), whatever their signs.
        """
        frames = sum(self._frames.values())
        counts = (False, True) if all(self._frames.values()) else (False,)
        least = KEYED_CONFIDENCE if key else (0.0,) * (_FLIPS + 1)
        readings = [_reading(self.scores(keys_weigh, key), frames, least) for keys_weigh in counts]
        return max(readings, key=lambda reading: (reading.valid, reading.confidence))


def _reading(scores: NDArray[np.float64], frames: int, least: Sequence[float]) -> Reading:
    """The payload by majority; if its check fails, the weakest bits are turned until it fits or all were tried.
    least: confidence without which so many bits are not turned."""
    bits = (scores > 0).astype(int)
    spread = float(np.abs(scores).std())
    confidence = round(float(np.abs(scores).mean()) / spread, 2) if spread > 0 else 0.0
    weakest = [int(i) for i in np.argsort(np.abs(scores))[:_WEAK_BITS]]
    for flips in range(sum(spread > 0 and confidence >= each for each in least)):
        for chosen in combinations(weakest, flips):
            tried = bits.copy()
            tried[list(chosen)] ^= 1
            payload = payloads.payload_from(tuple(int(b) for b in tried))
            if payloads.is_valid(payload):
                return Reading(payload, True, confidence, frames, flips)
    return Reading(payloads.payload_from(tuple(int(b) for b in bits)), False, confidence, frames)


def read(lumas: Iterable[Plane], key: bytes = PUBLIC) -> Reading:
    """Detect over some frames' luma planes; sixteen frames spread over a video are plenty."""
    detector = Detector()
    for luma in lumas:
        detector.add(luma)
    return detector.read(key)
