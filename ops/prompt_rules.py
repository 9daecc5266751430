"""Rules of tenants for their texts: written to tenants.prompts, where moderate reads them."""

from ops.levels import put, read, set_one
from ops.settings import Settings
from schemas.prompt_rules import PromptRules
from schemas.topics import TENANTS_PROMPTS


def set_rules(settings: Settings, rules: PromptRules) -> PromptRules:
    """Set the rules of a tenant or of everybody. Raises Transient when the broker does not take them."""
    return set_one(settings, TENANTS_PROMPTS, rules.tenant, rules, f"the rules of {rules.tenant} could not be set")


def unset_rules(settings: Settings, tenant: str) -> None:
    """Take a tenant's own rules away, or everybody's. Raises Transient when the broker does not take it."""
    put(settings, TENANTS_PROMPTS, tenant, None, f"the rules of {tenant} could not be taken away")


def all_rules(settings: Settings) -> dict[str, PromptRules]:
    """By tenant; those of everybody at "*". Raises Transient when the topic cannot be read."""
    known = read(settings, TENANTS_PROMPTS, PromptRules)
    return {key: rules for key, rules in sorted(known.items()) if rules.tenant == key}
