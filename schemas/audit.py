"""The audit trail: what was let in, refused, published and deleted, each entry bound to the one before. Pure.

Who changes, removes or inserts an entry breaks the chain behind it; who rewrites the chain to its end is found by
comparing with heads that were noted before (RFC 9162 calls this a consistency check; ours is a list, not a tree).
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from schemas.codec import encode
from schemas.request import Record

AuditKind = Literal[
    "accepted", "refused", "review", "approved", "published", "failed", "cancelled", "expired", "deleted"
]


class AuditEntry(Record, frozen=True, kw_only=True):
    """One entry of the audit trail (topic audit.trail, written by track alone). No prompt, no picture, no message that
    could quote one, but for what a person gives as reason: the trail may be kept longer than what it speaks of."""

    sequence: int
    """1 for the first entry of its partition, then one more each."""
    previous: str
    """Hex SHA-256 of the bytes of the entry before in this partition; empty in the first."""
    id: str
    """That of the event. An entry of a refusal whose event came twice is there twice, with the same id."""
    kind: AuditKind
    """What happened. review: a person is to look at texts or frames. approved: that person let them through."""
    at_ms: int
    """When, as the stage that did it says."""
    job: str
    """tenant/job_id."""
    tenant: str
    """On whose account."""
    source: str
    """The stage that did it."""
    fingerprint: str = ""
    """Hex SHA-256 of the request's meaning."""
    likeness: str = ""
    """Of the job's texts, 32 hex characters: in alike texts few of its 128 bits differ."""
    key_id: str = ""
    """Key that signed the request; empty in open mode."""
    code: str = ""
    """Machine-readable reason, when it did not go well."""
    field: str = ""
    """The field that was refused."""
    category: str = ""
    """Category that moderation named, or suspects."""
    moderator: str = ""
    """Prompt policy, or provider, that judged."""
    label: str = ""
    """Text of the visible mark of what was published; "none": it has no such mark, by permission."""
    mark_payload: str = ""
    """Its invisible mark, 16 hex characters."""
    video_sha256: str = ""
    """Hash of the published file."""
    certificate_sha256: str = ""
    """Hex SHA-256 of the certificate whose key signed it; "none": nobody signed it. Empty: not known."""
    certificate_name: str = ""
    """Common name on that certificate."""
    by: str = ""
    """Who reviewed, or deleted."""
    why: str = ""
    """What was given as reason for that."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a partition."""

    sequence: int = 0
    sha256: str = ""


def digest(raw: bytes) -> str:
    """What the next entry calls `previous`. raw: an entry's record value."""
    return hashlib.sha256(raw).hexdigest()


def linked(entry: AuditEntry, head: Head) -> tuple[AuditEntry, Head]:
    """The entry as the next one behind a head, and the head that it makes."""
    after = replace(entry, sequence=head.sequence + 1, previous=head.sha256)
    return after, Head(after.sequence, digest(encode(after)))


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain does not hold."""

    offset: int
    why: str


class Check:
    """Follows one partition. noted: a head of it that was noted before; None: none."""

    def __init__(self, noted: Head | None = None) -> None:
        self.entries = 0
        self.first_sequence = 0
        self.head = Head()
        self.broken: list[Broken] = []
        self._noted, self._noted_seen = noted, noted is None or noted.sequence == 0

    def take(self, offset: int, raw: bytes, entry: AuditEntry | None) -> None:
        """The next record. entry: None when it could not be decoded."""
        if entry is None:
            self.broken.append(Broken(offset, "is no audit entry"))
            return
        if not self.entries:
            self.first_sequence = entry.sequence
            # The oldest are deleted after the topic's retention; what is left begins in the middle of the chain.
            if entry.sequence == 1 and entry.previous:
                self.broken.append(Broken(offset, "is the first entry and names one before"))
        elif entry.sequence != self.head.sequence + 1:
            why = f"has number {entry.sequence}; expected {self.head.sequence + 1}"
            self.broken.append(Broken(offset, why))
        elif entry.previous != self.head.sha256:
            self.broken.append(Broken(offset, f"number {entry.sequence} does not fit the entry before it"))
        self.entries += 1
        self.head = Head(entry.sequence, digest(raw))
        if self._noted is not None and entry.sequence == self._noted.sequence:
            self._noted_seen = True
            if self.head != self._noted:
                self.broken.append(Broken(offset, f"number {entry.sequence} is another than was noted"))

    def finish(self, end: int) -> None:
        """No more records. end: offset behind the last."""
        noted = self._noted
        if noted is None or self._noted_seen or noted.sequence < self.first_sequence:
            return
        self.broken.append(Broken(end, f"ends at number {self.head.sequence}; {noted.sequence} was noted before"))
