"""What a judgement depends on besides the record. Pure."""

from dataclasses import dataclass, replace
from typing import Literal

from ops.prompt_policy.likeness import likeness
from ops.prompt_policy.own_rules import OwnRules, TenantsPrompts
from ops.prompt_policy.policy import Policy
from schemas.prompts import PromptVerdict
from schemas.request import JobRequest
from schemas.texts import texts_of
from stream_processors.moderate.checks import Offer
from stream_processors.moderate.identity import Tenants


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that a judgement depends on besides the record. prompts: rules of tenants; None where nobody reads
    them."""

    offer: Offer
    policy: Policy
    tenants: Tenants
    prompts: TenantsPrompts | None = None

    def now(self) -> "Rules":
        """These rules, with those of tenants as they are at the moment: one judgement is by one set."""
        return self if self.prompts is None else replace(self, prompts=self.prompts.now())

    def own(self, tenant: str) -> OwnRules | None:
        """What the tenant's texts are judged by besides the policy."""
        return self.prompts.of(tenant) if self.prompts is not None else None

    def verdict(
        self, verdict: Literal["allow", "review", "block"], request: JobRequest, category: str = ""
    ) -> PromptVerdict:
        """What is told of a request's texts, and by which rules."""
        own = self.own(request.tenant)
        by = self.policy.version if own is None else f"{self.policy.version} {own.label}"
        sign = likeness(text.text for text in texts_of(request) if text.wanted)
        return PromptVerdict(verdict=verdict, policy=by, likeness=sign, category=category)
