"""The invisible mark's payload: which job made a video, in 64 bits. Pure.

Layout, as 16 hex characters: the first 40 bits of `schemas.ids.job_uid`, then 24 bits of SHA-256 over them. The check
tells a payload that was read from noise that a detector always returns: by chance it fits once in 16.7 million.
"""

import hashlib

from schemas.ids import job_uid

BITS = 64
ID_HEX = 10
_DOMAIN = b"reelbus mark 1:"


def _check(id_hex: str) -> str:
    return hashlib.sha256(_DOMAIN + bytes.fromhex(id_hex)).hexdigest()[: BITS // 4 - ID_HEX]


def payload_of(job: str) -> str:
    """Payload of a job key ("tenant/job_id"), 16 hex characters."""
    id_hex = job_uid(job)[:ID_HEX]
    return id_hex + _check(id_hex)


def is_valid(payload: str) -> bool:
    """True if the check bits fit the id bits, so some reelbus wrote it."""
    return len(payload) == BITS // 4 and _check(payload[:ID_HEX]) == payload[ID_HEX:]


def bits_of(payload: str) -> tuple[int, ...]:
    """64 bits, most significant first."""
    value = int(payload, 16)
    return tuple(value >> (BITS - 1 - i) & 1 for i in range(BITS))


def payload_from(bits: tuple[int, ...]) -> str:
    """The reverse of `bits_of`."""
    value = 0
    for bit in bits:
        value = value << 1 | bit
    return f"{value:0{BITS // 4}x}"
