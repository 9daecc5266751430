"""A short sign of what texts say, by which two can be told to be alike, and from which no text can be read. Pure.

SimHash (Charikar: "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002) over the four-letter pieces
of the texts: each piece votes on 128 bits. The share of bits that differ is the angle between the texts' piece counts,
so one number, `ALIKE_BITS`, says what is alike.

Spelling is undone first, as far as the matcher's first reading undoes it: marks, styles, lookalikes, leet, stretched
letters, and all that is no letter or digit. What is encoded, or says the same in other words, is another text here.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ops.prompt_policy.normalise import gist

ALIKE_BITS = 30
"""Two texts are alike from so few differing bits: an angle of 42 degrees, three quarters of the pieces in common."""
_PIECE = 4
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def likeness(texts: Iterable[str]) -> str:
    """The sign as 32 hex characters; "" when the texts have no letters. Linear in their length."""
    codes = [np.array([ord(letter) for letter in gist(text)], np.uint64) for text in texts]
    pieces = [_pieces(each) for each in codes if each.size]
    if not pieces:
        return ""
    kinds, counts = np.unique(np.concatenate(pieces), return_counts=True)
    halves = np.stack([_scattered(kinds), _scattered(kinds ^ _ODD[2])], axis=1)
    bits = np.unpackbits(halves.astype("<u8").view(np.uint8), axis=1).astype(np.float64)
    return np.packbits((2 * bits - 1).T @ counts > 0).tobytes().hex()


def as_words(signs: bytes | bytearray) -> NDArray[np.uint64]:
    """Signs one after the other, 16 bytes each, as an array of shape (n, 2)."""
    return np.frombuffer(bytes(signs), np.uint64).reshape(-1, 2)


def differing_bits(sign: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits of a sign, shape (2,), differ from each of others, shape (n, 2)."""
    return np.asarray(np.bitwise_count(others ^ sign).sum(axis=1, dtype=np.uint8), np.uint8)


def _pieces(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each run of `_PIECE` letters; one for a text that is shorter."""
    size = min(_PIECE, codes.size)
    windows = np.lib.stride_tricks.sliding_window_view(codes, size)
    numbers = np.zeros(len(windows), np.uint64)
    for place in range(size):
        numbers = numbers * np.uint64(0x110001) + windows[:, place] + np.uint64(1)
    return numbers


def _scattered(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): every bit depends on every bit."""
    mixed = numbers + _ODD[0]
    for shift, factor in ((30, _ODD[1]), (27, _ODD[2])):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    return mixed ^ (mixed >> np.uint64(31))
