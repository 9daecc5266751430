"""Reading requests as users write them."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.settings import PACKAGE_ROOT
from producers.client.core import checked, key_of, name_of, one_shot, read_requests
from schemas.chunks import total_frames
from schemas.errors import InvalidMessage

GOOD = {"job_id": "a", "shots": [{"prompt": "a red ball", "duration_s": 1.5}]}


def ids():
    numbers = iter(range(1000))
    return lambda: f"made-{next(numbers)}"


def read(text):
    return list(read_requests(text.splitlines(keepends=True), ids()))


def test_one_shot_gets_an_id_only_when_it_has_none():
    assert checked(one_shot("a red ball", duration_s=1), ids()).job_id == "made-0"
    assert checked(one_shot("a red ball", duration_s=1, job_id="mine"), ids()).job_id == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lane": "fast"}, 'lane: found "fast"; expected one of bulk, express, standard'),
        ({"output": {"width_px": 3}}, "output.width_px: found 3; expected a whole number from 64 to 4096"),
        (
            {"shots": [{"prompt": "", "duration_s": 1}]},
            "shots[0].prompt: found text of 0 characters; expected text",
        ),
        ({"shots": [{"prompt": "x", "duration_s": "1"}]}, 'shots[0].duration_s: found "1"; expected a number above 0'),
        ({"shots": [{"prompt": "x", "duration_s": float("nan")}]}, "shots[0].duration_s: found NaN; expected a number"),
        ({"shots": [{"prompt": "\ud800", "duration_s": 1}]}, "the request: a text is not Unicode: surrogates"),
        ({"shots": [{"prompt": "x" * 2000, "duration_s": 1}] * 50}, "the request: 101"),
        ({"shots": []}, "shots: found a list of 0 entries; expected a list of 1 to 50 entries"),
        ({"wat": 1}, 'the request: unknown field "wat"; known are job_id'),
        ({"shot": 1}, 'the request: unknown field "shot"; did you mean shots?'),
        ({"job_id": "a/b"}, 'job_id: found "a/b"; expected a name of 1 to 128 letters'),
    ],
)
def test_a_mistake_is_told_with_field_and_value(change, message):
    with pytest.raises(InvalidMessage) as caught:
        checked({**GOOD, **change}, ids())
    assert str(caught.value).startswith(message)


def test_a_long_value_is_not_repeated_in_full():
    with pytest.raises(InvalidMessage) as caught:
        checked({**GOOD, "shots": [{"prompt": "x" * 3000, "duration_s": 1}]}, ids())
    assert len(str(caught.value)) < 200
    assert "3000 characters" in str(caught.value)


def test_a_document_of_one_object_of_many_lines_a_list_and_lines_are_told_apart():
    one = read(json.dumps(GOOD, indent=2))
    listed = read(json.dumps([GOOD, {**GOOD, "job_id": "b"}], indent=2))
    lines = read(json.dumps(GOOD) + "\n\n" + json.dumps({**GOOD, "job_id": "b"}) + "\n")
    assert [r.job_id for r in one] == ["a"]
    assert [r.job_id for r in listed] == [r.job_id for r in lines] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no request found"),
        ("  \n", "no request found"),
        ("{", "the input: not JSON"),
        (json.dumps(GOOD) + "\n{broken\n", "line 2: not JSON"),
        (json.dumps(GOOD) + "\n\n[1]\n", "line 3: expected a JSON object with a request, got list"),
        (json.dumps(GOOD) + '\n{"job_id": "b"}\n', "line 2: shots: missing; expected a list"),
        ('[{"job_id": "b"}]', "item 0: shots: missing; expected a list"),
        ("3", "the request: expected a JSON object with a request, got int"),
        ('{"job_id":"a","shots":[{"prompt":"x","duration_s":NaN}]}', "the input: not JSON"),
    ],
)
def test_a_broken_input_is_told_with_its_place(text, message):
    with pytest.raises(InvalidMessage) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_lines_before_a_broken_one_are_yielded():
    found = read_requests([json.dumps(GOOD), "{broken"], ids())
    assert next(found).job_id == "a"
    with pytest.raises(InvalidMessage):
        next(found)


def test_lines_are_read_only_as_they_are_needed():
    taken = []

    def lines():
        for n in range(1000):
            taken.append(n)
            yield json.dumps({**GOOD, "job_id": f"j{n}"}) + "\n"

    found = read_requests(lines(), ids())
    assert [next(found).job_id for _ in range(3)] == ["j0", "j1", "j2"]
    assert len(taken) == 3


@given(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True), st.from_regex(r"[A-Za-z0-9._:-]{1,20}", fullmatch=True)
)
def test_a_name_leads_back_to_its_key(tenant, job_id):
    key = f"{tenant}/{job_id}"
    assert key_of(name_of(key)) == key


def test_the_examples_are_what_the_demo_promises():
    text = (PACKAGE_ROOT / "examples" / "jobs.jsonl").read_text()
    jobs = {request.job_id: request for request in read(text)}
    order = [request.lane for request in jobs.values()]
    assert order[:20] == ["bulk"] * 20
    assert order[20] == "express"
    assert len(jobs["storyboard"].shots) == 3
    assert jobs["storyboard"].transitions
    assert jobs["long-take"].shots[0].continuity == "chained"
    assert total_frames(jobs["long-take"]) == 60
    again = [msgspec.structs.replace(jobs[name], job_id="", metadata={}) for name in ("again-1", "again-2")]
    assert again[0] == again[1]
    assert all(shot.seed is not None for shot in again[0].shots)
    assert jobs["cover"].output.fit == "cover"
