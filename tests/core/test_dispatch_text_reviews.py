"""Texts that moderation leaves to a person: nothing of the job is rendered before somebody has read them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.codec import MAX_RECORD_BYTES, encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent
from schemas.plan import Plan
from schemas.prompts import MOST_DOUBTS, PromptDoubt, PromptVerdict
from schemas.quotas import Quota
from schemas.records import Outgoing
from schemas.request import Shot
from schemas.reviews import ReviewCase, ReviewDecision, name_of
from schemas.topics import PLANS_PARKED, REVIEWS_OPEN
from schemas.work import Command, SchedulerRow
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, render_all, tasks

WRONG = "f" * 64


def doubtful(job_id: str = "a", **more: object) -> Plan:
    """A plan whose prompt is to be read by a person."""
    return replace(
        plan(job_id, **more),  # type: ignore[arg-type]
        prompts=PromptVerdict(verdict="review", policy="p1", category="violence"),
        doubts=(PromptDoubt(field="shots[0].prompt", category="violence", score=0.4),),
    )


def cases(out: list[Outgoing]) -> list[ReviewCase | None]:
    return [o.record for o in out if o.topic is REVIEWS_OPEN]


def told(out: list[Outgoing], kind: str) -> JobEvent:
    (found,) = [o.record for o in out if isinstance(o.record, JobEvent) and o.record.type == kind]
    return found


def waiting(job: Plan, scheduler: Scheduler | None = None) -> tuple[Scheduler, ReviewCase]:
    """The job is here and owns its id, a worker has room, and a person is asked."""
    scheduler = scheduler or Scheduler(WEIGHTS)
    out = scheduler.on_plan(job, 5)
    scheduler.on_control(answer("admit", job), 6)
    scheduler.on_worker(worker(), 6)
    (case,) = cases(out)
    assert case is not None
    return scheduler, case


def decided(case: ReviewCase, verdict: str, *objects: str) -> ReviewDecision:
    read = objects or (case.texts_sha256,)
    return ReviewDecision(job=case.job, verdict=verdict, objects=read, reason="a stage fight", by="ada", at_ms=7)


def test_a_person_is_shown_the_texts_and_what_was_found_before_anything_is_rendered() -> None:
    job = doubtful()
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_worker(worker(), 1)
    out = scheduler.on_plan(job, 5)
    (case,) = cases(out)
    assert case is not None
    assert (case.job, case.at_ms, case.provider, case.chunks, case.doubts) == (job.job, 5, "p1", (), job.doubts)
    assert [(text.field, text.text) for text in case.texts] == [("shots[0].prompt", "a red ball")]
    assert events(out) == ["job.queued", "job.review-wanted"]
    wanted = told(out, "job.review-wanted")
    assert (wanted.prompts, wanted.progress and wanted.progress.stopped) == (job.prompts, "texts wait for a review")
    assert told(out, "job.queued").prompts == job.prompts
    assert tasks(scheduler.tick(20)) == []


def test_others_go_past_it() -> None:
    scheduler, _ = waiting(doubtful("first"))
    other = plan("second", seed=2, requested_at_ms=9_000)
    scheduler.on_plan(other, 10)
    assert {task.job for task in tasks(scheduler.tick(20))} == {other.job}


def test_an_approved_job_is_rendered_and_finished_as_any_other() -> None:
    scheduler, case = waiting(doubtful())
    out = scheduler.on_review(decided(case, "approve"), 30)
    assert cases(out) == [None]
    approved = told(out, "job.review-approved")
    assert (approved.review and approved.review.by, approved.prompts and approved.prompts.verdict) == ("ada", "allow")
    assert len(mux_tasks(render_all(scheduler, 40))) == 1


def test_a_refused_job_ends_and_names_the_reviewer_to_the_trail_alone() -> None:
    scheduler, case = waiting(doubtful())
    out = scheduler.on_review(decided(case, "refuse"), 30)
    assert cases(out) == [None]
    end = told(out, "job.rejected")
    assert end.reason is not None
    assert (end.reason.code, end.reason.field) == ("prompt_refused", "shots[0].prompt")
    assert "violence" in end.reason.message
    assert "ada" not in end.reason.message
    assert "stage fight" not in end.reason.message
    assert end.review is not None
    assert (end.review.by, end.review.reason) == ("ada", "a stage fight")
    assert end.prompts == PromptVerdict(verdict="block", policy="p1", category="violence")
    assert not tasks(scheduler.tick(40))
    # Who asks again is told the same end.
    assert told(scheduler.on_plan(doubtful(), 50), "job.rejected").id == end.id
    assert scheduler.on_review(decided(case, "approve"), 60) == []


def test_an_answer_counts_once_and_only_for_what_was_read() -> None:
    scheduler, case = waiting(doubtful())
    for verdict in ("approve", "refuse"):
        assert scheduler.on_review(decided(case, verdict, WRONG), 30) == []
    assert tasks(scheduler.tick(31)) == []
    assert scheduler.on_review(decided(case, "approve", WRONG, case.texts_sha256), 32)
    assert scheduler.on_review(decided(case, "approve"), 33) == []
    assert scheduler.on_review(decided(case, "refuse"), 34) == [], "the first answer counts"
    assert len(tasks(scheduler.tick(35))) == 1


def test_other_texts_have_another_name() -> None:
    _, one = waiting(doubtful())
    job = doubtful()
    shots = (replace(job.request.shots[0], negative_prompt="blood"),)
    _, other = waiting(replace(job, request=replace(job.request, shots=shots)))
    assert [text.field for text in other.texts] == ["shots[0].prompt", "shots[0].negative_prompt"]
    assert name_of(one) != name_of(other)


def test_a_job_that_ends_while_it_waits_is_taken_off_the_list() -> None:
    scheduler, case = waiting(doubtful())
    out = scheduler.on_control(Command(job=case.job, action="cancel"), 20)
    assert (events(out), cases(out)) == (["job.cancelled"], [None])
    assert scheduler.on_review(decided(case, "approve"), 30) == []


def test_its_deadline_counts_on() -> None:
    scheduler, case = waiting(doubtful(deadline_ms=5_000))
    out = scheduler.tick(6_000)
    assert "job.expired" in events(out)
    assert cases(out) == [None]
    assert scheduler.on_review(decided(case, "approve"), 7_000) == []


@pytest.mark.parametrize("changed", [{}, {"review_at_ms": 0}])
def test_a_successor_goes_on_waiting_whatever_else_the_row_says(changed: dict[str, int]) -> None:
    job = doubtful()
    out = Scheduler(WEIGHTS).on_plan(job, 5)
    rows = [replace(o.record, **changed) for o in out if isinstance(o.record, SchedulerRow)]
    heir = Scheduler(WEIGHTS)
    heir.restore([job], rows[-1:])
    heir.on_worker(worker(), 6)
    assert tasks(heir.tick(7)) == []
    (case,) = cases(out)
    assert case is not None
    heir.on_review(decided(case, "approve"), 8)
    assert len(tasks(heir.tick(9))) == 1


def test_an_approval_is_kept() -> None:
    job = doubtful()
    scheduler, case = waiting(job)
    rows = [o.record for o in scheduler.on_review(decided(case, "approve"), 30) if isinstance(o.record, SchedulerRow)]
    heir = Scheduler(WEIGHTS)
    heir.restore([job], rows[-1:])
    heir.on_worker(worker(), 31)
    assert len(tasks(heir.tick(32))) == 1


def test_the_case_of_a_request_that_does_not_own_its_id_goes_before_its_rivals_comes() -> None:
    loser = doubtful()
    scheduler, case = waiting(loser)
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(loser, 5)
    rival = doubtful(seed=3)
    scheduler.on_plan(rival, 6)
    out = scheduler.on_control(answer("withdraw", loser), 7)
    gone, new = cases(out)
    assert gone is None
    assert new is not None
    assert new.at_ms == 7
    assert new.texts_sha256 == case.texts_sha256, "the same words, and still a case of its own"


def test_chunks_that_come_back_of_an_earlier_job_of_the_id_make_no_video_before_that() -> None:
    job = doubtful(chunks=1, seed=4)
    before = Scheduler(WEIGHTS)
    before.on_plan(replace(job, doubts=(), prompts=None), 1)
    before.on_worker(worker(), 1)
    (task,) = tasks(before.tick(2))
    scheduler, case = waiting(job)
    assert not mux_tasks(scheduler.on_inspected(result(task), 10))
    assert mux_tasks(scheduler.on_review(decided(case, "approve"), 30))


def test_frames_are_looked_at_after_the_texts() -> None:
    scheduler, case = waiting(doubtful(chunks=1))
    scheduler.on_review(decided(case, "approve"), 30)
    (task,) = tasks(scheduler.tick(31))
    (frames,) = cases(scheduler.on_inspected(result(task, verdict="review"), 40))
    assert frames is not None
    assert (len(frames.chunks), frames.texts) == (1, ())
    assert scheduler.on_review(decided(case, "approve"), 50) == [], "texts are not frames"
    assert mux_tasks(scheduler.on_review(decided(case, "approve", "5" * 64), 51))


def test_what_it_should_need_stays_reserved_while_it_waits() -> None:
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_quota("default", Quota(tenant="default", device_s_per_day=100.0, queued_jobs=1, over="refuse"))
    scheduler, case = waiting(doubtful(), scheduler)
    assert scheduler.accounts.reserved_s("default") == pytest.approx(2.0)
    refused = scheduler.on_plan(plan("b", seed=1), 10)
    assert events(refused) == ["job.rejected"], "it counts among the jobs that wait"
    scheduler.on_review(decided(case, "refuse"), 20)
    assert scheduler.accounts.reserved_s("default") == 0.0


def test_jobs_that_wait_for_a_person_do_not_keep_their_line_waiting() -> None:
    scheduler = Scheduler(WEIGHTS, window_jobs=1)
    for number in range(20):
        waiting(doubtful(f"j{number}", seed=number), scheduler)
    scheduler.on_plan(plan("next", seed=99), 10)
    assert "default/next" in scheduler.jobs


def test_a_parked_job_asks_when_it_has_its_turn() -> None:
    scheduler = Scheduler(WEIGHTS, window_jobs=1)
    scheduler.on_plan(plan("first"), 5)
    job = doubtful("second", seed=2)
    out = scheduler.on_plan(job, 6)
    assert out[0].topic is PLANS_PARKED
    assert cases(out) == []
    (case,) = cases(scheduler.on_parked(job, 7))
    assert case is not None


def test_the_largest_case_is_a_record_that_fits() -> None:
    job = doubtful()
    shots = tuple(Shot(prompt="\u0436" * 150, negative_prompt="\u0436" * 14, duration_s=1) for _ in range(50))
    field = "shots[49].negative_prompt"
    doubts = (PromptDoubt(field=field, category="harassment/threatening", score=0.123456789),) * MOST_DOUBTS
    job = replace(job, request=replace(job.request, shots=shots), doubts=doubts)
    _, case = waiting(job)
    assert sum(len(text.text.encode()) for text in case.texts) == 16_400, "all that a job may say"
    assert len(encode(case)) < MAX_RECORD_BYTES


@pytest.mark.parametrize(
    "changed", [{"doubts": ()}, {"prompts": None}, {"prompts": PromptVerdict(verdict="allow", policy="p1")}]
)
def test_a_plan_that_has_lost_half_of_its_mark_is_not_taken_in(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage, match="doubts"):
        Scheduler(WEIGHTS).on_plan(replace(doubtful(), **changed), 5)


STEPS = ("tick", "work", "approve", "refuse", "wrong", "cancel", "plan", "restart")


@settings(deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=14))
def test_nothing_is_rendered_unread_and_no_case_outlives_its_job(steps: list[str]) -> None:
    job = doubtful(seed=5)
    scheduler, case = waiting(job)
    read, listed, now_ms = False, True, 10
    for step in (*steps, "tick"):
        now_ms += 10
        live = job.job in scheduler.jobs
        if step == "tick":
            out = scheduler.tick(now_ms)
        elif step == "work":
            out = render_all(scheduler, now_ms)
        elif step == "cancel":
            out = scheduler.on_control(Command(job=job.job, action="cancel"), now_ms)
        elif step == "plan":
            out = scheduler.on_plan(job, now_ms)
        elif step == "restart":
            heir = Scheduler(WEIGHTS)
            rows = [one.row for one in scheduler.jobs.values()] + [*scheduler.finished.values()]
            heir.restore([one.plan for one in scheduler.jobs.values()], rows)
            scheduler, out = heir, []
            scheduler.on_worker(worker(), now_ms)
        else:
            objects = (WRONG,) if step == "wrong" else (case.texts_sha256,)
            out = scheduler.on_review(decided(case, "refuse" if step == "refuse" else "approve", *objects), now_ms)
            read = read or (step == "approve" and live)
        assert read or not tasks(out)
        for found in cases(out):
            listed = found is not None
        assert listed == (job.job in scheduler.jobs and not read)
