"""How tenants behave at the door, counted from the audit trail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schemas.audit import AuditEntry

OF_CONTENT = frozenset(("prompt_refused", "frames_refused"))
"""Codes of refusals for what was asked for, or for what came of it."""


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

    @property
    def share(self) -> float:
        """Of all requests those that moderation refused. One whose frames were refused had been accepted before."""
        asked = self.accepted + self.refused - self._late
        return self.refused_content / asked if asked else 0.0

    _late: int = 0
    _accepted: set[str] = field(default_factory=set)

    def take(self, entry: AuditEntry) -> None:
        """Count one entry."""
        if entry.kind == "accepted":
            self.accepted += 1
            self._accepted.add(entry.job)
        elif entry.kind == "refused":
            self.refused += 1
            # One that was let in before the time that is looked at counts as asked when it is refused.
            self._late += entry.source != "moderate" and entry.job in self._accepted
            if entry.code in OF_CONTENT:
                self.refused_content += 1
                self.refused_at_ms = max(self.refused_at_ms, entry.at_ms)


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
    return sorted(found.values(), key=lambda one: (-one.share, one.tenant))
