"""How tenants behave at the door, counted from the audit trail."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ops.prompt_policy.likeness import ALIKE_BITS, as_words, differing_bits
from schemas.audit import AuditEntry

OF_CONTENT = frozenset(("prompt_refused", "frames_refused"))
"""Codes of refusals for what was asked for, or for what came of it."""
_LOOKED_BACK = 1_000
"""A request is compared with so many of the tenant's refused ones before it, the newest: the work stays linear."""


@dataclass(slots=True)
class _Tries:
    """When texts came, and their likeness: 24 bytes for each, there may be a million."""

    at_ms: "array[int]" = field(default_factory=lambda: array("q"))
    signs: bytearray = field(default_factory=bytearray)

    def add(self, at_ms: int, sign: str) -> None:
        self.at_ms.append(at_ms)
        self.signs += bytes.fromhex(sign)

    def in_time(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The oldest first, shapes (n,) and (n, 2)."""
        at_ms = np.array(self.at_ms, np.int64)
        order = np.argsort(at_ms, kind="stable")
        return at_ms[order], as_words(self.signs)[order]


@dataclass(slots=True)
class Conduct:
    """One tenant's requests."""

    tenant: str
    accepted: int = 0
    refused: int = 0
    """At the door or later, for whatever reason."""
    refused_content: int = 0
    """Of those: by moderation, for a prompt or for frames."""
    refused_at_ms: int = 0
    """When moderation last did."""
    again: int = 0
    """Of those: alike to one that it had refused before."""
    let_in_again: int = 0
    """Accepted ones that are alike to one that it had refused before."""

    @property
    def share(self) -> float:
        """Of all requests those that moderation refused. One whose frames were refused had been accepted before."""
        asked = self.accepted + self.refused - self._late
        return self.refused_content / asked if asked else 0.0

    _late: int = 0
    _accepted: set[str] = field(default_factory=set)
    _let_in: _Tries = field(default_factory=_Tries)
    _kept_out: _Tries = field(default_factory=_Tries)

    def take(self, entry: AuditEntry) -> None:
        """Count one entry."""
        if entry.kind == "accepted":
            self.accepted += 1
            self._accepted.add(entry.job)
            if entry.likeness:
                self._let_in.add(entry.at_ms, entry.likeness)
        elif entry.kind == "refused":
            self.refused += 1
            # One that was let in before the time that is looked at counts as asked when it is refused.
            self._late += entry.source != "moderate" and entry.job in self._accepted
            if entry.code in OF_CONTENT:
                self.refused_content += 1
                self.refused_at_ms = max(self.refused_at_ms, entry.at_ms)
                if entry.likeness:
                    self._kept_out.add(entry.at_ms, entry.likeness)

    def compare(self) -> None:
        """Count what came again, once all entries were taken."""
        before_ms, refused = self._kept_out.in_time()
        self.again = _alike(before_ms, refused, before_ms, refused)
        self.let_in_again = _alike(*self._let_in.in_time(), before_ms, refused)


def _alike(
    at_ms: NDArray[np.int64], signs: NDArray[np.uint64], before_ms: NDArray[np.int64], before: NDArray[np.uint64]
) -> int:
    """How many are alike to one before them. Both in time, shapes (n,) and (n, 2)."""
    ends = np.searchsorted(before_ms, at_ms, side="left")
    return sum(
        bool((differing_bits(sign, before[max(0, end - _LOOKED_BACK) : end]) <= ALIKE_BITS).any())
        for sign, end in zip(signs, ends, strict=True)
        if end
    )


def conduct(
    entries: Iterable[AuditEntry], since_ms: int = 0, forgiven: Mapping[str, int] = MappingProxyType({})
) -> list[Conduct]:
    """By tenant, the largest share first. An entry that is there twice is counted once. forgiven: by tenant, when what
    went before was forgiven."""
    found: dict[str, Conduct] = {}
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        since_ms_of = max(since_ms, forgiven.get(entry.tenant, 0))
        if entry.at_ms >= since_ms_of and (entry.kind, entry.id) not in seen:
            seen.add((entry.kind, entry.id))
            found.setdefault(entry.tenant, Conduct(entry.tenant)).take(entry)
    for one in found.values():
        one.compare()
    return sorted(found.values(), key=lambda one: (-one.share, one.tenant))
