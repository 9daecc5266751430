"""Moderation services without a network: what their answers mean, when to ask again, which thresholds hold."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.prompt_policy.pack import CATEGORIES
from schemas.errors import Fatal
from stream_processors.inspect.service_policies import ServicePolicy
from stream_processors.inspect.services import azure, labels, openai
from stream_processors.inspect.services.asking import Rules, rules_of, verdict_by_category
from stream_processors.inspect.services.breaker import Breaker
from stream_processors.inspect.services.labels import Label, scores_of
from stream_processors.inspect.services.outcome import Unanswered, check_status, check_type, code_in
from stream_processors.inspect.services.waiting import LONGEST_S, pause_s
from stream_processors.inspect.thresholds import DEFAULTS, GRAVEST_FIRST, merged
from tests.hostile import moderation_server as served

SHIPPED = Rules(merged({}, "p"), {})


def without(value: dict[str, Any], *path: str) -> dict[str, Any]:
    copy = json.loads(json.dumps(value))
    inner = copy["results"][0] if "results" in copy else copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


def openai_scores(**scores: Any) -> dict[str, Any]:
    return served.openai(served.openai_result(scores=scores))


OPENAI_NONSENSE = {
    "no results": {"id": "x", "model": "m"},
    "empty results": {"id": "x", "model": "m", "results": []},
    "two results": served.openai(served.openai_result(), served.openai_result()),
    "results null": {"id": "x", "model": "m", "results": None},
    "no scores": without(served.openai(), "category_scores"),
    "no categories": without(served.openai(), "categories"),
    "no input types": without(served.openai(), "category_applied_input_types"),
    "a score less": without(served.openai(), "category_scores", "violence"),
    "a flag less": without(served.openai(), "categories", "violence"),
    "scores of text only": served.openai(served.openai_result(category_applied_input_types={"sexual": ["text"]})),
    "a string": openai_scores(sexual="0.001"),
    "a boolean": openai_scores(sexual=False),
    "null": openai_scores(sexual=None),
    "NaN": openai_scores(sexual=float("nan")),
    "infinity": openai_scores(sexual=float("inf")),
    "above one": openai_scores(sexual=1.01),
    "below zero": openai_scores(sexual=-0.01),
    "flagged without a category": served.openai(served.openai_result(flagged=True)),
    "a category without flagged": served.openai(served.openai_result(scores={"sexual": 0.9}, flagged=False)),
    "flagged as text": served.openai(served.openai_result(flagged="false")),
    "an error with 200": {"error": {"message": "overloaded"}},
}
AZURE_NONSENSE = {
    "nothing": {},
    "null": {"categoriesAnalysis": None},
    "empty": {"categoriesAnalysis": []},
    "three categories": {"categoriesAnalysis": served.azure()["categoriesAnalysis"][:3]},
    "one twice": {"categoriesAnalysis": served.azure()["categoriesAnalysis"][:3] * 2},
    "a severity between": served.azure(Sexual=1),
    "eight levels": served.azure(Sexual=7),
    "a string": served.azure(Sexual="0"),
    "null severity": served.azure(Sexual=None),
    "below zero": served.azure(Sexual=-2),
    "NaN": served.azure(Sexual=float("nan")),
    "another case": {"CategoriesAnalysis": served.azure()["categoriesAnalysis"]},
}
REKOGNITION_NONSENSE = {
    "nothing": {},
    "no labels": {"ModerationModelVersion": "7.0"},
    "no version": {"ModerationLabels": []},
    "labels null": {"ModerationLabels": None, "ModerationModelVersion": "7.0"},
    "labels a text": {"ModerationLabels": "none", "ModerationModelVersion": "7.0"},
    "a string": served.rekognition(("Alcohol", "", 1, "1")),
    "NaN": served.rekognition(("Alcohol", "", 1, float("nan"))),
    "above a hundred": served.rekognition(("Alcohol", "", 1, 100.5)),
    "below zero": served.rekognition(("Alcohol", "", 1, -1)),
    "no level": served.rekognition(("Alcohol", "", 0, 1)),
    "no name": served.rekognition(("", "", 1, 1)),
    "a label that is a text": {"ModerationLabels": ["Alcohol"], "ModerationModelVersion": "7.0"},
}
NOT_JSON = (b"", b"<html>200 OK</html>", b"null", b"[]", b"42", b'"allow"', b"\xff\xfe", b"[" * 100_000)


def parse_labels(body: bytes) -> dict[str, float]:
    return labels.parse(body, {})


@pytest.mark.parametrize(
    ("parse", "nonsense", "good"),
    [
        (openai.parse, OPENAI_NONSENSE, served.openai()),
        (azure.parse, AZURE_NONSENSE, served.azure()),
        (parse_labels, REKOGNITION_NONSENSE, served.rekognition()),
    ],
)
def test_nonsense_is_no_answer(
    parse: Callable[[bytes], dict[str, float]], nonsense: dict[str, Any], good: dict[str, Any]
) -> None:
    whole = json.dumps(good).encode()
    assert all(score < 0.1 for score in parse(whole).values()), "what is sound is taken"
    bodies = [json.dumps(value).encode() for value in nonsense.values()]
    for body in (*bodies, *NOT_JSON, whole[:-1], whole[: len(whole) // 2], whole + b"x"):
        with pytest.raises(Unanswered):
            parse(body)


@given(st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0, 1), min_size=1))
def test_openai_scores_arrive_as_they_were_said(scores: dict[str, float]) -> None:
    found = openai.parse(json.dumps(openai_scores(**scores)).encode())
    assert found == dict.fromkeys(CATEGORIES, 0.001) | scores


def test_a_low_flag_does_not_hide_a_high_score() -> None:
    lie = served.openai_result(scores={"sexual": 0.99})
    lie |= {"flagged": False, "categories": dict.fromkeys(CATEGORIES, False)}
    scores = openai.parse(json.dumps(served.openai(lie)).encode())
    assert verdict_by_category([scores], SHIPPED, "p").verdict == "block"


def test_openai_is_asked_in_its_own_form() -> None:
    asked = json.loads(openai.request("omni-moderation-latest", b"\xff\xd8"))
    assert asked == {
        "model": "omni-moderation-latest",
        "input": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9g="}}],
    }
    assert openai.headers("k")["Authorization"] == "Bearer k"


def test_azure_is_asked_in_its_own_form_and_severities_become_scores() -> None:
    asked = json.loads(azure.request(b"\xff\xd8"))
    assert asked["image"] == {"content": "/9g="}
    assert (asked["categories"], asked["outputType"]) == (
        ["Hate", "SelfHarm", "Sexual", "Violence"],
        "FourSeverityLevels",
    )
    assert azure.url("https://n.example/", "2024-09-01") == (
        "https://n.example/contentsafety/image:analyze?api-version=2024-09-01"
    )
    body = json.dumps(served.azure(Hate=2, SelfHarm=4, Sexual=6, New=6)).encode()
    assert azure.parse(body) == {"hate": 2 / 6, "self-harm": 4 / 6, "sexual": 1.0, "violence": 0.0, "New": 1.0}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], {}),
        ([("Explicit", "", 90), ("Explicit Nudity", "Explicit", 90)], {"sexual": 0.9}),
        ([("Violence", "", 90), ("Weapons", "Violence", 90)], {}),
        ([("Violence", "", 95), ("Weapons", "Violence", 90)], {"violence": 0.95}),
        ([("Violence", "", 90)], {"violence": 0.9}),
        (
            [("Violence", "", 90), ("Graphic Violence", "Violence", 90), ("Self-Harm", "Graphic Violence", 90)],
            {"self-harm": 0.9},
        ),
        (
            [("Violence", "", 90), ("Graphic Violence", "Violence", 90), ("Blood & Gore", "Graphic Violence", 90)],
            {"violence/graphic": 0.9},
        ),
        ([("Hate Symbols", "", 80), ("Nazi Party", "Hate Symbols", 80)], {"hate": 0.8}),
        ([("Alcohol", "", 99), ("Drinking", "Alcohol", 99)], {}),
        ([("Something New", "", 70)], {"unlisted-label": 0.7}),
        ([("Explicit", "", 90), ("Weapons", "Explicit", 99)], {"sexual": 0.9}),
    ],
)
def test_what_labels_count_as(found: list[tuple[str, str, float]], expected: dict[str, float]) -> None:
    assert scores_of([Label(confidence, name, parent, 1) for name, parent, confidence in found], {}) == expected


def test_a_policy_may_say_what_labels_count_as() -> None:
    drink = [Label(60, "Alcohol", "", 1), Label(60, "Drinking", "Alcohol", 2)]
    assert scores_of(drink, {"Alcohol": "illicit"}) == {"illicit": 0.6}
    assert scores_of(drink, {"Alcohol": "illicit", "Drinking": "ignore"}) == {}


@given(
    st.lists(
        st.builds(
            Label,
            st.floats(0, 100),
            st.sampled_from([*labels.TAXONOMY, "New", "Newer"]),
            st.sampled_from(["", *labels.TAXONOMY, "New"]),
            st.integers(1, 3),
        ),
        max_size=8,
    )
)
def test_a_label_that_counts_is_never_lost_but_to_one_right_under_it(found: list[Label]) -> None:
    scores = scores_of(found, {})
    for label in found:
        _, meaning = labels.TAXONOMY.get(label.name, ("", "ignore"))
        below = [one for one in found if one.parent == label.name and one.confidence >= label.confidence]
        if meaning != "ignore" and not below:
            assert scores[meaning] >= label.confidence / 100


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_category_blocks_from_its_threshold_on(category: str) -> None:
    just, under = SHIPPED.thresholds[category], SHIPPED.thresholds[category] - 0.01
    block = verdict_by_category([{category: under}, {category: just}], SHIPPED, "p 1")
    assert (block.verdict, block.category, block.score, block.frames_checked, block.provider) == (
        "block", category, just, 2, "p 1",
    )  # fmt: skip
    allow = verdict_by_category([{category: under}], SHIPPED, "p 1")
    assert (allow.verdict, allow.category, allow.provider, allow.score) == ("allow", "", "p 1", under)


def test_the_gravest_category_is_named_and_an_unknown_one_counts() -> None:
    assert set(GRAVEST_FIRST) == set(CATEGORIES) == set(DEFAULTS)
    assert verdict_by_category([{"sexual": 1.0, "sexual/minors": 0.2}], SHIPPED, "p").category == "sexual/minors"
    assert verdict_by_category([{"brand-new": 0.5}], SHIPPED, "p").category == "brand-new"


def test_a_policy_may_loosen_every_category_but_one() -> None:
    rules = Rules(merged({"sexual": "never", "violence": 0.99, "sexual/minors": 0.05}, "p"), {})
    assert verdict_by_category([{"sexual": 1.0, "violence": 0.98}], rules, "p").verdict == "allow"
    assert verdict_by_category([{"sexual/minors": 0.06}], rules, "p").verdict == "block"
    for loose in (0.11, 1.0, "never"):
        with pytest.raises(Fatal, match=r'thresholds\."sexual/minors": found .*; expected at most 0\.1'):
            merged({"sexual/minors": loose}, "p")  # type: ignore[dict-item]


def test_a_person_is_asked_about_what_is_in_doubt_and_a_later_frame_may_still_block() -> None:
    rules = rules_of(ServicePolicy(review_from={"violence": 0.3, "sexual": 0.2}), "p")
    doubt = verdict_by_category([{"violence": 0.35, "sexual": 0.4}, {}], rules, "p")
    assert (doubt.verdict, doubt.category, doubt.score) == ("review", "sexual", 0.4)
    assert verdict_by_category([{"violence": 0.29, "sexual": 0.1, "hate": 0.49}], rules, "p").verdict == "allow"
    assert verdict_by_category([{"sexual": 0.4}, {"hate": 0.5}], rules, "p").category == "hate"
    with pytest.raises(Fatal, match=r'review_from\."sexual": found 0\.5; expected less than 0\.5'):
        rules_of(ServicePolicy(review_from={"sexual": 0.5}), "p")


@pytest.mark.parametrize(("code", "said"), [(401, "key_file"), (403, "key_file"), (404, "endpoint")])
def test_what_an_operator_must_put_right_stops_the_stage(code: int, said: str) -> None:
    with pytest.raises(Fatal, match=said):
        check_status(code)


@pytest.mark.parametrize("code", [301, 302, 307, 308, 400, 413, 422, 408, 409, 425, 429, 500, 502, 503, 204, 206, 0])
def test_what_is_no_answer_by_its_status(code: int) -> None:
    with pytest.raises(Unanswered) as caught:
        check_status(code, retry_after_s=1e9)
    assert caught.value.again == (code not in (301, 302, 307, 308, 400, 413, 422))
    assert caught.value.reachable == (code in (400, 413, 422))
    assert caught.value.retry_after_s in (0, 600)


def test_an_error_code_is_told_and_a_key_never() -> None:
    assert code_in(b'{"error": {"code": "too_many_images", "message": "sk-secret1"}}') == "too_many_images"
    for body in (b'{"error": {"code": "sk-secret1"}}', b'{"error": "x"}', b"[]", b"", b"[" * 100_000):
        assert code_in(body) == ""
    with pytest.raises(Unanswered) as caught:
        check_status(500, "sk-secret1")
    assert "secret" not in str(caught.value)


def test_a_body_must_be_said_to_be_what_it_is() -> None:
    check_type({"content-type": "application/JSON; charset=utf-8"}, "application/json")
    for headers in (
        {},
        {"content-type": "text/html"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        with pytest.raises(Unanswered):
            check_type(headers, "application/json")


def test_the_breaker_opens_waits_probes_and_closes() -> None:
    breaker = Breaker(limit=3, open_s=30)
    for now_s in (0.0, 1.0, 2.0):
        assert breaker.begin(now_s)
        breaker.failed(now_s)
    assert not breaker.begin(31.9)
    assert breaker.wait_s(31.5) == 0.5
    assert breaker.begin(32.0), "the probe"
    assert not breaker.begin(32.0), "one at a time"
    breaker.failed(33.0)
    assert not breaker.begin(62.9)
    assert breaker.begin(63.0)
    breaker.succeeded()
    assert breaker.begin(63.0)
    breaker.failed(63.0)
    assert breaker.begin(63.0), "it counts anew"


def test_the_breaker_leaves_alone_whoever_asks_for_it() -> None:
    breaker = Breaker(limit=5, open_s=30)
    assert breaker.begin(0)
    breaker.failed(0, retry_after_s=100)
    assert not breaker.begin(99)
    assert breaker.begin(100)


def test_a_probe_that_never_tells_does_not_wedge_the_breaker() -> None:
    breaker = Breaker(limit=1, open_s=10)
    breaker.failed(0)
    assert breaker.begin(10)
    assert not breaker.begin(19)
    assert breaker.begin(20)


@given(
    limit=st.integers(1, 5),
    steps=st.lists(st.tuples(st.floats(0, 20), st.booleans(), st.sampled_from([0.0, 0.0, 3.0])), max_size=60),
)
def test_no_more_than_one_request_in_the_open_time_of_a_service_that_fails(
    limit: int, steps: list[tuple[float, bool, float]]
) -> None:
    """Against a plain account: after `limit` failures in a row, requests lie `open_s` apart until one succeeds."""
    breaker, now_s, in_a_row, last_s = Breaker(limit, 10.0), 0.0, 0, -1e9
    for after_s, good, asked_s in steps:
        now_s += after_s
        if not breaker.begin(now_s):
            assert breaker.wait_s(now_s) > 0
            assert in_a_row >= limit or breaker.failures > 0
            continue
        if in_a_row >= limit:
            assert now_s - last_s >= 10.0 - 1e-6
        last_s = now_s
        if good:
            breaker.succeeded()
            in_a_row = 0
        else:
            breaker.failed(now_s, asked_s)
            in_a_row += 1


@given(st.integers(1, 50), st.floats(0, 1), st.floats(0, 600))
def test_waits_grow_are_bounded_and_honour_retry_after(failed: int, jitter: float, asked_s: float) -> None:
    pause = pause_s(failed, jitter, asked_s)
    assert pause >= asked_s
    assert pause <= max(asked_s, LONGEST_S)
    assert pause_s(failed + 1, jitter, 0) >= pause_s(failed, jitter, 0) > 0
    assert pause_s(failed, 0, 0) * 2 == pause_s(failed, 1, 0)
