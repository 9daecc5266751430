"""From where on the policy refuses: severity of terms and probability of meaning, by category. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from ops.prompt_policy.pack import SEVERITIES, Category, Severity
from schemas.prompt_rules import NEVER_LOOSENED, CategoryRule, PromptRules

NEVER = len(SEVERITIES)
"""A severity that no term has."""


@dataclass(frozen=True, slots=True)
class Score:
    """probability: what the head says. nearness: cosine to the nearest blocked example of the category."""

    probability: float
    nearness: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """severities: least index in SEVERITIES that is refused. thresholds: least probability; from 1 on nothing is
    refused. near: least nearness, for all categories."""

    severities: Mapping[Category, int]
    thresholds: Mapping[Category, float]
    near: float

    def refuse_term(self, category: Category, severity: Severity) -> bool:
        """Whether a term of this category and severity refuses."""
        return SEVERITIES.index(severity) >= self.severities[category]

    def refuse_meaning(self, category: Category, score: Score) -> bool:
        """Whether this score refuses. Not "above": what is no number refuses."""
        threshold = self.thresholds[category]
        return threshold < 1 and not (score.probability < threshold and score.nearness < self.near)


def for_tenant(bounds: Bounds, rules: PromptRules) -> Bounds:
    """The bounds with a tenant's rules on top."""
    own = {rule.category: rule for rule in rules.categories}
    severities, thresholds = {}, {}
    for category in bounds.severities:
        severity = _severity(own.get(category), rules, bounds.severities[category])
        threshold = own[category].threshold if category in own else 0.0
        threshold = threshold or rules.threshold or bounds.thresholds[category]
        if category == NEVER_LOOSENED:
            severity = min(severity, bounds.severities[category])
            threshold = min(threshold, bounds.thresholds[category])
        severities[category], thresholds[category] = severity, threshold
    return Bounds(severities, thresholds, bounds.near)


def _severity(own: CategoryRule | None, rules: PromptRules, otherwise: int) -> int:
    if own is not None and own.refuse_from:
        return NEVER if own.refuse_from == "never" else SEVERITIES.index(own.refuse_from)
    return SEVERITIES.index(rules.refuse_from) if rules.refuse_from else otherwise
