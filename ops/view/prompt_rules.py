"""Rules of tenants for their texts as a table. Pure."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ops.view.table import plain_table
from schemas.prompt_rules import EVERYBODY, PromptRules

MAX_TERMS_SHOWN = 5


def listed(rules: Sequence[PromptRules]) -> Table | Text:
    """One row per tenant."""
    if not rules:
        return Text("no tenant has rules of its own")
    table = plain_table("tenant", "refuses from", "threshold", "categories", "terms", "set by")
    for one in rules:
        categories = ", ".join(
            f"{rule.category}={rule.refuse_from}{f':{rule.threshold:g}' if rule.threshold else ''}"
            for rule in one.categories
        )
        more = len(one.terms) - MAX_TERMS_SHOWN
        terms = ", ".join(one.terms[:MAX_TERMS_SHOWN]) + (f" and {more} more" if more > 0 else "")
        table.add_row(
            Text("everybody" if one.tenant == EVERYBODY else one.tenant), one.refuse_from or "as the policy",
            f"{one.threshold:g}" if one.threshold else "as the policy", Text(categories or "-"), Text(terms or "-"),
            Text(one.by or "-"),
        )  # fmt: skip
    return table
