"""What of a batch is done, over crashes; the pace; repeated ids; the estimate."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.batch.checking import check_all
from producers.batch.estimate import Estimate
from producers.batch.files import CheckpointFile, ErrorFile, load, path_of
from producers.batch.pace import Pace
from producers.batch.plan import Plan, RowFault
from producers.batch.progress import Block, Checkpoint, SourceState
from producers.batch.repeats import FIRST_SLOTS, Repeats
from producers.batch.sources import Source, expand
from producers.batch.submitting import begin
from schemas.errors import Fatal, JobRejected
from schemas.registry import ModelEntry
from schemas.request import JobRequest, Output, Shot

PLAN = Plan(batch_id="b")
SOURCES = [Source("f.jsonl", "jsonl", 10, "v1"), Source("g.csv", "csv", 20, "v2")]


def fresh(**changes: Any) -> Checkpoint:
    return msgspec.structs.replace(begin(PLAN, SOURCES, None, target="cluster/p", now_ms=5), **changes)


# ---- blocks and crashes --------------------------------------------------------------------------------------------

OUTCOMES = st.lists(st.sampled_from(["job", "wrong", "blank"]), max_size=30)


@given(
    st.tuples(OUTCOMES, OUTCOMES),
    st.lists(st.sampled_from(["unit", "unit", "unit", "turn", "save", "crash"]), max_size=120),
)
def test_whatever_is_killed_in_between_every_unit_is_done_and_counted_once(
    rows: tuple[list[str], list[str]], steps: list[str]
) -> None:
    """A model of a run: units in order, blocks by turns, a checkpoint now and then, crashes anywhere."""
    names = [source.name for source in SOURCES]
    saved = msgspec.json.encode(fresh())
    acknowledged: dict[tuple[str, int], int] = {}
    script = iter([*steps, "crash"])
    finished = False
    while not finished:
        checkpoint = msgspec.json.decode(saved, type=Checkpoint)
        before, block = Block(checkpoint), Block(checkpoint)
        handed: list[tuple[str, int]] = []
        work = [
            (name, unit, outcome)
            for name, outcomes in zip(names, rows, strict=True)
            for unit, outcome in [*enumerate(outcomes), (len(outcomes), "end")]
            if unit >= checkpoint.sources[name].low
        ]
        for name, unit, outcome in work:
            while (step := next(script, "unit")) in ("turn", "save"):
                if step == "turn":
                    before.settle()
                    before, block = block, Block(checkpoint)
                else:
                    saved = msgspec.json.encode(checkpoint)
            if step == "crash":
                break
            mark = block.mark(name, unit)
            if outcome == "end":
                mark.units = unit
                continue
            if outcome == "job":
                handed.append((name, unit))
                mark.sent += 1
            mark.refused += outcome == "wrong"
            mark.low = unit + 1
        else:
            before.settle()
            block.settle()
            saved = msgspec.json.encode(checkpoint)
            finished = True
        for sent in handed:
            acknowledged[sent] = acknowledged.get(sent, 0) + 1
    end = msgspec.json.decode(saved, type=Checkpoint)
    jobs = {(n, u) for n, outcomes in zip(names, rows, strict=True) for u, o in enumerate(outcomes) if o == "job"}
    assert set(acknowledged) == jobs, "each was sent, and nothing else"
    assert (end.sent, end.refused) == (len(jobs), sum(outcomes.count("wrong") for outcomes in rows))
    assert end.complete


def test_a_block_that_is_not_acknowledged_does_not_count() -> None:
    checkpoint = fresh()
    block = Block(checkpoint)
    mark = block.mark("f.jsonl", 0)
    mark.sent, mark.low = 3, 3
    assert (block.jobs, checkpoint.sent, checkpoint.sources["f.jsonl"].low) == (3, 0, 0)
    block.settle()
    block.settle()
    assert (checkpoint.sent, checkpoint.sources["f.jsonl"].low) == (3, 3)
    assert not checkpoint.complete


# ---- going on ------------------------------------------------------------------------------------------------------


def test_a_batch_goes_on_where_it_was() -> None:
    known = fresh(sources={"f.jsonl": SourceState("v1", low=7, sent=7), "g.csv": SourceState("v2")})
    assert begin(PLAN, SOURCES, known, target="cluster/p", now_ms=9) == known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": Plan("b", defaults={"lane": "bulk"})}, "another template, matrix, default or tenant"),
        ({"plan": Plan("b", tenant="t")}, "another template, matrix, default or tenant"),
        ({"target": "other/p"}, "another cluster or prefix, cluster/p"),
        ({"sources": SOURCES[:1]}, "begun with g.csv, which is not among the inputs"),
        ({"sources": [*SOURCES, Source("h.csv", "csv")]}, "begun without h.csv"),
        ({"sources": [Source("f.jsonl", "jsonl", 10, "v9"), SOURCES[1]]}, "f.jsonl has changed"),
    ],
)
def test_a_batch_does_not_go_on_as_another(changes: dict[str, Any], message: str) -> None:
    given = {"plan": PLAN, "sources": SOURCES, "target": "cluster/p", **changes}
    with pytest.raises(Fatal, match=message):
        begin(given["plan"], given["sources"], fresh(), target=given["target"], now_ms=9)


def test_a_changed_file_may_be_said_to_be_the_same() -> None:
    again = [Source("f.jsonl", "jsonl", 10, "v9"), SOURCES[1]]
    known = begin(PLAN, again, fresh(), target="cluster/p", now_ms=9, unchanged=True)
    assert known.sources["f.jsonl"].version == "v9"


# ---- files ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_back_and_belongs_to_one_process(tmp_path: Path) -> None:
    path = path_of(str(tmp_path), "a:b/..")
    assert path.parent == tmp_path / "batches"
    assert load(path) is None
    with CheckpointFile(path) as keep:
        assert keep.due
        keep.keep(fresh())
        assert not keep.due
        with pytest.raises(Fatal, match="another process"):
            CheckpointFile(path).__enter__()
    assert load(path) == fresh()
    path.write_bytes(b"{}")
    with pytest.raises(Fatal, match="no checkpoint"):
        load(path)


def test_the_error_file_forgets_what_will_be_told_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "errors.jsonl"
    first = ErrorFile(path)
    first.add("f", 1, 0, RowFault("lane", "lane: wrong"))
    counted = first.length_bytes
    first.add("f", 2, 0, RowFault("", "lost in the crash"))
    first.close()
    again = ErrorFile(path, counted)
    again.add("f", 2, 0, RowFault("", "told again"))
    again.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["row"], line["message"]) for line in lines] == [(1, "lane: wrong"), (2, "told again")]
    assert set(lines[0]) == {"source", "row", "cell", "field", "message"}
    ErrorFile(path)
    assert not path.exists(), "of another batch or another run: begun anew"


# ---- pace, repeats, estimate ---------------------------------------------------------------------------------------


@given(st.floats(0.5, 20_000), st.lists(st.floats(0, 0.5), max_size=60))
def test_a_rate_is_kept_and_a_pause_is_not_caught_up(rate: float, pauses: list[float]) -> None:
    pace, now_s, gone = Pace(rate, 0.0), 0.0, []
    for pause_s in pauses:
        now_s += pause_s + pace.wait_s(now_s + pause_s)
        pace.gone(now_s)
        gone.append(now_s)
    for first in range(len(gone)):
        for last in range(first + 1, len(gone)):
            assert last - first <= (gone[last] - gone[first] + 0.01) * rate + 1e-6


def test_repeated_ids_are_found_with_their_first_place() -> None:
    repeats, count = Repeats(), FIRST_SLOTS * 3
    assert all(repeats.first(f"job-{n}", n) is None for n in range(count))
    assert [repeats.first(f"job-{n}", 0) for n in range(count)] == list(range(count))


def test_the_estimate_adds_up_what_the_pipeline_would_do() -> None:
    model = ModelEntry(
        name="m", family="ltx", source="none", revision="r", pools=("cpu",), clip_frames=17, given_frames=5,
        sizes=((64, 64),), fps_min=1, fps_max=60, steps=8, guidance=2.0, chunk_cost_s=0.5,
    )  # fmt: skip
    estimate = Estimate()
    shots = (Shot(prompt="x", duration_s=2), Shot(prompt="y", duration_s=1))
    for lane in ("bulk", "bulk", "express"):
        estimate.add(JobRequest(job_id="j", shots=shots, model="m", output=Output(fps=12), lane=lane), {"m": model})  # type: ignore[arg-type]
    estimate.add(JobRequest(job_id="j", shots=shots, model="gone"), {})
    assert (estimate.jobs, estimate.seconds, estimate.chunks) == (4, 12.0, 9)
    assert (estimate.device_s, estimate.wall_s(3)) == (4.5, 1.5)
    assert estimate.lanes == {"bulk": 2, "express": 1, "standard": 1}
    assert estimate.unknown_models == {"gone": 1}


def test_jobs_that_would_wait_for_a_person_are_counted_and_are_not_wrong(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": prompt, "duration_s": 1}) + "\n" for prompt in ("fine", "hm", "bad")))

    def examine(request: JobRequest) -> bool:
        if request.shots[0].prompt == "bad":
            raise JobRejected("prompt_refused", "no", "shots[0].prompt")
        return request.shots[0].prompt == "hm"

    estimate, report = Estimate(), ErrorFile(tmp_path / "wrong.jsonl")
    sources = expand([str(rows)], None)
    for _ in check_all(Plan("b"), sources, report, examine, {}, estimate):
        pass
    report.close()
    assert (estimate.jobs, estimate.in_review, report.count) == (2, 1, 1)
