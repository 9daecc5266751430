"""Which frequencies carry which bit of the invisible mark, and with which signs: for all, or by a tenant's key. Pure.

A key decides both. With public frequencies and secret signs one video would do to forge: its payload is no secret, so
what is read off its frames gives the sign of every frequency. With secret frequencies the same sum says nothing about
which of them belong to one bit; that takes several videos with different payloads.
"""

import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.mark_keys import PUBLIC
from schemas.mark_payload import BITS

_BAND = (20, 90)
"""Sum of row and column frequency. Lower is picture content, higher is lost to scaling and quantisation."""
_AXIS = 4
"""Frequencies below this in either direction are left out: straight edges (letterbox bars, squares) live there."""
_KEPT = 64
"""Tenants whose carriers are kept; each takes 65 KiB, and half a millisecond to make."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """The frequencies of one bit: rows, columns and signs (+1/-1), each of shape (n,)."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    signs: NDArray[np.float32]


@lru_cache(_KEPT)
def carriers(key: bytes = PUBLIC) -> tuple[Carrier, ...]:
    """One carrier per bit, the same in every release. key: a tenant's, see schemas.mark_keys."""
    frequencies = _frequencies()
    order, signs = _drawn(key, len(frequencies)) if key else _public(frequencies)
    share = len(frequencies) // BITS
    rows, columns = (frequencies[order[: BITS * share], axis].reshape(BITS, share) for axis in range(2))
    return tuple(map(Carrier, rows, columns, signs[: BITS * share].reshape(BITS, share)))


@cache
def _frequencies() -> NDArray[np.intp]:
    """Row and column of every frequency that carries anything, shape (n, 2)."""
    low, high = _BAND
    return np.array([(u, v) for u in range(_AXIS, high) for v in range(_AXIS, high) if low < u + v < high], np.intp)


def _public(frequencies: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Order, and signs in that order: SHA-256 of the frequencies' names."""
    names = [hashlib.sha256(f"reelbus mark 1 {u} {v}".encode()).digest() for u, v in frequencies]
    order = sorted(range(len(names)), key=names.__getitem__)
    return np.array(order, np.intp), np.array([1.0 if names[at][-1] & 1 else -1.0 for at in order], np.float32)


def _drawn(key: bytes, count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The same, drawn by SHAKE-256 (FIPS 202) of the key, which has a fixed length: eight bytes a frequency, whose
    number gives the order and whose lowest bit gives the sign. One hash instead of 3,312: many keys are tried."""
    numbers = np.frombuffer(hashlib.shake_256(b"reelbus mark 1 carriers" + key).digest(8 * count), ">u8")
    order = np.argsort(numbers, kind="stable")
    return order, np.where(numbers[order] & 1, 1.0, -1.0).astype(np.float32)
