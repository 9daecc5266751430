"""The rules of tenants, ready to judge by. Pure: who reads the topic puts them in."""

from collections.abc import Mapping
from dataclasses import dataclass

from ops.prompt_policy.bounds import Bounds, for_tenant
from ops.prompt_policy.matcher import Matcher, has_word
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.prompt_rules import EVERYBODY, PromptRules, check


@dataclass(frozen=True, slots=True)
class OwnRules:
    """label: names them in the audit trail. terms: what is refused besides the policy."""

    label: str
    bounds: Bounds
    terms: Matcher[str]


class TenantsPrompts:
    """The rules of each tenant that has some. One thread puts and others look up, so what they look up never changes: a
    new mapping takes its place."""

    def __init__(self, bounds: Bounds, rules: Mapping[str, OwnRules] | None = None) -> None:
        self._bounds = bounds
        self._rules: Mapping[str, OwnRules] = rules or {}

    def put(self, key: str, raw: bytes | None) -> None:
        """Take the last record of a key, None for a tombstone. Raises InvalidMessage for what are no rules; those that
        held before hold on."""
        others = {name: rules for name, rules in self._rules.items() if name != key}
        new = {} if raw is None else {key: compiled(decode(PromptRules, raw), self._bounds, key)}
        self._rules = {**others, **new}

    def now(self) -> "TenantsPrompts":
        """The rules of this moment."""
        return TenantsPrompts(self._bounds, self._rules)

    def of(self, tenant: str) -> OwnRules | None:
        """The tenant's own rules, or those of everybody, or None."""
        return self._rules.get(tenant) or self._rules.get(EVERYBODY)


def compiled(rules: PromptRules, bounds: Bounds, key: str) -> OwnRules:
    """The rules, ready. Raises InvalidMessage that names the field at fault."""
    check(key, rules)
    for at, term in enumerate(rules.terms):
        if not has_word(term):
            raise InvalidMessage(f"terms[{at}]: has no letter or digit")
    return OwnRules(f"{rules.tenant}@{rules.at_ms}", for_tenant(bounds, rules), Matcher((t, t) for t in rules.terms))
