"""The matcher against a plain reading of its rules, and the list of texts against the fields of the request."""

import string
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ops.prompt_policy.loading import load_policy
from ops.prompt_policy.matcher import Matcher
from ops.settings import Settings
from schemas import request
from schemas.request import Background, Cue, JobRequest, Label, Music, Narration, Shot, Subtitles
from schemas.texts import texts_of

WORDS = st.sampled_from(["ax", "bee", "bees", "cow", "owl", "owls", "dog"])
TERMS = st.lists(st.lists(WORDS, min_size=1, max_size=2).map(" ".join), min_size=1, max_size=4, unique=True)


def _spans(words: list[str], terms: list[str]) -> list[tuple[str, range]]:
    found = []
    for term in terms:
        wanted = term.removesuffix("*").split()
        for at in range(len(words) - len(wanted) + 1):
            *head, last = words[at : at + len(wanted)]
            ends = last.startswith(wanted[-1]) if term.endswith("*") else last == wanted[-1]
            if head == wanted[:-1] and ends:
                found.append((term, range(at, at + len(wanted))))
    return found


@given(st.lists(WORDS, max_size=8), TERMS, st.sets(st.integers(0, 3)), TERMS)
def test_whole_words_open_ends_and_exceptions(words: list[str], terms: list[str], opened: set[int], passed: list[str]):
    terms = [f"{term}*" if at in opened else term for at, term in enumerate(terms)]
    covered = {at for _, span in _spans(words, passed) for at in span}
    expected = {term for term, span in _spans(words, terms) if not covered.issuperset(span)}
    # These words are too short to be looked for backwards or cut in two, all of them but "bees" and "owls".
    backwards = {term for term in terms if len(term.replace(" ", "").rstrip("*")) > 3}
    found = Matcher([(term, term) for term in terms], passed).find(" ".join(words))
    assert expected <= found <= expected | backwards


def test_nothing_to_look_for_finds_nothing() -> None:
    assert Matcher[str]([]).find("n u d e, edun") == set()


def test_scripts_without_spaces_match_anywhere_and_torn_apart() -> None:
    matcher = Matcher([("谋杀", 1), ("可卡因", 2)], ["谋杀之谜"])
    assert matcher.find("一场谋杀案") == {1}
    assert matcher.find("一场谋 · 杀案") == {1}
    assert matcher.find("因卡可") == {2}
    assert matcher.find("谋杀之谜游戏") == set()


def test_single_letters_and_numbers_are_no_terms_in_the_shipped_policy() -> None:
    shipped = load_policy(Path(Settings().policy))
    assert shipped.categories("rated xxx") == {"sexual"}
    letters = [text for one in string.ascii_letters for text in (f"generation {one}", f"a 4 {one} 4 truck")]
    numbers = [f"{name}{number}" for number in (5350, *range(0, 10_000, 37)) for name in ("many-", "scene_", "take ")]
    assert [text for text in (*letters, *numbers) if shipped.categories(text)] == []


NOT_SHOWN = {
    "language", "voice", "style", "model", "uri", "sha256", "colour", "job_id", "tenant", "project", "reply_topic",
    "batch_id", "url", "reason", "kind", "lane", "continuity", "fit", "container", "codec", "profile", "position",
    "action", "metadata",
}  # fmt: skip
"""Names, places and choices: they are in no picture and no sound."""
FULL = JobRequest(
    job_id="j",
    shots=(Shot(prompt="T", negative_prompt="T", duration_s=1, background=Background(kind="prompt", prompt="T")),),
    subtitles=Subtitles(cues=(Cue(start_s=0, end_s=1, text="T"),)),
    narration=Narration(text="T"),
    music=Music(prompt="T"),
    label=Label(profile="eu", text="T"),
)


def test_every_text_of_a_request_is_judged() -> None:
    """A text field that the request gets is either listed in texts.py or named here as none."""
    records = [one for one in vars(request).values() if isinstance(one, type) and issubclass(one, request.Record)]
    fields = {
        (record.__name__, field.name)
        for record in records
        if record is not request.JobOrder
        for field in msgspec.structs.fields(record)
        if _holds_text(get_type_hints(record)[field.name]) and field.name not in NOT_SHOWN
    }
    listed = [text.field for text in texts_of(FULL)]
    assert len(listed) == len(fields) == 7, (fields, listed)
    assert [text.field for text in texts_of(FULL) if not text.wanted] == ["shots[0].negative_prompt"]


def _holds_text(hint: Any) -> bool:
    return hint is str or any(_holds_text(part) for part in get_args(hint) if part is not hint)
