"""Estimates play the scheduler's own order forward."""

import hypothesis.strategies as st
from hypothesis import given, settings
from msgspec.structs import replace

from stream_processors.dispatch.arrivals import WINDOW_MS, WINDOWS, Arrivals
from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.job import Job, new_job
from stream_processors.dispatch.playing import FINE, MOST
from stream_processors.dispatch.playing_parts import Stream
from stream_processors.dispatch.positions import ParkedJobs, Scene, play
from stream_processors.dispatch.telling import DRIFT, FIRST, SOONEST_MS, worth_telling
from stream_processors.dispatch.worker import Held
from tests.core.plans import plan
from tests.core.scheduled import WEIGHTS

ONE = (Held(slowness=1.0, capacity=1, chunks=()),)
WEIGHT = {"a": 1.0, "b": 2.0, "c": 4.0}


def wants(job: Job, _kind: object) -> int | None:
    return next((i for i, chunk in enumerate(job.row.chunks) if chunk.state == "w"), None)


def filled(jobs: list[Job]) -> Queue:
    queue = Queue(WEIGHTS, wants, lambda _job: 0.0)
    for job in jobs:
        queue.put(job)
    return queue


def serve(queue: Queue) -> Job | None:
    """A chunk is handed out and rendered. Returns its job if it was the last one of it."""
    turn = queue.pick(0)
    assert turn is not None
    queue.charge(turn)
    turn.job.set_chunk(turn.chunk, state="r")
    if not turn.job.row.started_at_ms:
        turn.job.row = replace(turn.job.row, started_at_ms=1)
    queue.put(turn.job)
    return turn.job if turn.job.complete else None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 5), st.integers(0, 2)), max_size=9
    ),
    st.integers(0, 10),
)
@settings(max_examples=300, deadline=None)
def test_in_one_lane_with_equal_chunks_the_order_is_that_of_completion(given_jobs, served) -> None:
    jobs = [
        new_job(
            plan(
                f"{n}", tenant=tenant, weight=WEIGHT[tenant], project=project, chunks=chunks, chained=False,
                priority=priority, requested_at_ms=n,
            ),
            0,
        )
        for n, (tenant, project, chunks, priority) in enumerate(given_jobs)
    ]  # fmt: skip
    queue = filled(jobs)
    for _ in range(min(served, sum(chunks for _, _, chunks, _ in given_jobs) - 1)):
        serve(queue)
    left = [job for job in jobs if not job.complete]
    played = play(Scene(left, queue, ONE))
    told = [(key, position, played.finish_s[key]) for key, position in played.positions.items()]
    done, seconds = [], 0.0
    while len(done) < len(left):
        seconds += 1.0
        if (job := serve(queue)) is not None:
            done.append((job.key, len(done), seconds))
    assert told == done


def test_a_lane_that_runs_dry_leaves_its_share_to_the_others() -> None:
    jobs = [
        new_job(plan("express", lane="express", chunks=8, chained=False), 0),
        new_job(plan("bulk", lane="bulk", chunks=8, chained=False), 0),
    ]
    finish_s = play(Scene(jobs, filled(jobs), ONE)).finish_s
    assert 8.0 <= finish_s["default/express"] <= 9.0
    assert finish_s["default/bulk"] == 16.0


def test_slow_workers_and_what_they_hold_are_reckoned_with() -> None:
    job = new_job(plan(chunks=4, chained=False), 0)
    busy = Held(slowness=2.0, capacity=1, chunks=(("of another", 3.0),))
    assert play(Scene([job], filled([job]), (busy,))).finish_s[job.key] == 3.0 + 4 * 2.0


def test_a_chunk_that_is_out_is_waited_for_where_it_is_and_its_chain_goes_on_after_it() -> None:
    job = new_job(plan(chunks=3, chained=True), 0)
    job.set_chunk(0, state="d")
    hands = (Held(1.0, 2, (("of another", 3.0), (job.ids[0], 1.0))), Held(1.0, 2, ()))
    assert play(Scene([job], filled([job]), hands)).finish_s[job.key] == 3.0 + 1.0 + 2.0


def test_a_chain_takes_as_long_as_its_chunks_one_after_the_other_however_many_workers_there_are() -> None:
    jobs = [new_job(plan(chunks=6, chained=True), 0)]
    played = play(Scene(jobs, filled(jobs), ONE * 100))
    assert (played.positions, played.finish_s) == ({jobs[0].key: 0}, {jobs[0].key: 6.0})


def test_a_tenant_with_a_bound_is_rendered_no_faster_than_that_and_the_rest_is_for_the_others() -> None:
    bound = new_job(plan("b", tenant="a", chunks=6, chained=False), 0)
    free = new_job(plan("f", tenant="x", chunks=6, chained=False), 0)
    scene = Scene([bound, free], filled([bound, free]), ONE * 4)
    assert set(play(scene).finish_s.values()) == {3.0}
    finish_s = play(scene._replace(most_out={"a": 1})).finish_s
    assert finish_s == {"a/b": 6.0, "x/f": 2.0}


def test_what_a_bound_tenant_has_out_counts() -> None:
    job = new_job(plan(chunks=3, chained=False), 0)
    job.set_chunk(0, state="d")
    hands = (Held(1.0, 1, ((job.ids[0], 5.0),)), *ONE)
    scene = Scene([job], filled([job]), hands, most_out={"default": 1})
    assert play(scene).finish_s == {job.key: 7.0}
    assert play(scene._replace(most_out={})).finish_s == {job.key: 5.0}


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans(), st.sampled_from(["express", "bulk"])),
        min_size=1,
        max_size=9,
    ),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
    st.integers(1, 4),
)
@settings(max_examples=200, deadline=None)
def test_no_bound_keeps_a_job_from_an_estimate(given_jobs, most_out, workers) -> None:
    jobs = [
        new_job(plan(f"{n}", tenant=tenant, chunks=chunks, chained=chained, lane=lane), 0)
        for n, (tenant, chunks, chained, lane) in enumerate(given_jobs)
    ]
    finish_s = play(Scene(jobs, filled(jobs), ONE * workers, most_out=most_out)).finish_s
    assert finish_s.keys() == {job.key for job in jobs}
    for tenant, most in most_out.items():
        chunks = sum(len(job.row.chunks) for job in jobs if job.tenant == tenant)
        last_s = max((finish_s[job.key] for job in jobs if job.tenant == tenant), default=0.0)
        assert last_s >= -(-chunks // min(most, workers))


def test_without_workers_there_is_a_position_and_no_estimate() -> None:
    jobs = [new_job(plan(), 0)]
    played = play(Scene(jobs, filled(jobs), ()))
    assert (played.positions, played.finish_s) == ({jobs[0].key: 0}, {})


def test_a_job_that_is_stopped_has_neither() -> None:
    job = new_job(plan(), 0)
    job.row = replace(job.row, steering=replace(job.row.steering, held=True, held_at_ms=1))
    played = play(Scene([job], filled([job]), ONE))
    assert (played.positions, played.finish_s) == ({}, {})


def test_what_is_parked_takes_its_share_and_ends_when_its_line_is_empty() -> None:
    big = new_job(plan("b", tenant="a", weight=1.0, chunks=2, chained=False), 0)
    small = new_job(plan("s", tenant="x", weight=1.0, chunks=10, chained=False), 0)
    line = ParkedJobs("the line", "standard", "a", "", urgent=False, jobs=50)
    finish_s = play(Scene([big, small], filled([big, small]), ONE, (), [line])).finish_s
    assert 19 <= finish_s["x/s"] <= 20, "every other turn is its"
    assert finish_s["the line"] == 2 + 10 + 50 * 2


def test_a_million_parked_jobs_are_played_in_larger_and_larger_pieces() -> None:
    job = new_job(plan("b", tenant="a", chunks=2, chained=False), 0)
    line = ParkedJobs("the line", "standard", "a", "", urgent=False, jobs=1_000_000)
    played = play(Scene([job], filled([job]), ONE * 4, (), [line]))
    assert FINE < played.steps < MOST
    assert 0.9 < played.finish_s["the line"] / 500_000 < 1.3


def test_ten_thousand_jobs_all_have_an_estimate_though_the_play_ends_before() -> None:
    jobs = [new_job(plan(f"{n:05}", chunks=1, requested_at_ms=n), 0) for n in range(10_000)]
    played = play(Scene(jobs, filled(jobs), ONE))
    assert played.steps == MOST
    assert list(played.positions.values()) == list(range(10_000))
    assert all(0.99 < played.finish_s[job.key] / number < 1.01 for number, job in enumerate(jobs, 1))


def test_express_jobs_to_be_expected_take_their_share_of_a_bulk_jobs_time() -> None:
    job = new_job(plan(lane="bulk", chunks=50, chained=False), 0)
    half = Stream("express", "x", 1.0, gap_s=2.0, chunks=1, chain=1, cost_s=1.0)
    assert 95 < play(Scene([job], filled([job]), ONE, (half,))).finish_s[job.key] < 105


# ---- what is to be expected ----------------------------------------------------------------------------------------


def arrivals(jobs_by_window: dict[int, int]) -> Arrivals:
    found = Arrivals()
    found.note(plan("first", lane="bulk"), 0)
    for window, jobs in jobs_by_window.items():
        for number in range(jobs):
            found.note(plan(f"{window}-{number}", lane="express", chunks=2), window * WINDOW_MS)
    return found


def test_whoever_has_a_weight_by_quota_is_expected_with_it() -> None:
    found = arrivals(dict.fromkeys(range(WINDOWS), 10))
    weights = {"default": 3.0}
    now_ms = WINDOWS * WINDOW_MS
    assert {s.weight for s in found.streams("cpu", {}, now_ms, lambda tenant: weights.get(tenant, 0.0))} == {3.0}
    assert {s.weight for s in found.streams("cpu", {}, now_ms)} == {plan().placement.weight}


def express_jobs(found: Arrivals) -> float:
    """Expected in WINDOWS windows."""
    gaps_s = [s.gap_s for s in found.streams("cpu", {}, WINDOWS * WINDOW_MS) if s.lane == "express"]
    return sum(WINDOWS * WINDOW_MS / 1_000 / gap_s for gap_s in gaps_s)


@given(st.lists(st.integers(2, 4), min_size=WINDOWS, max_size=WINDOWS))
def test_it_is_expected_to_go_on_as_of_late(jobs) -> None:
    assert abs(express_jobs(arrivals(dict(enumerate(jobs)))) - sum(jobs)) < 0.001


@given(st.integers(0, WINDOWS - 1), st.integers(1, 2_000))
@settings(max_examples=20, deadline=None)
def test_many_jobs_at_once_are_not_expected_to_go_on(window, jobs) -> None:
    assert express_jobs(arrivals({window: jobs})) <= 1.001


# ---- when it is told -----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(100, 5_000), st.integers(0, 400_000), st.integers(0, 2 * FIRST)), min_size=1, max_size=60
    )
)
@settings(max_examples=300)
def test_nothing_is_late_in_silence_and_nothing_told_too_often(seen) -> None:
    """seen: milliseconds since the last look, milliseconds that remain as estimated then, position."""
    job, now_ms, told_at_ms, told_ms = new_job(plan(), 0), 0, None, 0
    for passed_ms, left_ms, position in seen:
        now_ms += passed_ms
        finish_ms = now_ms + left_ms
        progress = worth_telling(job, position, finish_ms, now_ms)
        since_ms = None if told_at_ms is None else now_ms - told_at_ms
        if progress is not None:
            assert since_ms is None or since_ms >= max(SOONEST_MS, 0.05 * max(0, min(told_ms, finish_ms) - now_ms))
            assert progress.eta_s >= 0.1, "what is not rendered is not done"
            told_at_ms, told_ms = now_ms, finish_ms
            continue
        assert since_ms is not None, "the first look tells"
        late = told_ms + 100 <= now_ms
        assert not (late and since_ms >= SOONEST_MS), "it is past and was not told again"
        far = since_ms < 0.05 * (min(told_ms, finish_ms) - now_ms)
        moved = abs(told_ms - finish_ms) > DRIFT * left_ms + 100
        assert not moved or far or since_ms < SOONEST_MS


def test_what_became_of_chunks_is_told_at_once() -> None:
    job = new_job(plan(chunks=2), 0)
    assert worth_telling(job, 0, 100_000, 0) is not None
    job.set_chunk(0, state="d")
    assert worth_telling(job, 0, 100_000, 100).running == 1
    assert worth_telling(job, 0, None, 200).eta_s is None, "the last worker has gone"
    assert worth_telling(job, 0, None, 300) is None


def test_positions_behind_the_first_are_not_told_for_their_own_sake() -> None:
    job = new_job(plan(), 0)
    assert worth_telling(job, FIRST + 10, 10**9, 0).queue_position == FIRST + 10
    assert worth_telling(job, FIRST + 5, 10**9, 9 * 10**8) is None
    assert worth_telling(job, FIRST - 1, 10**9, 9 * 10**8).queue_position == FIRST - 1
