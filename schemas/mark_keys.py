"""Keys of the invisible mark: a master secret of the operator's, and from it one key per tenant. Pure; `ops.mark_keys`
reads the file.

A tenant's key is HMAC-SHA256 (RFC 2104) of a version and the tenant's name under the master secret, so a tenant's key
tells nothing about another's, and none has to be stored. It never changes for a version: marked videos are out there
for years.
"""

import hmac
import re
from dataclasses import dataclass, field

from schemas.errors import Fatal

PUBLIC = b""
"""In the place of a tenant's key: the pattern that everybody can read and write."""
SECRET_BYTES = 32
"""A master secret has at least as many."""
_ID_HEX = 8
_TENANT, _ID = b"reelbus mark 1 tenant ", b"reelbus mark 1 id"
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_MAKE = "make one with: openssl rand -hex 32"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One master secret; its repr does not show it."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """8 hex characters by which it is named in logs and results; they do not tell the secret."""
        return _hmac(self.secret, _ID).hex()[:_ID_HEX]

    def of(self, tenant: str) -> bytes:
        """The tenant's key, 32 bytes."""
        return _hmac(self.secret, _TENANT + tenant.encode())


def _hmac(secret: bytes, message: bytes) -> bytes:
    return hmac.digest(secret, message, "sha256")


def parse(text: str, where: str) -> tuple[MasterKey, ...]:
    """Master keys, one a line in hexadecimal; empty lines and those that begin with # say nothing. The first is the one
    to mark with, all are for reading.

    where: names the file in messages, which never show what is in it. Raises Fatal.
    """
    keys: dict[MasterKey, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        digits = line.strip()
        if not digits or digits.startswith("#"):
            continue
        if not _HEX.fullmatch(digits):
            raise Fatal(f"{where}, line {number}: is not hexadecimal with two digits a byte; {_MAKE}")
        if len(digits) < 2 * SECRET_BYTES:
            raise Fatal(f"{where}, line {number}: {len(digits)} digits; expected {2 * SECRET_BYTES} or more; {_MAKE}")
        key = MasterKey(bytes.fromhex(digits))
        if key in keys:
            raise Fatal(f"{where}, line {number}: the same key as in line {keys[key]}; take one out")
        keys[key] = number
    if not keys:
        raise Fatal(f"{where}: holds no key; {_MAKE}")
    return tuple(keys)
