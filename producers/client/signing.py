"""Signs requests and orders, so that a tenant's name is proven (`schemas.envelope`)."""

import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from schemas.envelope import HEADER, KEY_ID_PATTERN, Signature, signed_bytes
from schemas.errors import Fatal

ED25519_BYTES = 32
MIN_SECRET_BYTES = 32
FORM = "ed25519:<base64 of the 32 private bytes> or hmac:<base64 of at least 32 random bytes>"


class _Ed25519(Protocol):
    def sign(self, data: bytes) -> bytes: ...


class Signer:
    """One key of one tenant. Safe to share between threads."""

    def __init__(self, key_id: str, sign: Callable[[bytes], bytes], clock: Callable[[], float] = time.time) -> None:
        """clock: Unix time in seconds. The broker's clock decides how old a signature is; keep them together (NTP)."""
        if not re.fullmatch(KEY_ID_PATTERN, key_id):
            raise Fatal(f'key id "{key_id}": expected 1 to 64 of A-Z a-z 0-9 . _ -')
        self.key_id = key_id
        self._sign = sign
        self._clock = clock

    @classmethod
    def hmac(cls, key_id: str, secret: bytes, clock: Callable[[], float] = time.time) -> "Signer":
        """HMAC-SHA256 with a secret that the operator has too. secret: at least 32 random bytes."""
        if len(secret) < MIN_SECRET_BYTES:
            raise Fatal(f"key {key_id}: an HMAC secret has at least {MIN_SECRET_BYTES} bytes, this one {len(secret)}")
        return cls(key_id, lambda data: hmac.digest(secret, data, "sha256"), clock)

    @classmethod
    def ed25519(cls, key_id: str, private: bytes, clock: Callable[[], float] = time.time) -> "Signer":
        """Ed25519: the operator has only the public key. private: the 32 bytes of RFC 8032. Needs `cryptography`."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if len(private) != ED25519_BYTES:
            raise Fatal(f"key {key_id}: an Ed25519 private key has {ED25519_BYTES} bytes, this one {len(private)}")
        key: _Ed25519 = Ed25519PrivateKey.from_private_bytes(private)
        return cls(key_id, key.sign, clock)

    @classmethod
    def from_file(cls, path: Path | str, key_id: str = "") -> "Signer":
        """A key as `reelbus tenants keygen` writes it: one line. key_id: the file's name without ending unless given.

        Raises Fatal, whose message never shows the key.
        """
        file = Path(path)
        try:
            kind, _, encoded = file.read_text().strip().partition(":")
            raw = base64.b64decode(encoded, validate=True)
        except (OSError, UnicodeDecodeError, binascii.Error) as exc:
            raise Fatal(f"cannot read signing key {file}: {type(exc).__name__}; expected {FORM}") from None
        made = {"ed25519": cls.ed25519, "hmac": cls.hmac}.get(kind)
        if made is None:
            raise Fatal(f"signing key {file}: expected {FORM}")
        return made(key_id or file.stem, raw)

    def sign(self, topic: str, tenant: str, key: str, value: bytes) -> tuple[str, bytes]:
        """The header for one record: name and value. topic: full name; key: of the record, i.e. the job id."""
        now_ms = int(self._clock() * 1000)
        signed = signed_bytes(topic, tenant, key.encode(), self.key_id, now_ms, value)
        return HEADER, Signature(self.key_id, now_ms, self._sign(signed)).header()
