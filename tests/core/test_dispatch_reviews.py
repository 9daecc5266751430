"""Frames that moderation leaves to a person: the job waits, goes on as it was, or ends."""

import msgspec
import pytest
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.reviews import MOST_CHUNKS, ReviewCase, ReviewDecision, name_of
from schemas.topics import REVIEWS_OPEN
from schemas.work import ChunkTask, Command, SchedulerRow
from stream_processors.dispatch.backlog import PER_SLOT
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, tasks

DOUBTFUL, ALSO, GOOD = "d" * 64, "e" * 64, "5" * 64


def decided(job: Plan, verdict: str, *objects: str) -> ReviewDecision:
    return ReviewDecision(job=job.job, verdict=verdict, objects=objects, reason="a statue", by="ada", at_ms=5)


def cases(out: list[Outgoing]) -> list[ReviewCase | None]:
    return [o.record for o in out if o.topic is REVIEWS_OPEN]


def begun(chunks: int, chained: bool = True, capacity: int = 2) -> tuple[Scheduler, Plan, list[ChunkTask]]:
    job = plan(chunks=chunks, chained=chained)
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(job, 0)
    scheduler.on_control(answer("admit", job), 0)
    scheduler.on_worker(worker(capacity=capacity), 0)
    return scheduler, job, tasks(scheduler.tick(0))


def in_review(chunks: int = 2, sha256: str = DOUBTFUL) -> tuple[Scheduler, Plan, list[Outgoing]]:
    """A job whose first chunk is to be looked at."""
    scheduler, job, (first, *_) = begun(chunks)
    return scheduler, job, scheduler.on_inspected(result(first, verdict="review", sha256=sha256), 10)


def test_a_job_in_doubt_waits_and_says_what_is_to_be_looked_at() -> None:
    scheduler, job, out = in_review()
    (case,) = cases(out)
    assert case is not None
    (chunk,) = case.chunks
    assert (case.job, case.at_ms, chunk.index, chunk.prompt) == (job.job, 10, 0, "a red ball")
    assert (chunk.sha256, chunk.category) == (DOUBTFUL, "sexual")
    assert events(out) == ["job.review-wanted"]
    assert tasks(scheduler.tick(20)) == []
    assert scheduler.jobs[job.job].progress().stopped == "frames wait for a review"


def test_approved_frames_go_on_and_the_job_is_finished_as_any_other() -> None:
    scheduler, job, _ = in_review()
    out = scheduler.on_review(decided(job, "approve", DOUBTFUL), 30)
    assert cases(out) == [None]
    assert events(out) == ["job.review-approved"]
    (second,) = tasks(scheduler.tick(40))
    (task,) = mux_tasks(scheduler.on_inspected(result(second), 50))
    assert [ready.sha256 for ready in task.ready] == [DOUBTFUL, GOOD]
    assert task.frames is not None
    assert task.frames.verdict == "allow"


def test_the_last_chunk_approved_is_handed_to_the_muxer_at_once() -> None:
    scheduler, job, _ = in_review(chunks=1)
    assert mux_tasks(scheduler.on_review(decided(job, "approve", DOUBTFUL), 30))


def test_of_a_job_that_is_not_admitted_nothing_goes_to_the_muxer_however_it_is_reviewed() -> None:
    job = plan(chunks=1)
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(job, 0)
    scheduler.on_worker(worker(), 0)
    (task,) = tasks(scheduler.tick(0))
    scheduler.on_inspected(result(task, verdict="review", sha256=DOUBTFUL), 10)
    assert not mux_tasks(scheduler.on_review(decided(job, "approve", DOUBTFUL), 30))
    assert mux_tasks(scheduler.on_control(answer("admit", job), 40))


def test_refused_frames_end_the_job_and_name_the_reviewer_to_the_trail_alone() -> None:
    scheduler, job, _ = in_review()
    out = scheduler.on_review(decided(job, "refuse", DOUBTFUL), 30)
    assert cases(out) == [None]
    (event,) = [o.record for o in out if isinstance(o.record, JobEvent)]
    assert (event.type, event.reason.code, event.frames.verdict) == ("job.rejected", "frames_refused", "block")
    assert (event.review.by, event.review.reason) == ("ada", "a statue")
    assert "ada" not in event.reason.message
    assert "statue" not in event.reason.message
    assert job.job not in scheduler.jobs


def test_a_decision_holds_for_what_was_looked_at_and_for_nothing_else() -> None:
    scheduler, job, (first, second) = begun(2, chained=False)
    scheduler.on_inspected(result(first, verdict="review", sha256=DOUBTFUL), 10)
    both = scheduler.on_inspected(result(second, verdict="review", sha256=ALSO), 11)
    assert [c.sha256 for c in cases(both)[0].chunks] == [DOUBTFUL, ALSO]
    out = scheduler.on_review(decided(job, "approve", DOUBTFUL), 30)
    (case,) = cases(out)
    assert case is not None
    assert [c.sha256 for c in case.chunks] == [ALSO]
    assert case.at_ms == 10
    assert not mux_tasks(out)
    assert scheduler.on_review(decided(job, "refuse", GOOD), 31) == []
    assert scheduler.on_review(decided(job, "approve", DOUBTFUL), 32) == []  # the same once more
    assert mux_tasks(scheduler.on_review(decided(job, "approve", ALSO), 33))


def test_what_was_approved_is_not_asked_about_again_when_it_is_rendered_anew() -> None:
    scheduler, job, _ = in_review(chunks=1)
    scheduler.on_review(decided(job, "approve", DOUBTFUL), 30)
    scheduler.on_control(Command(job=job.job, action="redo_chunk", chunk=0, mux_attempt=1, reason="missing"), 40)
    scheduler.on_worker(worker(), 50)
    (again,) = tasks(scheduler.tick(50))
    out = scheduler.on_inspected(result(again, verdict="review", sha256=DOUBTFUL), 60)
    assert mux_tasks(out)
    assert cases(out) == []


def test_other_bytes_of_an_approved_chunk_are_looked_at() -> None:
    scheduler, job, _ = in_review(chunks=1)
    scheduler.on_review(decided(job, "approve", DOUBTFUL), 30)
    scheduler.on_control(Command(job=job.job, action="redo_chunk", chunk=0, mux_attempt=1, reason="missing"), 40)
    scheduler.on_worker(worker(), 50)
    (again,) = tasks(scheduler.tick(50))
    assert cases(scheduler.on_inspected(result(again, verdict="review", sha256=ALSO), 60))


def test_of_very_many_chunks_a_case_shows_some_and_then_the_others() -> None:
    many = MOST_CHUNKS + 3
    job = plan(chunks=many, chained=False)
    shots = (replace(job.request.shots[0], prompt="ж" * 16_000),)
    job = replace(job, request=replace(job.request, shots=shots))
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(job, 0)
    scheduler.on_control(answer("admit", job), 0)
    scheduler.on_worker(worker(capacity=many), 0)
    out: list[Outgoing] = []
    for number, task in enumerate(tasks(scheduler.tick(0))):
        out = scheduler.on_inspected(result(task, verdict="review", sha256=f"{number:064x}"), 10)
    shown = []
    while (case := cases(out)[-1]) is not None:
        encode(case)  # it fits
        shown.append(len(case.chunks))
        out = scheduler.on_review(decided(job, "approve", *(c.sha256 for c in case.chunks)), 20)
    assert shown == [MOST_CHUNKS, many - MOST_CHUNKS]
    assert mux_tasks(out)


def test_the_same_bytes_elsewhere_in_the_job_are_not_asked_about_again() -> None:
    scheduler, job, (first, second) = begun(2, chained=False)
    scheduler.on_inspected(result(first, verdict="review", sha256=DOUBTFUL), 10)
    scheduler.on_review(decided(job, "approve", DOUBTFUL), 20)
    out = scheduler.on_inspected(result(second, verdict="review", sha256=DOUBTFUL), 30)
    assert cases(out) == []
    assert mux_tasks(out)


def test_a_case_has_another_name_as_soon_as_something_else_is_to_be_looked_at() -> None:
    scheduler, _, (first, second) = begun(2, chained=False)
    (one,) = cases(scheduler.on_inspected(result(first, verdict="review", sha256=DOUBTFUL), 10))
    (two,) = cases(scheduler.on_inspected(result(second, verdict="review", sha256=ALSO), 11))
    assert one is not None
    assert two is not None
    assert name_of(one) != name_of(two)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objects", [f"{n:064x}" for n in range(MOST_CHUNKS + 1)]),
        ("objects", []),
        ("objects", ["../../x"]),
        ("reason", ""),
        ("reason", "x" * 1001),
        ("by", ""),
        ("by", "x" * 101),
    ],
)
def test_a_decision_that_would_outgrow_its_event_or_says_nothing_is_refused(field: str, value: object) -> None:
    good = {"job": "default/a", "verdict": "approve", "objects": [DOUBTFUL], "reason": "seen", "by": "ada"}
    decode(ReviewDecision, msgspec.json.encode(good))
    with pytest.raises(InvalidMessage, match=field):
        decode(ReviewDecision, msgspec.json.encode({**good, field: value}))
    # As Avro, which knows no limits, it is refused no less.
    built = {**good, "objects": (DOUBTFUL,), field: tuple(value) if isinstance(value, list) else value}
    with pytest.raises(InvalidMessage, match=field):
        decode(ReviewDecision, encode(ReviewDecision(**built)))  # type: ignore[arg-type]


def test_a_job_that_ends_while_it_waits_is_taken_off_the_list() -> None:
    scheduler, job, _ = in_review()
    assert cases(scheduler.on_control(Command(job=job.job, action="cancel"), 20)) == [None]
    assert scheduler.on_review(decided(job, "approve", DOUBTFUL), 30) == []


def test_a_deadline_passes_in_review_as_anywhere() -> None:
    job = plan(chunks=1, deadline_ms=5_000)
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(job, 0)
    scheduler.on_worker(worker(), 0)
    (task,) = tasks(scheduler.tick(0))
    scheduler.on_inspected(result(task, verdict="review", sha256=DOUBTFUL), 10)
    out = scheduler.tick(6_000)
    assert "job.expired" in events(out)
    assert cases(out) == [None]


def test_waiting_for_a_person_is_no_circle_and_a_late_approval_begins_a_new_patience() -> None:
    scheduler, job, (first, *_) = begun(2)
    scheduler.on_inspected(result(first, status="failed"), 5)  # so that its chunk goes out twice
    scheduler.on_worker(worker(), 6)
    (again,) = tasks(scheduler.tick(6))
    scheduler.on_inspected(result(again, verdict="review", sha256=DOUBTFUL), 10)
    live = scheduler.jobs[job.job]
    assert not live.goes_in_circles(10_000_000)
    scheduler.on_review(decided(job, "approve", DOUBTFUL), 20_000_000)
    assert not live.goes_in_circles(19_000_000)


def test_a_successor_goes_on_where_the_review_stood() -> None:
    _, job, out = in_review(chunks=1)
    rows = [o.record for o in out if isinstance(o.record, SchedulerRow)]
    heir = Scheduler(WEIGHTS)
    heir.restore([job], rows[-1:])
    assert mux_tasks(heir.on_review(decided(job, "approve", DOUBTFUL), 30))


def test_jobs_in_review_do_not_keep_their_line_waiting() -> None:
    capacity = 2
    window = PER_SLOT * capacity
    scheduler = Scheduler(WEIGHTS, window_jobs=1)
    scheduler.on_worker(worker(capacity=capacity), 0)
    scheduler.tick(0)
    for number in range(window):
        scheduler.on_plan(plan(f"j{number}", chunks=1, seed=number), 0)
    for now_ms in range(1, window + 1):
        scheduler.on_worker(worker(capacity=capacity), now_ms)
        for task in tasks(scheduler.tick(now_ms)):
            scheduler.on_inspected(result(task, verdict="review", sha256=task.chunk_id), now_ms)
    assert all(job.in_review for job in scheduler.jobs.values())
    assert len(scheduler.jobs) == window
    scheduler.on_plan(plan("next", chunks=1, seed=99), 20)
    assert "default/next" in scheduler.jobs
