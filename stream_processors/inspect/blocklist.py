"""Known pictures, found again by perceptual hash.

Difference hash after Neal Krawetz ("Kind of Like That", 2013): the picture in grey, 9 x 8 pixels; a bit per pair of
neighbours says whether the right one is brighter. Bit order and scaling are those of the imagehash package, so its
lists can be used as they are.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import Fatal
from schemas.work import FrameVerdict
from stream_processors.inspect.core import BlocklistPolicy, verdict_of

HASH_BITS = 64
PROVIDER = "blocklist dhash64"


def dhash(frame: NDArray[np.uint8]) -> int:
    """64-bit difference hash of one RGB picture (H, W, 3)."""
    grey = Image.fromarray(frame).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey)
    bits = (pixels[:, 1:] > pixels[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _listed(policy: BlocklistPolicy) -> NDArray[np.uint64]:
    """The hashes of a policy. A plain picture hashes to almost all zeros (or ones); such an entry would match every
    plain frame, so it is an error."""
    numbers = [int(text, 16) for text in policy.hashes]
    for text, number in zip(policy.hashes, numbers, strict=True):
        ones = number.bit_count()
        if min(ones, HASH_BITS - ones) <= policy.max_distance:
            raise Fatal(
                f"frame policy: blocklist hash {text} is of a picture without detail and would block every plain "
                f"frame at max_distance = {policy.max_distance}; remove it or lower max_distance"
            )
    return np.array(numbers, dtype=np.uint64)


class Blocklist:
    """A FrameModerator. Raises Fatal for a hash that cannot tell pictures apart."""

    def __init__(self, policy: BlocklistPolicy) -> None:
        self._hashes = _listed(policy)
        self._category = policy.category
        self._threshold = 1 - policy.max_distance / HASH_BITS

    def judge(self, frames: NDArray[np.uint8]) -> FrameVerdict:
        """The score is 1 - distance / 64 to the nearest listed hash."""
        distances = [int(np.bitwise_count(self._hashes ^ np.uint64(dhash(frame))).min()) for frame in frames]
        scores = [1 - distance / HASH_BITS for distance in distances]
        return verdict_of(scores, self._threshold, PROVIDER, self._category)
