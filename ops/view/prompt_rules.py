"""Rules of tenants for their texts as a table. Pure."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ops.view.table import plain_table
from schemas.prompt_rules import EVERYBODY, CategoryRule, PromptRules

MAX_TERMS_SHOWN = 5


def listed(rules: Sequence[PromptRules]) -> Table | Text:
    """One row per tenant."""
    if not rules:
        return Text("no tenant has rules of its own")
    table = plain_table("tenant", "refuses from", "threshold", "asks from", "categories", "terms", "set by")
    for one in rules:
        categories = ", ".join(map(_category, one.categories))
        more = len(one.terms) - MAX_TERMS_SHOWN
        terms = ", ".join(one.terms[:MAX_TERMS_SHOWN]) + (f" and {more} more" if more > 0 else "")
        table.add_row(
            Text("everybody" if one.tenant == EVERYBODY else one.tenant), one.refuse_from or "as the policy",
            f"{one.threshold:g}" if one.threshold else "as the policy",
            _pair(one.review_terms_from, one.review_from) or "as the policy", Text(categories or "-"),
            Text(terms or "-"), Text(one.by or "-"),
        )  # fmt: skip
    return table


def _category(rule: CategoryRule) -> str:
    refused, asked = _pair(rule.refuse_from, rule.threshold), _pair(rule.review_terms_from, rule.review_from)
    return f"{rule.category}={refused}" + (f" (asks from {asked})" if asked else "")


def _pair(severity: str, probability: float) -> str:
    """As the command takes it."""
    return severity + (f":{probability:g}" if probability else "")
