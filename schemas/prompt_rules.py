"""What is refused in a tenant's texts besides or instead of what the policy says. Pure."""

from typing import Annotated, Literal, get_args

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
    review_terms_from: Literal["", "low", "medium", "high", "never"] = ""
    """Terms of this severity and above that do not refuse are left to a person; never: none; empty: as for all
    categories."""
    review_from: Threshold = 0.0
    """Probability from which a person is asked, where it does not refuse, 1: nobody is; 0: as for all categories."""


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
    review_terms_from: Literal["", "low", "medium", "high", "never"] = ""
    """Terms of the policy of this severity and above that do not refuse are left to a person; never: none; empty: as
    the policy says."""
    review_from: Threshold = 0.0
    """Probability from which a person is asked, where it does not refuse, 1: nobody is; 0: as the policy says."""
    categories: Annotated[tuple[CategoryRule, ...], Meta(max_length=13)] = ()
    """Categories for which something else holds. sexual/minors is never refused less than the policy says, and never
    left to a person."""
    by: str = ""
    """Who set it."""
    at_ms: int = 0
    """When, by the clock of who set it."""


def check(key: str, rules: PromptRules) -> None:
    """Raises InvalidMessage for rules at another key than their own, with a category twice, or by which a person would
    be asked about what is refused."""
    if key != rules.tenant:
        raise InvalidMessage(f'key: found "{key[:80]}"; expected "{rules.tenant}", as tenant says')
    seen = [rule.category for rule in rules.categories]
    for at, category in enumerate(seen):
        if category in seen[:at]:
            raise InvalidMessage(f"categories[{at}].category: found {category} again; give every category once")
    _check_band("", rules)
    for at, rule in enumerate(rules.categories):
        _check_band(f"categories[{at}].", rule)


def _check_band(place: str, rules: PromptRules | CategoryRule) -> None:
    """What the policy says is not known here: an empty band is refused only where the rules themselves say so."""
    right = "what is looked at by a person begins below what is refused"
    if 0 < rules.threshold <= rules.review_from < 1:
        found = f"found {rules.review_from:g}, threshold is {rules.threshold:g}"
        raise InvalidMessage(f"{place}review_from: {found}; {right}")
    order: tuple[str, ...] = get_args(Severity)
    both = rules.review_terms_from in order and rules.refuse_from in order
    if both and order.index(rules.review_terms_from) >= order.index(rules.refuse_from):
        found = f"found {rules.review_terms_from}, refuse_from is {rules.refuse_from}"
        raise InvalidMessage(f"{place}review_terms_from: {found}; {right}")
