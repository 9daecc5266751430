"""What is refused in a tenant's texts besides or instead of what the policy says. Pure."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.errors import InvalidMessage
from schemas.request import Record

EVERYBODY = "*"
"""Key of the rules of those tenants that have none of their own."""
Severity = Literal["low", "medium", "high"]
Category = Literal[
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
]  # fmt: skip
"""OpenAI's moderation categories, so that a policy can be checked against other providers."""
NEVER_LOOSENED: Category = "sexual/minors"
"""Rules of a tenant may make this category stricter, never looser."""
Threshold = Annotated[float, Meta(ge=0, le=1)]
Term = Annotated[str, Meta(min_length=1, max_length=64)]


class CategoryRule(Record, frozen=True, kw_only=True):
    """What holds for one category."""

    category: Category
    """The category."""
    refuse_from: Literal["", "low", "medium", "high", "never"] = ""
    """Terms of this severity and above refuse; never: none; empty: as for all categories."""
    threshold: Threshold = 0.0
    """Probability from which the semantic check refuses, 1: it refuses nothing; 0: as for all categories."""


class PromptRules(Record, frozen=True, kw_only=True):
    """What is refused in a tenant's texts (topic tenants.prompts, compacted; the key is the tenant, or * for all that
    have none of their own). The last record of a key holds, from the moment that a moderate process reads it."""

    tenant: Annotated[str, Meta(pattern=r"^(\*|[a-z0-9][a-z0-9-]{0,62})\Z")]
    """Whose rules they are; * for all that have none of their own."""
    terms: Annotated[tuple[Term, ...], Meta(max_length=500)] = ()
    """Words and phrases that are refused besides the policy's, in any spelling; a trailing * matches every ending."""
    refuse_from: Literal["", "low", "medium", "high"] = ""
    """Terms of the policy of this severity and above refuse; empty: as the policy says."""
    threshold: Threshold = 0.0
    """Probability from which the semantic check refuses, 1: it refuses nothing; 0: as the policy says."""
    categories: Annotated[tuple[CategoryRule, ...], Meta(max_length=13)] = ()
    """Categories for which something else holds. sexual/minors is never refused less than the policy says."""
    by: str = ""
    """Who set it."""
    at_ms: int = 0
    """When, by the clock of who set it."""


def check(key: str, rules: PromptRules) -> None:
    """Raises InvalidMessage for rules at another key than their own, or with a category twice."""
    if key != rules.tenant:
        raise InvalidMessage(f'key: found "{key[:80]}"; expected "{rules.tenant}", as tenant says')
    seen = [rule.category for rule in rules.categories]
    for at, category in enumerate(seen):
        if category in seen[:at]:
            raise InvalidMessage(f"categories[{at}].category: found {category} again; give every category once")
