"""Estimates play the scheduler's own order forward."""

import hypothesis.strategies as st
from hypothesis import given, settings
from msgspec.structs import replace

from stream_processors.dispatch.choice import Queue
from stream_processors.dispatch.job import Job, new_job
from stream_processors.dispatch.positions import estimate
from stream_processors.dispatch.workers import Pool
from tests.core.plans import plan
from tests.core.scheduled import WEIGHTS

ONE = Pool(workers=1, rate=1.0, busy_s=0.0)
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
    told = [(job.key, position, eta_s) for job, position, eta_s in estimate(left, queue, ONE)]
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
    told = {job.lane: eta_s for job, _, eta_s in estimate(jobs, filled(jobs), ONE)}
    assert 8.0 <= told["express"] <= 9.0
    assert told["bulk"] == 16.0


def test_slow_workers_and_what_they_hold_are_reckoned_with() -> None:
    jobs = [new_job(plan(chunks=4, chained=False), 0)]
    ((_, _, eta_s),) = estimate(jobs, filled(jobs), Pool(workers=2, rate=1.0, busy_s=3.0))
    assert eta_s == 3.0 + 3.0 + 2.0


def test_a_chain_takes_as_long_as_its_chunks_one_after_the_other_however_many_workers_there_are() -> None:
    jobs = [new_job(plan(chunks=6, chained=True), 0)]
    ((_, position, eta_s),) = estimate(jobs, filled(jobs), Pool(workers=100, rate=100.0, busy_s=0.0))
    assert (position, eta_s) == (0, 6.0)


def test_without_workers_there_is_a_position_and_no_estimate() -> None:
    jobs = [new_job(plan(), 0)]
    ((_, position, eta_s),) = estimate(jobs, filled(jobs), Pool(0, 0.0, 0.0))
    assert (position, eta_s) == (0, None)
