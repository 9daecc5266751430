"""The band between what passes and what is refused in texts, which people decide."""

import io
import json
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ops.cli.moderation import _with
from ops.prompt_policy.bounds import Score
from ops.prompt_policy.own_rules import TenantsPrompts
from ops.prompt_policy.policy import Judgement, Policy, parse
from ops.settings import Settings
from ops.view.prompt_rules import listed as rules_listed
from ops.view.reviews import listed, shown
from schemas.codec import decode, encode
from schemas.errors import Fatal, InvalidMessage
from schemas.events import JobEvent
from schemas.plan import ClearedJob
from schemas.prompt_rules import CategoryRule, PromptRules
from schemas.prompts import MOST_DOUBTS, PromptDoubt, PromptVerdict
from schemas.reviews import ReviewCase, ReviewText
from schemas.texts import Text, digest
from stream_processors.moderate.core import Cleared, Rejected
from stream_processors.split.core import split
from tests.core.test_moderate_core import MODEL, RULES, judged, request

FILE = Path(Settings().policy)
SHIPPED = FILE.read_text()
KISS, MASSACRE = "two people kissing", "a massacre"
"""A term of severity low, and one that is refused as shipped."""


class Says:
    """A check of meaning with one opinion of every text."""

    def __init__(self, scores: dict[str, float], nearness: float = 0.0) -> None:
        self._scores = {name: Score(value, nearness) for name, value in scores.items()}

    def scores(self, text: str) -> Any:
        return self._scores


def policy(
    terms: str = "", review_from: float = 0.0, category: str = "", says: Says | None = None, shipped: str = SHIPPED
) -> Policy:
    """The shipped policy with a band of review. category: further lines of [[category]] violence."""
    text = shipped
    if terms:
        text = text.replace('refuse_from = "medium"', f'refuse_from = "medium"\nreview_terms_from = "{terms}"')
    if review_from:
        text = text.replace("threshold = 0.5 ", f"review_from = {review_from}\nthreshold = 0.5 ")
    if category:
        text = text.replace('name = "violence"\n', f'name = "violence"\n{category}\n')
    assert (text == shipped) == (not (terms or review_from or category))
    return parse(text, lambda name: (FILE.parent / name).read_text(), lambda: says or Says({}))


def judge(of: Policy, *texts: str, rules: PromptRules | None = None) -> Judgement:
    prompts = TenantsPrompts(of.bounds)
    if rules is not None:
        prompts.put(rules.tenant, encode(rules))
    return of.judge([Text(f"shots[{at}].prompt", text) for at, text in enumerate(texts)], prompts.of("acme"))


def said(of: Policy, *texts: str, rules: PromptRules | None = None) -> str:
    """block, review or allow, and the category."""
    found = judge(of, *texts, rules=rules)
    if found.refusal is not None:
        assert not found.doubts, "nobody is asked about what is refused"
        return f"block {found.refusal.category}"
    return f"review {found.doubts[0].category}" if found.doubts else "allow"


def test_as_shipped_nobody_is_asked() -> None:
    assert said(policy(), KISS) == "allow"
    assert said(policy(says=Says({"hate": 0.49})), "a ball") == "allow"


def test_terms_below_what_is_refused_are_left_to_a_person() -> None:
    asked = policy(terms="low")
    assert said(asked, KISS) == "review sexual"
    assert said(asked, MASSACRE) == "block violence"
    assert said(asked, KISS, MASSACRE) == "block violence", "what is refused is refused, whatever else is in doubt"
    assert said(asked, "a ball") == "allow"


def test_scores_below_the_threshold_are_left_to_a_person() -> None:
    for score, right in ((0.1, "allow"), (0.2, "review hate"), (0.49, "review hate"), (0.5, "block hate")):
        assert said(policy(review_from=0.2, says=Says({"hate": score})), "a ball") == right
    near = Says({"hate": 0.1}, nearness=0.9)
    assert said(policy(review_from=0.2, says=near), "a ball") == "block hate"
    no_number = Says({"hate": float("nan")})
    assert said(policy(review_from=0.2, says=no_number), "a ball") == "block hate"


def test_a_category_may_have_a_band_of_its_own() -> None:
    of = policy(category="threshold = 0.9\nreview_from = 0.3", says=Says({"violence": 0.6, "hate": 0.4}))
    assert judge(of, "a ball").doubts == (PromptDoubt(field="shots[0].prompt", category="violence", score=0.6),)


def test_a_doubt_names_the_text_and_the_score() -> None:
    asked = policy(terms="low")
    assert judge(asked, "a ball", KISS).doubts == (PromptDoubt(field="shots[1].prompt", category="sexual"),)
    assert judge(asked, "a sword", "fight").doubts == (PromptDoubt(field="shots", category="violence"),)


def test_of_very_many_doubts_the_gravest_are_named_first() -> None:
    asked = policy(terms="low")
    found = judge(asked, *[KISS] * (MOST_DOUBTS + 3), "a sword fight").doubts
    assert len(found) == MOST_DOUBTS
    assert [doubt.category for doubt in found][:2] == ["violence", "sexual"]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"terms": "medium"}, "review_terms_from: found medium, refuse_from is medium"),
        ({"terms": "never"}, "review_terms_from"),
        ({"review_from": 0.5}, r"\[semantic\] review_from: found 0.5, threshold is 0.5"),
        ({"category": "threshold = 0.2\nreview_from = 0.3"}, "violence, review_from: found 0.3, threshold is 0.2"),
        ({"category": "review_from = 0.7"}, "violence, review_from: found 0.7, threshold is 0.5"),
    ],
)
def test_a_band_that_nothing_falls_into_stops_the_stage(wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(Fatal, match=fault):
        policy(**wrong)


# ---- sexual/minors -------------------------------------------------------------------------------------------------


def test_nobody_is_asked_about_minors_it_is_refused() -> None:
    assert said(policy(review_from=0.2, says=Says({"sexual/minors": 0.3})), "a ball") == "block sexual/minors"
    assert said(policy(says=Says({"sexual/minors": 0.3})), "a ball") == "allow"
    # A word for a child beside something that alone would be left to a person.
    assert said(policy(terms="low"), "a kid and two people kissing") == "block sexual/minors"
    assert said(policy(review_from=0.2, says=Says({"sexual": 0.3})), "a kid") == "block sexual/minors"
    # A band in the place of a block moves nothing of it to a person.
    moved = SHIPPED.replace('name = "sexual"\n', 'name = "sexual"\nthreshold = 0.9\nreview_from = 0.4\n')
    assert moved != SHIPPED
    for text, right in (("a kid", "block sexual/minors"), ("a ball", "review sexual")):
        assert said(policy(shipped=moved, says=Says({"sexual": 0.6})), text) == right


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0, 1), st.floats(0.01, 0.49), st.sampled_from(["", "low"]),
    st.sampled_from(["", "low", "medium", "high", "never"]), st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.05, 0.6, 1.0]),
)  # fmt: skip
def test_minors_are_refused_at_least_as_the_policy_says_and_never_left_to_a_person(
    score: float, review_from: float, terms: str, severity: Any, threshold: float, asked_from: float
) -> None:
    if 0 < threshold <= asked_from < 1:
        return
    rule = CategoryRule(
        category="sexual/minors", refuse_from=severity, threshold=threshold, review_from=asked_from,
        review_terms_from="" if severity == "low" else "low",
    )  # fmt: skip
    rules = PromptRules(tenant="acme", categories=(rule,))
    of = policy(terms, review_from, says=Says({"sexual/minors": score}))
    assert not said(of, "a ball", rules=rules).startswith("review")
    assert said(of, "lolicon", rules=rules) == "block sexual/minors"
    if score >= 0.5:
        assert said(of, "a ball", rules=rules) == "block sexual/minors"


# ---- rules of tenants ----------------------------------------------------------------------------------------------


def test_a_tenant_may_have_its_own_band_or_none() -> None:
    hers = PromptRules(tenant="acme", review_terms_from="low", review_from=0.3)
    assert said(policy(), KISS, rules=hers) == "review sexual"
    assert said(policy(says=Says({"hate": 0.4})), "a ball", rules=hers) == "review hate"
    nobody = PromptRules(tenant="acme", review_terms_from="never", review_from=1.0)
    assert said(policy(terms="low"), KISS, rules=nobody) == "allow"
    assert said(policy(review_from=0.2, says=Says({"hate": 0.4})), "a ball", rules=nobody) == "allow"


def test_a_tenant_may_leave_to_a_person_what_it_would_else_refuse() -> None:
    one = CategoryRule(
        category="violence", refuse_from="never", review_terms_from="medium", threshold=1, review_from=0.5
    )
    rules = PromptRules(tenant="acme", categories=(one,))
    assert said(policy(), MASSACRE, rules=rules) == "review violence"
    assert said(policy(says=Says({"violence": 0.9})), "a ball", rules=rules) == "review violence"
    assert said(policy(), "a massacre in the nude", rules=rules) == "block sexual"


def test_a_band_that_the_policy_has_closed_asks_nobody_and_the_other_rules_hold() -> None:
    rules = PromptRules(tenant="acme", terms=("rival",), review_from=0.6)
    assert said(policy(says=Says({"hate": 0.55})), "a ball", rules=rules) == "block hate"
    assert said(policy(), "a rival", rules=rules) == "block tenant"


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"threshold": 0.5, "review_from": 0.5}, "review_from: found 0.5, threshold is 0.5"),
        (
            {"refuse_from": "medium", "review_terms_from": "high"},
            "review_terms_from: found high, refuse_from is medium",
        ),
        (
            {
                "categories": (
                    CategoryRule(category="hate"),
                    CategoryRule(category="sexual", threshold=0.2, review_from=0.4),
                )
            },
            r"categories\[1\]\.review_from",
        ),
    ],
)
def test_rules_that_contradict_themselves_are_none(wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidMessage, match=fault):
        TenantsPrompts(policy().bounds).put("acme", encode(PromptRules(tenant="acme", **wrong)))


# ---- moderate ------------------------------------------------------------------------------------------------------


def told(verdict: Cleared | Rejected) -> PromptVerdict:
    """But for the likeness of the texts."""
    assert verdict.event.prompts is not None
    return msgspec.structs.replace(verdict.event.prompts, likeness="")


def test_a_job_in_doubt_goes_on_with_a_mark_that_holds_no_text() -> None:
    rules = changed(RULES, policy=policy(terms="low"))
    verdict = judged(request(shots=[{"prompt": KISS, "duration_s": 1}]), rules=rules)
    assert isinstance(verdict, Cleared)
    assert verdict.event.type == "job.accepted"
    assert told(verdict) == PromptVerdict(verdict="review", policy=rules.policy.version, category="sexual")
    assert verdict.job.prompts == verdict.event.prompts
    assert verdict.job.doubts == (PromptDoubt(field="shots[0].prompt", category="sexual"),)
    assert "kissing" not in str((verdict.event, verdict.job.doubts, verdict.job.prompts))
    assert decode(ClearedJob, encode(verdict.job)) == verdict.job
    plan = split(verdict.job, MODEL)
    assert (plan.prompts, plan.doubts) == (verdict.job.prompts, verdict.job.doubts)


def test_what_is_allowed_says_so_on_its_way_and_what_is_refused_says_for_what() -> None:
    rules = changed(RULES, policy=policy(terms="low"))
    fine = judged(request(), rules=rules)
    assert isinstance(fine, Cleared)
    assert told(fine) == PromptVerdict(verdict="allow", policy=rules.policy.version)
    assert (fine.job.prompts, fine.job.doubts) == (fine.event.prompts, ())
    bad = judged(request(shots=[{"prompt": MASSACRE, "duration_s": 1}]), rules=rules)
    assert isinstance(bad, Rejected)
    assert told(bad) == PromptVerdict(verdict="block", policy=rules.policy.version, category="violence")
    assert json.loads(encode(bad.event, "json"))["prompts"]["category"] == "violence"
    assert decode(JobEvent, encode(bad.event)) == bad.event


# ---- what a person is shown ----------------------------------------------------------------------------------------


def case() -> ReviewCase:
    texts = (Text("shots[0].prompt", f"{KISS} \u202ein the dark " + "Ω" * 300), Text("label.text", "AI made"))
    return ReviewCase(
        job="acme/film", tenant="acme", provider="p1", at_ms=1_795_000_000_000, chunks=(),
        texts=tuple(ReviewText(field=text.field, text=text.text) for text in texts), texts_sha256=digest(texts),
        doubts=(
            PromptDoubt(field="shots[0].prompt", category="sexual"),
            PromptDoubt(field="shots", category="violence", score=0.25),
        ),
    )  # fmt: skip


def printed(*tables: Any) -> str:
    out = io.StringIO()
    paper = Console(file=out, width=100)
    for table in tables:
        paper.print(table)
    return out.getvalue()


def test_texts_are_shown_whole_with_what_nobody_sees() -> None:
    shown_ = printed(*shown(case()))
    assert "".join(shown_.split()).count("Ω") == 300, "not cut off"
    assert "<U+202E>" in shown_
    assert all(word in shown_ for word in ("sexual", "term", "violence", "0.25", "all texts together", "AI made"))
    assert "2 texts" in printed(listed([case()]))


def test_a_band_is_set_per_tenant_by_the_command_and_nothing_else_is_lost() -> None:
    known = (CategoryRule(category="hate", refuse_from="low", threshold=0.4),)
    asked = _with(known, "hate=:0.2", "--review-category", "review_terms_from", "review_from")
    assert asked == (CategoryRule(category="hate", refuse_from="low", threshold=0.4, review_from=0.2),)
    forgotten = _with(asked, "hate=", "--category", "refuse_from", "threshold")
    assert forgotten == (CategoryRule(category="hate", review_from=0.2),)
    assert _with(forgotten, "hate=", "--review-category", "review_terms_from", "review_from") == ()
    for wrong in ("hate=huge", "hate=low:x", "rudeness=low", "hate=low:2"):
        with pytest.raises(typer.BadParameter, match="review-category"):
            _with(known, wrong, "--review-category", "review_terms_from", "review_from")
    rules = PromptRules(tenant="acme", review_from=0.3, categories=asked)
    assert "hate=low:0.4 (asks from :0.2)" in printed(rules_listed([rules]))
