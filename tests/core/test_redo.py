"""Redoing a shot or a chunk: through the real cores, only what is asked for is rendered again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from producers.client.redo import redone, seeds_of
from schemas.chunks import chunk_ids, chunk_specs, shot_seeds
from schemas.codec import encode
from schemas.errors import InvalidMessage
from schemas.plan import Placement, Plan
from schemas.records import Incoming
from schemas.request import ChunkSeed, JobRequest, Output, Shot
from stream_processors.dispatch.core import Scheduler
from stream_processors.moderate.core import Cleared, judge
from stream_processors.split.core import split
from tests.core.plans import result, worker
from tests.core.scheduled import WEIGHTS, answer, mux_tasks, tasks
from tests.core.test_moderate_core import MODEL, NOW_MS, RULES, judged, shot

CLIP, STEP = MODEL.clip_frames, MODEL.clip_frames - MODEL.given_frames


def request_of(*shots: tuple[int, str, int | None], job_id: str = "film") -> JobRequest:
    """shots: (chunks, continuity, seed)."""
    made = []
    for number, (chunks, continuity, seed) in enumerate(shots):
        frames = CLIP + (chunks - 1) * (STEP if continuity == "chained" else CLIP)
        prompt = f"a red ball, take {number}"
        made.append(Shot(prompt=prompt, duration_s=frames / 24, continuity=continuity, seed=seed))
    return JobRequest(job_id=job_id, shots=tuple(made), output=Output(fps=24))


def planned(request: JobRequest) -> Plan:
    """Through moderate and split, as Kafka would carry it."""
    record = Incoming("t", 0, 0, request.job_id.encode(), encode(request), (), NOW_MS)
    verdict = judge(record, request.lane, RULES)
    assert isinstance(verdict, Cleared), verdict.event.reason
    placement = Placement(pool="cpu", weight=1.0, chunk_cost_s=1.0)
    return replace(split(verdict.job, MODEL), placement=placement)


def render(scheduler: Scheduler, plan: Plan, store: set[str]) -> list[int]:
    """Let a worker with a store render a job to its end; returns the indexes of the chunks that were not there."""
    scheduler.on_plan(plan, 1)
    scheduler.on_control(answer("admit", plan), 1)
    rendered, over = [], False
    while not over:
        for task in tasks(scheduler.tick(10)):
            reused = task.chunk_id in store
            if not reused:
                rendered.append(task.index)
                store.add(task.chunk_id)
            out = scheduler.on_inspected(result(task, status="reused" if reused else "rendered"), 10)
            over = over or bool(mux_tasks(out))
    return sorted(rendered)


def fresh() -> Scheduler:
    made = Scheduler(WEIGHTS)
    made.on_worker(worker(), 0)
    return made


FILM = request_of((2, "chained", None), (3, "chained", 7), (3, "independent", None))


@pytest.mark.parametrize(
    ("of", "again"),
    [
        ((0, None), [0, 1]),
        ((1, None), [2, 3, 4]),
        ((1, 0), [2, 3, 4]),  # chained: what follows starts from its frames
        ((1, 1), [3, 4]),
        ((1, 2), [4]),
        ((2, 1), [6]),
        ((2, None), [5, 6, 7]),
    ],
)
def test_only_what_is_redone_and_what_is_chained_to_it_is_rendered_again(of, again) -> None:
    scheduler, store = fresh(), set()
    assert render(scheduler, planned(FILM), store) == list(range(8))
    redo = redone(FILM, *of)
    assert render(scheduler, planned(redo), store) == again
    assert render(scheduler, planned(redone(FILM, *of, job_id="twice")), store) == []


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(["chained", "independent"]), st.none() | st.integers(0, 9)),
        min_size=1,
        max_size=3,
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_all_other_chunks_keep_their_names(shots, data) -> None:
    request = request_of(*shots)
    place = data.draw(st.integers(0, len(shots) - 1))
    chunk = data.draw(st.none() | st.integers(0, shots[place][0] - 1))
    before, after = planned(request), planned(redone(request, place, chunk, seed=1_000))
    assert after.chunks == before.chunks
    within = [sum(earlier.shot == span.shot for earlier in before.chunks[:n]) for n, span in enumerate(before.chunks)]
    for n, span in enumerate(before.chunks):
        mine = span.shot == place and (chunk is None or within[n] == chunk)
        follows = span.shot == place and shots[place][1] == "chained" and chunk is not None and within[n] > chunk
        assert (chunk_ids(before)[n] != chunk_ids(after)[n]) == (mine or follows)
        if not mine:
            assert chunk_specs(before)[n].seed == chunk_specs(after)[n].seed


def test_the_seeds_of_a_request_are_those_that_the_result_tells() -> None:
    assert seeds_of(FILM) == shot_seeds(planned(FILM))
    assert redone(FILM, 0, seeds=shot_seeds(planned(FILM))) == redone(FILM, 0)


def test_a_redo_is_the_same_job_each_time_and_another_for_another_seed() -> None:
    first = redone(FILM, 1, 2)
    assert first == redone(FILM, 1, 2)
    ids = {redone(FILM, *of).job_id for of in ((0,), (1,), (1, 0), (1, 1), (1, 2))}
    assert len(ids | {redone(FILM, 1, 2, seed=5).job_id, FILM.job_id}) == 7
    assert first.job_id.startswith("film-redo-")
    long = replace(FILM, job_id="x" * 128)
    assert len(redone(long, 0).job_id) == 128
    assert planned(redone(long, 0)).job


def test_a_redo_of_a_redo_keeps_what_was_redone_and_a_whole_shot_takes_it_back() -> None:
    first = redone(FILM, 2, 1, seed=11)
    second = redone(first, 2, 0, seed=12)
    assert second.shots[2].chunk_seeds == (ChunkSeed(chunk=0, seed=12), ChunkSeed(chunk=1, seed=11))
    third = redone(second, 2, 1, seed=13)
    assert third.shots[2].chunk_seeds == (ChunkSeed(chunk=0, seed=12), ChunkSeed(chunk=1, seed=13))
    assert redone(third, 2).shots[2].chunk_seeds == ()


def test_what_belonged_to_the_first_job_alone_is_left_out() -> None:
    dated = replace(FILM, deadline_ms=NOW_MS - 5, batch_id="spring", lane="bulk", metadata={"order": "7"}, priority=3)
    redo = redone(dated, 0)
    assert (redo.deadline_ms, redo.batch_id) == (None, None)
    assert (redo.lane, redo.metadata, redo.priority) == ("bulk", {"order": "7"}, 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"shot": 3}, "shot: found 3; job film has the shots 0 to 2"),
        ({"shot": -1}, "shot: found -1"),
        ({"shot": 0, "chunk": -1}, "chunk: found -1"),
        ({"shot": 1, "seed": 7}, "seed: found 7, which the job has already"),
        ({"shot": 1, "job_id": "film"}, "the id of the job itself, which is spent"),
        ({"shot": 1, "seeds": (1,)}, "seeds: found 1; job film has 3 shots"),
    ],
)
def test_what_cannot_be_redone_is_refused_by_name(parts, message) -> None:
    with pytest.raises(InvalidMessage, match=message):
        redone(FILM, **parts)


@pytest.mark.parametrize(
    ("seeds", "field", "message"),
    [
        ([{"chunk": 2, "seed": 1}], "shots[0].chunk_seeds[0].chunk", "found 2; the shot has the chunks 0 to 1"),
        ([{"chunk": 0, "seed": 1}, {"chunk": 0, "seed": 2}], "shots[0].chunk_seeds[1].chunk", "found 0 again"),
        ([{"chunk": 0, "seed": -1}], "shots[0].chunk_seeds[0].seed", "found -1; expected a whole number from 0"),
    ],
)
def test_seeds_of_chunks_that_are_not_there_are_refused(seeds, field, message) -> None:
    reason = judged(shot(duration_s=1, chunk_seeds=seeds)).event.reason
    assert reason.field == field
    assert message in reason.message
