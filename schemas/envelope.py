"""The signed envelope of a request or order: who sent these bytes, to which topic, when. Pure; signs nothing itself.

A record header, so that the value stays what its schema says and every language can add it:

    reelbus-signature: v1,<key id>,<signed_at_ms>,<signature, base64>

The signature is HMAC-SHA256 or Ed25519 (RFC 2104, RFC 8032) over `signed_bytes`. It covers the topic, so that a record
cannot be replayed on another lane or installation, and the tenant, so that a key proves one tenant only.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from schemas.ids import TENANT_PATTERN

HEADER = "reelbus-signature"
VERSION = "v1"
CONTEXT = "reelbus-v1"
KEY_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
MAX_HEADER_BYTES = 256
FORM = f"{VERSION},<key id>,<signed_at_ms>,<base64 signature>"
_TIME = re.compile(r"^(0|[1-9][0-9]{0,14})\Z")


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed header. signed_at_ms: Unix time in milliseconds, by the sender's clock."""

    key_id: str
    signed_at_ms: int
    signature: bytes

    def header(self) -> bytes:
        """The header's value."""
        return f"{VERSION},{self.key_id},{self.signed_at_ms},{base64.b64encode(self.signature).decode()}".encode()


def parse(header: bytes) -> Signature:
    """The header's parts. Raises ValueError with a sentence; one text has one reading, so nothing is lenient here."""
    if len(header) > MAX_HEADER_BYTES or not header.isascii():
        raise ValueError(f"not ASCII or longer than {MAX_HEADER_BYTES} bytes; expected {FORM}")
    parts = header.decode("ascii").split(",")
    if len(parts) != 4 or parts[0] != VERSION:
        raise ValueError(f"expected {FORM}")
    _, key_id, signed_at, encoded = parts
    if not re.fullmatch(KEY_ID_PATTERN, key_id):
        raise ValueError("the key id must be 1 to 64 of A-Z a-z 0-9 . _ -")
    if not _TIME.match(signed_at):
        raise ValueError("signed_at_ms must be a Unix time in milliseconds")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("the signature must be base64 (standard alphabet, with padding)") from None
    if base64.b64encode(signature).decode() != encoded:
        raise ValueError("the signature must be base64 in its canonical form")
    return Signature(key_id, int(signed_at), signature)


def signed_bytes(topic: str, tenant: str, key: bytes, key_id: str, signed_at_ms: int, value: bytes) -> bytes:
    """What is signed. None of the parts can contain a newline, so no two records share these bytes.

    topic: full name, with prefix and version
    tenant: as the value says; "default" where it says nothing
    key: of the record, i.e. the job id
    value: of the record, exactly as sent

    Raises ValueError for a part that could not be meant.
    """
    if b"\n" in key or "\n" in topic or not re.fullmatch(TENANT_PATTERN, tenant):
        raise ValueError("topic, tenant and key must be what the contract says")
    digest = hashlib.sha256(value).hexdigest()
    head = "\n".join((CONTEXT, topic, tenant, "")).encode() + key
    return head + "\n".join(("", key_id, str(signed_at_ms), digest)).encode()
