"""Tenants from the tenants file, their keys ready to verify. Needs `cryptography` for Ed25519 keys only."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import Fatal
from schemas.tenants import TenantEntry, TenantKey, TenantsFile
from schemas.topics import LIVE_TOPICS, reply_topics_of
from stream_processors.moderate.identity import HmacKey, Key, Member, Tenants, Verifier

MIN_SECRET_BYTES = 32
PUBLIC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """An Ed25519 public key of the `cryptography` package."""

    public: Any

    def genuine(self, signature: bytes, signed: bytes) -> bool:
        """True when the signature is this key's over `signed`."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.public.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


def build(file: TenantsFile, secrets: Mapping[str, str], prefix: str) -> Tenants:
    """The rules that a tenants file means.

    secrets: text of every hmac_secret_file, by its name in the file
    Raises Fatal that names tenant and key; never shows a secret.
    """
    members = {name: _member(name, entry, secrets, prefix) for name, entry in file.tenants.items()}
    return Tenants(
        prefix=prefix,
        members=members,
        require_signatures=file.require_signatures,
        max_age_ms=file.max_age_s * 1000,
        max_clock_skew_ms=file.max_clock_skew_s * 1000,
    )


def _member(name: str, entry: TenantEntry, secrets: Mapping[str, str], prefix: str) -> Member:
    patterns = entry.reply_topics if entry.reply_topics is not None else (f"{reply_topics_of(name, prefix)}*",)
    keys = {key.id: _key(name, key, secrets) for key in entry.keys}
    member = Member(keys, patterns, entry.may_omit_label)
    rules = Tenants(prefix, {name: member})
    for topic in LIVE_TOPICS:
        own = topic.name(prefix)
        if not topic.entity.startswith("replies.") and rules.reply_topic_allowed(name, own):
            raise Fatal(
                f"tenants file: tenant {name}: reply_topics lets it be answered on {own}, a topic of the stages"
            )
    return member


def _key(tenant: str, key: TenantKey, secrets: Mapping[str, str]) -> Key:
    where = f"tenants file: tenant {tenant}, key {key.id}"
    verifier: Verifier
    if key.hmac_secret_file:
        secret = _unbase64(secrets[key.hmac_secret_file].strip().removeprefix("hmac:"))
        if secret is None or len(secret) < MIN_SECRET_BYTES:
            raise Fatal(f"{where}: hmac_secret_file must hold the base64 of at least {MIN_SECRET_BYTES} random bytes")
        verifier = HmacKey(secret)
    else:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        public = _unbase64(key.ed25519_public)
        if public is None or len(public) != PUBLIC_BYTES:
            raise Fatal(f"{where}: ed25519_public must be the base64 of {PUBLIC_BYTES} bytes")
        verifier = Ed25519Key(Ed25519PublicKey.from_public_bytes(public))
    return Key(verifier, key.not_after_ms)


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
