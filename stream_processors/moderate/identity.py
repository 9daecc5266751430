"""Who sent a record: proof by signature, and where a tenant may be answered. Pure.

A tenant's name stands in the payload, which anybody who may write to the topic can type. With a tenants file, the name
counts only together with a signature (`schemas.envelope`) by one of that tenant's keys.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.envelope import HEADER, Signature, parse, signed_bytes
from schemas.errors import InvalidMessage
from schemas.records import Incoming
from schemas.topics import reply_topics_of


class IdentityRefused(InvalidMessage):
    """The record does not prove whose it is: a dead letter, for an answer would go to whoever it claims to be from.

    code: tenant_unknown, signature_missing, signature_malformed, signature_key_unknown, signature_key_ended,
          signature_wrong, signature_stale, signature_early
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Verifier(Protocol):
    """One key, ready to verify."""

    def genuine(self, signature: bytes, signed: bytes) -> bool:
        """True when the signature is this key's over `signed`."""


@dataclass(frozen=True, slots=True)
class HmacKey:
    """HMAC-SHA256."""

    secret: bytes = field(repr=False)

    def genuine(self, signature: bytes, signed: bytes) -> bool:
        """True when the signature is this key's over `signed`; in constant time."""
        return hmac.compare_digest(hmac.digest(self.secret, signed, "sha256"), signature)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a tenant. not_after_ms: 0 for no end."""

    verifier: Verifier
    not_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """One tenant. reply_topics: full names, or beginnings that end in ".*". may_omit_label: it may have videos made
    without visible mark."""

    keys: Mapping[str, Key]
    reply_topics: Sequence[str]
    may_omit_label: bool = False


@dataclass(frozen=True, slots=True)
class Tenants:
    """The rules of identity. members None: open mode, where every tenant's name is taken as it stands."""

    prefix: str
    members: Mapping[str, Member] | None = None
    require_signatures: bool = True
    max_age_ms: int = 300_000
    max_clock_skew_ms: int = 60_000

    def check(self, record: Incoming, tenant: str) -> str:
        """Id of the key that proved the tenant, "" where no proof is asked for. Raises IdentityRefused.

        Age is the broker's time of the record less the sender's time in the signature: the same for every delivery.
        """
        if self.members is None:
            return ""
        member = self.members.get(tenant)
        if member is None:
            raise IdentityRefused("tenant_unknown", f"tenant {tenant} is not in the tenants file")
        given = [value for name, value in record.headers if name == HEADER]
        if not given and not self.require_signatures:
            return ""
        if len(given) != 1:
            what = "missing" if not given else f"given {len(given)} times"
            raise IdentityRefused("signature_missing", f"header {HEADER}: {what}; tenant {tenant} must sign, once")
        try:
            signature = parse(given[0])
        except ValueError as exc:
            raise IdentityRefused("signature_malformed", f"header {HEADER}: {exc}") from None
        self._verify(record, tenant, member, signature)
        self._check_age(record, signature)
        return signature.key_id

    def _verify(self, record: Incoming, tenant: str, member: Member, signature: Signature) -> None:
        key = member.keys.get(signature.key_id)
        if key is None:
            raise IdentityRefused("signature_key_unknown", f"tenant {tenant} has no key {signature.key_id}")
        if key.not_after_ms and record.timestamp_ms > key.not_after_ms:
            raise IdentityRefused("signature_key_ended", f"key {signature.key_id} of tenant {tenant} has ended")
        try:
            signed = signed_bytes(
                record.topic, tenant, record.key or b"", signature.key_id, signature.signed_at_ms, record.value or b""
            )
        except ValueError as exc:
            raise IdentityRefused("signature_malformed", str(exc)) from None
        if not key.verifier.genuine(signature.signature, signed):
            why = f"not that of key {signature.key_id} over topic, tenant, key, time and value of this record"
            raise IdentityRefused("signature_wrong", f"header {HEADER}: the signature is {why}")

    def _check_age(self, record: Incoming, signature: Signature) -> None:
        age_ms = record.timestamp_ms - signature.signed_at_ms
        if age_ms > self.max_age_ms:
            limit = f"the limit is {self.max_age_ms // 1000} s; sign again"
            raise IdentityRefused("signature_stale", f"signed {age_ms // 1000} s before the broker had it; {limit}")
        if age_ms < -self.max_clock_skew_ms:
            why = f"signed {-age_ms // 1000} s after the broker had it; set the sender's clock"
            raise IdentityRefused("signature_early", why)

    def may_omit_label(self, tenant: str, key_id: str) -> bool:
        """Whether a request may ask for no visible mark. key_id: of the key that proved the tenant; without a proof
        nobody may."""
        member = (self.members or {}).get(tenant)
        return bool(key_id) and member is not None and member.may_omit_label

    def reply_topic_allowed(self, tenant: str, topic: str) -> bool:
        """Whether this tenant may be answered there."""
        return any(
            topic == pattern
            or (pattern.endswith(".*") and topic.startswith(pattern[:-1]) and len(topic) >= len(pattern))
            for pattern in self.reply_topics(tenant)
        )

    def reply_topics(self, tenant: str) -> Sequence[str]:
        """Patterns of the topics where a tenant may be answered."""
        if self.members is None:
            return (f"{reply_topics_of(tenant, self.prefix)}*",)
        member = self.members.get(tenant)
        return member.reply_topics if member is not None else ()
