"""From where on the policy refuses, or asks a person: severity of terms, probability of meaning, by category. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ops.prompt_policy.pack import SEVERITIES, Category, Severity
from schemas.prompt_rules import NEVER_LOOSENED, CategoryRule, PromptRules

NEVER = len(SEVERITIES)
"""A severity that no term has."""
NOBODY = 1.0
"""A probability from which nothing is refused, and nobody asked."""
Finding = Literal["", "review", "block"]
"""What a term or a score means: nothing, a person is to look, it is refused."""


@dataclass(frozen=True, slots=True)
class Score:
    """probability: what the head says. nearness: cosine to the nearest blocked example of the category."""

    probability: float
    nearness: float


@dataclass(frozen=True, slots=True)
class Bound:
    """Of one category. severity: least index in SEVERITIES that is refused. threshold: least probability that is; from
    1 on none. review_severity, review_from: the same of what a person is asked about, where it is not refused."""

    severity: int
    threshold: float
    review_severity: int = NEVER
    review_from: float = NOBODY


@dataclass(frozen=True, slots=True)
class Bounds:
    """near: least nearness that is refused, for all categories."""

    of: Mapping[Category, Bound]
    near: float

    def term(self, category: Category, severity: Severity) -> Finding:
        """What a term of this category and severity means."""
        bound, index = self.of[category], SEVERITIES.index(severity)
        if index >= bound.severity:
            return "block"
        return "review" if index >= bound.review_severity else ""

    def meaning(self, category: Category, score: Score) -> Finding:
        """What this score means. Not "above": what is no number refuses."""
        bound = self.of[category]
        if self._reaches(score, bound.threshold):
            return "block"
        return "review" if self._reaches(score, bound.review_from) else ""

    def _reaches(self, score: Score, least: float) -> bool:
        return least < NOBODY and not (score.probability < least and score.nearness < self.near)


def never_a_person(category: Category, bound: Bound) -> Bound:
    """The bound as it holds: of sexual/minors nobody is asked, what a person would be asked about is refused."""
    if category != NEVER_LOOSENED:
        return bound
    return Bound(min(bound.severity, bound.review_severity), min(bound.threshold, bound.review_from))


def for_tenant(bounds: Bounds, rules: PromptRules) -> Bounds:
    """The bounds with a tenant's rules on top."""
    own = {rule.category: rule for rule in rules.categories}
    made = {}
    for category, bound in bounds.of.items():
        rule = own.get(category, CategoryRule(category=category))
        new = Bound(
            _severity(rule.refuse_from or rules.refuse_from, bound.severity),
            rule.threshold or rules.threshold or bound.threshold,
            _severity(rule.review_terms_from or rules.review_terms_from, bound.review_severity),
            rule.review_from or rules.review_from or bound.review_from,
        )
        if category == NEVER_LOOSENED:
            severity, threshold = min(new.severity, bound.severity), min(new.threshold, bound.threshold)
            new = never_a_person(category, Bound(severity, threshold, new.review_severity, new.review_from))
        made[category] = new
    return Bounds(made, bounds.near)


def _severity(said: str, otherwise: int) -> int:
    if not said:
        return otherwise
    return NEVER if said == "never" else SEVERITIES.index(said)
