"""Rules of tenants: what they add, what they loosen, what they may not."""

from pathlib import Path
from typing import Any

import pytest

from ops.prompt_policy.bounds import Bound, Bounds, Score
from ops.prompt_policy.own_rules import TenantsPrompts
from ops.prompt_policy.pack import CATEGORIES
from ops.prompt_policy.policy import Policy, parse
from ops.settings import Settings
from schemas.codec import encode
from schemas.errors import InvalidMessage
from schemas.prompt_rules import CategoryRule, PromptRules
from schemas.texts import Text

FILE = Path(Settings().policy)


class Says:
    """A check of meaning with one opinion of every text."""

    def __init__(self, **scores: float) -> None:
        self._scores = {name: Score(value, 0.0) for name, value in scores.items()}

    def scores(self, text: str) -> Any:
        return self._scores


def _policy(meaning: Says | None = None) -> Policy:
    return parse(FILE.read_text(), lambda name: (FILE.parent / name).read_text(), lambda: meaning or Says())


def _refused(text: str, rules: PromptRules | None = None, policy: Policy | None = None) -> str:
    policy = policy or _policy()
    prompts = TenantsPrompts(policy.bounds)
    if rules is not None:
        prompts.put(rules.tenant, encode(rules))
    refusal = policy.judge([Text("shots[0].prompt", text)], prompts.of("acme")).refusal
    return refusal.category if refusal else ""


def test_terms_of_a_tenant_are_refused_in_any_spelling() -> None:
    rules = PromptRules(tenant="acme", terms=("rival brand", "secret*"))
    assert _refused("a rival brand on a poster", rules) == "tenant"
    assert _refused("a r1v@l  b-r-a-n-d", rules) == "tenant"
    assert _refused("the secrets of cooking", rules) == "tenant"
    assert _refused("a rival and a brand", rules) == ""
    assert _refused("a rival brand on a poster") == ""


def test_severity_and_thresholds_by_tenant_and_category() -> None:
    strict = PromptRules(tenant="acme", refuse_from="low")
    assert (_refused("two people kissing"), _refused("two people kissing", strict)) == ("", "sexual")
    lenient = PromptRules(tenant="acme", categories=(CategoryRule(category="violence", refuse_from="never"),))
    assert (_refused("a massacre"), _refused("a massacre", lenient)) == ("violence", "")
    assert _refused("a massacre in the nude", lenient) == "sexual"
    unsure = _policy(Says(hate=0.4))
    assert _refused("a ball", None, unsure) == ""
    assert _refused("a ball", PromptRules(tenant="acme", threshold=0.3), unsure) == "hate"
    other = CategoryRule(category="hate", threshold=0.45)
    assert _refused("a ball", PromptRules(tenant="acme", threshold=0.3, categories=(other,)), unsure) == ""
    assert _refused("a ball", PromptRules(tenant="acme", threshold=1.0), _policy(Says(hate=1.0))) == ""


def test_one_category_is_never_loosened() -> None:
    rules = PromptRules(
        tenant="acme",
        threshold=1.0,
        categories=(
            CategoryRule(category="sexual/minors", refuse_from="never", threshold=1.0),
            CategoryRule(category="sexual", refuse_from="never"),
        ),
    )
    assert _refused("lolicon", rules) == "sexual/minors"
    assert _refused("a naked man", rules) == ""
    assert _refused("a naked kid", rules) == "sexual/minors"
    assert _refused("a kid", rules, _policy(Says(sexual=0.9))) == "sexual/minors"


def test_a_score_that_is_no_number_refuses() -> None:
    assert _refused("a ball", None, _policy(Says(violence=float("nan")))) == "violence"


def test_own_rules_take_the_place_of_everybodys_and_go_again() -> None:
    policy = _policy()
    prompts = TenantsPrompts(policy.bounds)
    prompts.put("*", encode(PromptRules(tenant="*", terms=("ball",), at_ms=7)))
    prompts.put("acme", encode(PromptRules(tenant="acme", terms=("cat",), at_ms=8)))
    before = prompts.now()
    assert [(own.label if own else "") for own in (prompts.of("acme"), prompts.of("other"))] == ["acme@8", "*@7"]
    prompts.put("acme", None)
    prompts.put("*", None)
    assert prompts.of("acme") is None
    assert before.of("acme") is not None, "a judgement under way is by one set of rules"


@pytest.mark.parametrize(
    ("key", "raw", "fault"),
    [
        ("acme", b"junk", "PromptRules"),
        ("acme", encode(PromptRules(tenant="other")), "key"),
        ("acme", encode(PromptRules(tenant="acme", terms=("ok", "..."))), r"terms\[1\]"),
        (
            "acme",
            encode(PromptRules(tenant="acme", categories=(CategoryRule(category="hate"),) * 2)),
            r"categories\[1\]",
        ),
    ],
)
def test_what_are_no_rules_changes_nothing(key: str, raw: bytes, fault: str) -> None:
    prompts = TenantsPrompts(Bounds(dict.fromkeys(CATEGORIES, Bound(1, 0.5)), 1.0))
    prompts.put("acme", encode(PromptRules(tenant="acme", terms=("cat",), at_ms=1)))
    with pytest.raises(InvalidMessage, match=fault):
        prompts.put(key, raw)
    kept = prompts.of("acme")
    assert kept is not None
    assert kept.label == "acme@1"
