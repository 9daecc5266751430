"""Reading requests as users write them."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.settings import PACKAGE_ROOT
from producers.client.core import checked, explained, key_of, name_of, one_shot, read_requests
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
        ({"lane": "fast"}, 'lane is "fast": '),
        ({"output": {"width_px": 3}}, "output.width_px is 3: Expected `int` >= 64"),
        ({"shots": [{"prompt": "", "duration_s": 1}]}, 'shots[0].prompt is "": Expected `str` of length >= 1'),
        ({"shots": [{"prompt": "x", "duration_s": "1"}]}, 'shots[0].duration_s is "1": Expected `float`, got `str`'),
        ({"shots": []}, "shots: Expected `array` of length >= 1"),
        ({"wat": 1}, "Object contains unknown field `wat`"),
        ({"job_id": "a/b"}, 'job_id is "a/b": '),
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
    assert "3002 characters" in str(caught.value)


def test_a_message_of_another_form_is_left_as_it_is():
    assert explained("record of 70000 bytes; the limit is 65536", {}) == "record of 70000 bytes; the limit is 65536"


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
        (json.dumps(GOOD) + '\n{"job_id": "b"}\n', "line 2: Object missing required field `shots`"),
        ('[{"job_id": "b"}]', "item 0: Object missing required field `shots`"),
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
