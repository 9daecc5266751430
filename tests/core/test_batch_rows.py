"""Rows to requests: flat, whole, templates, matrix, OpenAI lines, and what wrong ones are told."""

import json
from typing import Any

import pytest

from producers.batch.fields import check_columns, put
from producers.batch.plan import Plan, RowFault
from producers.batch.rows import Maker
from schemas.errors import InvalidMessage
from schemas.request import JobRequest
from stream_processors.moderate.reading import read

PLAN = Plan(batch_id="b")
BALL = {"prompt": "a red ball", "duration_s": 2}


def made(row: Any, plan: Plan = PLAN, *, typed: bool = True, number: int = 1) -> list[JobRequest]:
    jobs = list(Maker(plan, "f.jsonl", typed=typed).jobs(number, row))
    faults = [request for _, request, _ in jobs if isinstance(request, RowFault)]
    assert not faults, faults[0].message
    for _, request, value in jobs:
        assert read(value) == request, "what is sent is what was checked"
    return [request for _, request, _ in jobs if isinstance(request, JobRequest)]


def fault(row: Any, plan: Plan = PLAN, *, typed: bool = True) -> RowFault:
    ((_, found, value),) = Maker(plan, "f.jsonl", typed=typed).jobs(1, row)
    assert isinstance(found, RowFault)
    assert value == b""
    return found


def line(**columns: Any) -> bytes:
    return json.dumps(columns).encode() + b"\n"


# ---- forms of rows -------------------------------------------------------------------------------------------------


def test_a_flat_row_is_a_job_of_one_shot() -> None:
    row = {**BALL, "lane": "bulk", "output.width_px": 320, "output": {"fps": 12}, "metadata.sku": 17}
    with pytest.raises(AssertionError, match="output: given twice"):
        made(row)
    del row["output"]
    (job,) = made({**row, "output.fps": 12})
    assert (job.shots[0].prompt, job.lane, job.output.width_px, job.output.fps) == ("a red ball", "bulk", 320, 12)
    assert (job.batch_id, job.tenant, job.metadata) == ("b", "default", {"sku": "17"})


def test_nested_and_dotted_columns_go_together_in_every_cell() -> None:
    plan = Plan(batch_id="b", matrix={"seed": [1, 2]})
    row = {**BALL, "output": {"width_px": 320}, "output.fps": 12}
    assert [(job.output.width_px, job.output.fps) for job in made(row, plan)] == [(320, 12), (320, 12)]
    assert row["output"] == {"width_px": 320}, "the row is not changed"


def test_text_of_csv_becomes_what_the_contract_wants() -> None:
    (job,) = made({"prompt": "7", "duration_s": "2.5", "seed": "3", "output.fps": "12"}, typed=False)
    assert (job.shots[0].prompt, job.shots[0].duration_s, job.shots[0].seed, job.output.fps) == ("7", 2.5, 3, 12)
    assert fault({"prompt": "x", "duration_s": "2"}).message.startswith('shots[0].duration_s: found "2"; expected')


def test_a_line_of_openai_batch() -> None:
    body = {"prompt": "a red ball", "seconds": "4", "size": "320x180"}
    (job,) = made(line(custom_id="request-1", method="POST", url="/v1/videos", body=body))
    assert (job.job_id, job.shots[0].duration_s) == ("request-1", 4.0)
    assert (job.output.width_px, job.output.height_px) == (320, 180)
    cells = Plan(batch_id="b", matrix={"model": ["shapes"]})
    (job,) = made(line(custom_id="r", body={**body, "model": "sora-2"}), cells)
    assert (job.job_id, job.model) == ("r.0", "shapes")


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"body": {}, "extra": 1}, "extra"),
        ({"body": 1}, "body"),
        ({"body": {}, "url": "/v1/chat/completions"}, "url"),
        ({"body": {"prompt": "x", "size": "big"}}, "size"),
        ({"body": {"prompt": "x", "seconds": "long"}}, "seconds"),
    ],
)
def test_wrong_lines_of_openai_batch(columns: dict[str, Any], field: str) -> None:
    assert fault({"custom_id": "r", **columns}).field == field


# ---- names ---------------------------------------------------------------------------------------------------------


def test_a_row_without_an_id_gets_one_from_batch_source_and_number() -> None:
    ids = {made(BALL, Plan(batch_id=batch), number=number)[0].job_id for batch in ("b", "c") for number in (1, 2)}
    assert len(ids) == 4
    assert made(BALL)[0].job_id in ids, "and always the same"
    (other,) = (job.job_id for _, job, _ in Maker(PLAN, "g.jsonl").jobs(1, BALL) if isinstance(job, JobRequest))
    assert other not in ids


@pytest.mark.parametrize("name", ["job_id", "custom_id"])
def test_a_row_brings_its_own_id(name: str) -> None:
    assert made({**BALL, name: "mine"})[0].job_id == "mine"
    assert made({**BALL, name: 0})[0].job_id == "0", "a number is a name too"
    assert [job.job_id for job in made({**BALL, name: "m"}, Plan("b", matrix={"seed": [1, 2]}))] == ["m.0", "m.1"]


def test_two_ids_that_differ_are_wrong() -> None:
    assert fault({**BALL, "job_id": "a", "custom_id": "b"}).field == "custom_id"


def test_an_id_that_the_matrix_makes_too_long_is_told() -> None:
    plan = Plan("b", matrix={"seed": [1]})
    assert made({**BALL, "job_id": "x" * 126}, plan)
    found = fault({**BALL, "job_id": "x" * 127}, plan)
    assert found.field == "job_id"
    assert "1 to 128 letters" in found.message


@pytest.mark.parametrize("name", ["tenant", "batch_id"])
def test_a_row_of_another_tenant_or_batch_is_wrong(name: str) -> None:
    assert fault({**BALL, name: "other"}).message == f"{name}: found other; this is batch b of tenant default"


# ---- templates, matrix, defaults -----------------------------------------------------------------------------------

TEMPLATE = {
    "job_id": "order-{sku}",
    "shots": [{"prompt": "{{a}} {product.name} on {place}", "duration_s": "{s}"}],
    "metadata": {"sku": "{sku}"},
}


def test_a_template_keeps_the_type_of_a_whole_column() -> None:
    (job,) = made({"sku": 5, "product": {"name": "shoe"}, "place": "sand", "s": 1.5}, Plan("b", template=TEMPLATE))
    assert (job.job_id, job.metadata) == ("order-5", {"sku": "5"})
    assert (job.shots[0].prompt, job.shots[0].duration_s) == ("{a} shoe on sand", 1.5)


def test_a_column_that_the_template_wants_and_the_row_lacks() -> None:
    assert fault({"sku": 5}, Plan("b", template=TEMPLATE)).field == "product.name"


def test_a_matrix_makes_every_combination_in_order() -> None:
    plan = Plan("b", matrix={"seed": [1, 2], "duration_s": [1, 3]})
    assert [(j.shots[0].seed, j.shots[0].duration_s) for j in made(BALL, plan)] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert [cell for cell, _, _ in Maker(plan, "f").jobs(1, BALL)] == [0, 1, 2, 3]


def test_defaults_are_for_rows_without_the_field() -> None:
    plan = Plan("b", defaults={"duration_s": 3, "output.fps": 12, "metadata.n": 5})
    (job,) = made({"prompt": "x", "output": {"width_px": 320}}, plan)
    assert (job.shots[0].duration_s, job.output.fps, job.output.width_px, job.metadata) == (3, 12, 320, {"n": "5"})
    (job,) = made({"shots": [{"prompt": "x"}, {**BALL}], "output": {"fps": 10}}, plan)
    assert ([shot.duration_s for shot in job.shots], job.output.fps) == ([3, 2], 10)


def test_a_field_below_something_that_is_no_object() -> None:
    with pytest.raises(RowFault, match="output is not an object"):
        put({"output": 3}, "output.fps", 12)


def test_plans_differ_when_the_jobs_would() -> None:
    plans = [
        Plan("b"), Plan("b", tenant="t"), Plan("b", template={}), Plan("b", defaults={"a": 1}),
        Plan("b", matrix={"a": [1], "b": [2]}), Plan("b", matrix={"b": [2], "a": [1]}),
    ]  # fmt: skip
    assert len({plan.fingerprint() for plan in plans}) == len(plans)
    assert Plan("c").fingerprint() == Plan("b").fingerprint()


# ---- what wrong rows are told --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "field", "message"),
    [
        ({**BALL, "duration_s": -2}, "shots[0].duration_s", "found -2; expected a number above 0 and at most 600"),
        ({**BALL, "lane": "vip"}, "lane", 'found "vip"; expected one of bulk, express, standard'),
        ({**BALL, "steps": 3}, "shots[0].steps", "not available yet; leave it out"),
        ({"promt": "x", "duration_s": 1}, "promt", "did you mean prompt?"),
        ({**BALL, "shots": []}, "shots", "give one"),
        ({"shots": [BALL], "colour": 1}, "colour", "unknown field"),
    ],
)
def test_a_wrong_row_is_told_field_value_and_what_is_right(columns: dict[str, Any], field: str, message: str) -> None:
    found = fault(columns)
    assert found.field == field
    assert message in found.message


@pytest.mark.parametrize("raw", [b"nothing\n", b"[1]\n", b'{"a":NaN}\n', b"\xff\n", b"[" * 5000 + b"\n"])
def test_a_line_that_is_no_object(raw: bytes) -> None:
    assert fault(raw).message.startswith("the row is not")


def test_a_blank_line_is_no_row() -> None:
    assert list(Maker(PLAN, "f").jobs(1, b"  \r\n")) == []


def test_a_request_that_is_too_large() -> None:
    assert "the limit is 65536" in fault({"shots": [{**BALL, "prompt": "x" * 1999}] * 40}).message


# ---- the head of a table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["prompt", ""], "column 2 has no name"),
        (["prompt", "prompt"], "two columns are called prompt"),
        (["promt", "duration_s"], "did you mean prompt"),
        (["a red ball", "2"], "is there a head"),
        (["prompt;duration_s"], "did you mean|commas"),
    ],
)
def test_a_head_that_fits_no_row(columns: list[str], message: str) -> None:
    with pytest.raises(InvalidMessage, match=message):
        check_columns(PLAN, "f.csv", columns)


def test_heads_that_fit() -> None:
    check_columns(PLAN, "f.csv", ["custom_id", "prompt", "duration_s", "output.fps", "metadata.anything"])
    check_columns(Plan("b", template=TEMPLATE), "f.csv", ["sku", "product.name", "place", "s", "more"])
    with pytest.raises(InvalidMessage, match="wants column place; the file has sku"):
        check_columns(Plan("b", template=TEMPLATE), "f.csv", ["sku", "product", "s"])
