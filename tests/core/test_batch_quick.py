"""The quick way of whole requests: the same checks in one decoding, and never for anything else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.batch.plan import Plan
from producers.batch.rows import Maker
from schemas import availability
from schemas.errors import JobRejected
from schemas.request import JobRequest
from stream_processors.moderate.reading import read
from tests.core.test_batch_rows import BALL, PLAN, line, made


def test_a_whole_request_goes_the_quick_way_and_means_the_same() -> None:
    raw = line(shots=[BALL], lane="bulk", metadata={"a": "b"})
    quick = Maker(PLAN, "f.jsonl").quick(7, raw)
    assert quick is not None
    lane, key, value = quick
    (slow,) = made(raw, number=7)
    assert (lane, key.decode(), read(value)) == ("bulk", slow.job_id, slow)


@pytest.mark.parametrize(
    "raw",
    [
        line(**BALL),
        line(shots=[BALL], job_id="mine"),
        line(shots=[BALL], custom_id="mine"),
        line(shots=[BALL], tenant="other"),
        line(shots=[BALL], batch_id="other"),
        line(shots=[{**BALL, "steps": None}]),
        line(shots=[BALL], output={"container": "webm"}),
        line(shots=[{**BALL, "prompt": "x" * 1999}] * 40),
        line(shots=[]),
        b"",
        b"\r",
        b" " + line(shots=[BALL]),
        line(shots=[BALL]) * 2,
        b"{}\n",
        b'{"shots":[{"prompt":"\xff","duration_s":2}]}\n',
    ],
)
def test_everything_else_does_not(raw: bytes) -> None:
    assert Maker(PLAN, "f").quick(1, raw) is None


@pytest.mark.parametrize(
    "plan", [Plan("b", template={}), Plan("b", matrix={"seed": [1]}), Plan("b", defaults={"lane": "bulk"})]
)
def test_a_plan_that_changes_rows_has_no_quick_way(plan: Plan) -> None:
    assert Maker(plan, "f").quick(1, line(shots=[BALL])) is None


PIECES: dict[str, Any] = {
    "lane": st.sampled_from(["bulk", "express", "vip"]),
    "priority": st.integers(-1, 1),
    "not_before_ms": st.sampled_from([None, 5]),
    "output": st.fixed_dictionaries(
        {},
        optional={
            "fps": st.integers(0, 61),
            "container": st.sampled_from(["mp4", "webm", "avi"]),
            "quality": st.sampled_from([None, 7]),
        },
    ),
    "transitions": st.lists(
        st.fixed_dictionaries({"after": st.just(0), "duration_s": st.just(1)}, optional={"kind": st.just("wipe")}),
        max_size=1,
    ),
    "label": st.sampled_from([None, {"profile": "eu"}, {"profile": "none"}]),
    "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    "deadline_ms": st.sampled_from([None, 5, -1]),
    "extra": st.just(1),
}
SHOTS = st.lists(
    st.fixed_dictionaries(
        {"prompt": st.text(max_size=3), "duration_s": st.sampled_from([0, 1, 2.5, "1"])},
        optional={"seed": st.integers(-1, 1), "trim": st.sampled_from([None, {}]), "controls": st.just([])},
    ),
    max_size=2,
)


@given(st.fixed_dictionaries({"shots": SHOTS}, optional=PIECES))
def test_what_the_quick_way_takes_the_contract_takes_too(row: dict[str, Any]) -> None:
    quick = Maker(PLAN, "f").quick(1, json.dumps(row).encode() + b"\n")
    try:
        request = msgspec.convert({**row, "job_id": "x"}, JobRequest)
        availability.check(request)
    except (msgspec.ValidationError, JobRejected):
        assert quick is None
    else:
        # What says a default of something that is not built goes the long way.
        assert quick is None or read(quick[2]).shots == request.shots
