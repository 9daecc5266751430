"""The scheduler's decisions, one by one and under random histories."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent
from schemas.plan import ChunkSpan, Placement, Plan
from schemas.records import Outgoing
from schemas.topics import DISPATCH_STATE, MUX_TASKS
from schemas.work import ChunkTask, Command, MuxTask, SchedulerRow
from stream_processors.dispatch.assembly import MAX_MUX_ATTEMPTS, MUX_SILENT_MS
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.handing import LOST_FIRST_MS
from stream_processors.dispatch.results import MAX_FAILURES
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, render_all, tasks


class Admitting(Scheduler):
    """Beside a track that admits every request at once."""

    def on_plan(self, plan: Plan, now_ms: int) -> list[Outgoing]:
        return [*super().on_plan(plan, now_ms), *self.on_control(answer("admit", plan), now_ms)]


@pytest.fixture
def scheduler():
    made = Admitting(WEIGHTS)
    made.on_worker(worker(), 0)
    return made


def test_a_job_is_rendered_in_order_and_handed_to_mux_once(scheduler):
    job = plan(chunks=3)
    assert events(scheduler.on_plan(job, 1)) == ["job.queued"]
    out = render_all(scheduler)
    assert [t.index for t in tasks(out)] == [0, 1, 2]
    assert [m.attempt for m in mux_tasks(out)] == [1]
    assert [e for e in events(out) if e != "job.progress"] == ["job.started", "job.assembling"]


def test_independent_chunks_go_out_side_by_side_up_to_the_capacity(scheduler):
    scheduler.on_plan(plan(chunks=4, chained=False), 1)
    assert [t.index for t in tasks(scheduler.tick(10))] == [0, 1]


def test_a_chained_chunk_waits_for_its_predecessor(scheduler):
    scheduler.on_plan(plan(chunks=2), 1)
    first = tasks(scheduler.tick(10))
    assert [t.index for t in first] == [0]
    assert tasks(scheduler.tick(11)) == []
    scheduler.on_inspected(result(first[0]), 12)
    assert [t.spec.given_chunk for t in tasks(scheduler.tick(13))] == [first[0].chunk_id]


def test_without_a_worker_nothing_is_handed_out():
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(plan(), 1)
    assert tasks(scheduler.tick(10)) == []


def test_a_repeated_plan_result_and_release_change_nothing(scheduler):
    job = plan(chunks=1)
    scheduler.on_plan(job, 1)
    assert scheduler.on_plan(job, 2) == []
    (task,) = tasks(scheduler.tick(10))
    assert mux_tasks(scheduler.on_inspected(result(task), 11))
    assert scheduler.on_inspected(result(task), 12) == []
    release = Command(job=job.job, action="release", mux_attempt=1)
    assert scheduler.on_control(release, 13)
    assert scheduler.on_control(release, 14) == []
    assert scheduler.on_plan(job, 15) == []


def test_express_overtakes_a_bulk_backlog_at_the_next_chunk(scheduler):
    for n in range(20):
        scheduler.on_plan(plan(f"bulk-{n}", chunks=1, lane="bulk", requested_at_ms=n), 1)
    running = tasks(scheduler.tick(10))
    scheduler.on_plan(plan("urgent", chunks=1, lane="express", requested_at_ms=99), 11)
    scheduler.on_inspected(result(running[0]), 12)
    scheduler.on_worker(worker(pending=(running[1].chunk_id,)), 12)
    assert [t.job for t in tasks(scheduler.tick(13))] == ["default/urgent"]


def test_tenants_of_a_lane_take_turns_whatever_their_backlog(scheduler):
    for n in range(10):
        scheduler.on_plan(plan(f"many-{n}", chunks=1, tenant="big", requested_at_ms=n), 1)
    scheduler.on_plan(plan("one", chunks=1, tenant="small", requested_at_ms=100), 1)
    order = [t.job for t in tasks(render_all(scheduler))]
    assert order.index("small/one") <= 2


def test_a_tenants_jobs_go_by_deadline_then_priority_then_age_and_begun_ones_first():
    scheduler = Admitting(WEIGHTS)
    scheduler.on_worker(worker(capacity=1), 0)
    for name, more in {
        "old": {"requested_at_ms": 1},
        "young": {"requested_at_ms": 2},
        "dear": {"requested_at_ms": 3, "priority": 5},
        "cheap": {"requested_at_ms": 0, "priority": -1},
        "late": {"requested_at_ms": 4, "deadline_ms": 9_000},
        "soon": {"requested_at_ms": 5, "deadline_ms": 8_000, "priority": -10},
    }.items():
        scheduler.on_plan(plan(name, chunks=2, **more), 1)
    order = [t.job.removeprefix("default/") for t in tasks(render_all(scheduler))]
    assert order == [name for name in ("soon", "late", "dear", "old", "young", "cheap") for _ in range(2)]


def test_priority_takes_nothing_from_another_tenant():
    scheduler = Admitting(WEIGHTS)
    scheduler.on_worker(worker(capacity=1), 0)
    for n in range(4):
        scheduler.on_plan(plan(f"mine-{n}", chunks=1, tenant="loud", priority=10), 1)
        scheduler.on_plan(plan(f"mine-{n}", chunks=1, tenant="quiet"), 1)
    order = [t.job.partition("/")[0] for t in tasks(render_all(scheduler))]
    assert order == ["loud", "quiet"] * 4


def test_weights_divide_the_device_among_lanes():
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_worker(worker(capacity=1), 0)
    for lane in WEIGHTS:
        for n in range(150):
            scheduler.on_plan(plan(f"{lane}-{n}", chunks=1, lane=lane), 1)
    served = []
    while len(served) < 120:
        for task in tasks(scheduler.tick(10)):
            served.append(task.lane)
            scheduler.on_inspected(result(task), 10)
    # Express may be AHEAD of its share by two chunks.
    assert [served[:120].count(lane) for lane in ("express", "standard", "bulk")] == [82, 29, 9]


def test_a_chunk_wanted_by_two_jobs_is_rendered_once_then_reused(scheduler):
    scheduler.on_plan(plan("a", chunks=1, seed=7), 1)
    scheduler.on_plan(plan("b", chunks=1, seed=7), 1)
    (task,) = tasks(scheduler.tick(10))
    scheduler.on_inspected(result(task), 11)
    (again,) = tasks(scheduler.tick(12))
    assert (again.job, again.chunk_id) == ("default/b", task.chunk_id)


def test_refused_frames_end_the_job_before_anything_is_released(scheduler):
    scheduler.on_plan(plan(chunks=2, chained=False), 1)
    first, second = tasks(scheduler.tick(10))
    assert events(scheduler.on_inspected(result(first, verdict="block"), 11)) == ["job.rejected"]
    assert events(scheduler.on_inspected(result(second), 12)) == ["job.metered"]


def test_an_unjudged_chunk_is_refused(scheduler):
    scheduler.on_plan(plan(chunks=1), 1)
    (task,) = tasks(scheduler.tick(10))
    unjudged = replace(result(task), verdict=None)
    assert events(scheduler.on_inspected(unjudged, 11)) == ["job.rejected"]


def test_a_failing_chunk_is_tried_again_then_fails_its_job(scheduler):
    scheduler.on_plan(plan(chunks=1), 1)
    for attempt in range(1, MAX_FAILURES + 1):
        (task,) = tasks(scheduler.tick(10))
        assert task.attempt == attempt
        out = scheduler.on_inspected(result(task, status="failed"), 11)
    assert events(out) == ["job.failed"]
    assert tasks(scheduler.tick(12)) == []


def test_a_chunk_that_nobody_holds_is_asked_for_again(scheduler):
    scheduler.on_plan(plan(chunks=1), 0)
    (task,) = tasks(scheduler.tick(0))
    scheduler.on_worker(worker(pending=(task.chunk_id,)), 1)
    late_ms = LOST_FIRST_MS + 2_000
    scheduler.on_worker(worker(pending=(task.chunk_id,)), late_ms)
    assert tasks(scheduler.tick(late_ms)) == []
    scheduler.on_worker(worker("w1"), late_ms + 20_000)
    assert [t.attempt for t in tasks(scheduler.tick(late_ms + 20_000))] == [2]


def test_a_lost_chunk_is_rendered_again_and_the_job_muxed_again(scheduler):
    job = plan(chunks=2)
    scheduler.on_plan(job, 1)
    render_all(scheduler)
    redo = Command(job=job.job, action="redo_chunk", chunk=1, mux_attempt=1, reason="missing")
    assert events(scheduler.on_control(redo, 20)) == ["job.started"]
    out = render_all(scheduler, now_ms=2_000)
    assert [t.index for t in tasks(out)] == [1]
    assert [m.attempt for m in mux_tasks(out)] == [2]
    assert scheduler.on_control(redo, 3_000) == []


def test_cancel_stops_a_job_between_chunks(scheduler):
    job = plan(chunks=3)
    scheduler.on_plan(job, 1)
    (task,) = tasks(scheduler.tick(10))
    assert events(scheduler.on_control(Command(job=job.job, action="cancel"), 11)) == ["job.cancelled"]
    assert events(scheduler.on_inspected(result(task), 12)) == ["job.metered"]
    assert tasks(scheduler.tick(13)) == []


def test_cancel_is_refused_once_the_video_is_being_assembled(scheduler):
    job = plan(chunks=1)
    scheduler.on_plan(job, 1)
    render_all(scheduler)
    assert events(scheduler.on_control(Command(job=job.job, action="cancel"), 11)) == ["job.cancel-refused"]


def test_cancel_before_the_plan_arrives_is_remembered(scheduler):
    job = plan()
    assert events(scheduler.on_control(Command(job=job.job, action="cancel"), 1)) == ["job.cancelled"]
    assert events(scheduler.on_plan(job, 2)) == ["job.cancelled"]
    assert tasks(scheduler.tick(10)) == []


def test_a_job_whose_deadline_passes_expires(scheduler):
    scheduler.on_plan(plan(deadline_ms=5_000), 1)
    assert "job.expired" in events(scheduler.tick(5_001))


def expire(job, code="deadline_passed"):
    return Command(job=job, action="expire", reason=f"{code}: late")


def reasons(out):
    told = [o.record for o in out if isinstance(o.record, JobEvent)]
    return [(event.type, event.reason.code) for event in told if event.reason is not None]


def test_a_job_that_is_here_expires_when_told_to_and_says_so_whenever_asked(scheduler):
    job = plan(chunks=2)
    scheduler.on_plan(job, 1)
    (task,) = tasks(scheduler.tick(10))
    told = [
        scheduler.on_control(expire(job.job), 11),
        scheduler.on_control(expire(job.job), 12),
        scheduler.on_plan(job, 13),
    ]
    assert [reasons(out) for out in told] == [[("job.expired", "deadline_passed")]] * 3
    assert len({o.record.id for out in told for o in out if isinstance(o.record, JobEvent)}) == 1
    assert events(scheduler.on_inspected(result(task), 14)) == ["job.metered"]
    assert tasks(scheduler.tick(15)) == []


@pytest.mark.parametrize("code", ["deadline_passed", "no_progress"])
def test_a_job_that_is_not_here_yet_ends_and_its_plan_is_told_the_same_after_a_restart(scheduler, code):
    job = plan()
    out = scheduler.on_control(expire(job.job, code), 1)
    assert reasons(out) == [("job.expired", code)]
    (row,) = [o.record for o in out if isinstance(o.record, SchedulerRow)]
    successor = Scheduler(WEIGHTS)
    successor.restore([], [decode(SchedulerRow, encode(row))])
    assert reasons(successor.on_plan(job, 2)) == [("job.expired", code)]


def test_a_cancel_that_overtakes_its_request_keeps_its_reason(scheduler):
    job = plan()
    scheduler.on_control(Command(job=job.job, action="cancel", reason="the order was withdrawn"), 1)
    (told,) = [o.record for o in scheduler.on_plan(job, 2)]
    assert (told.type, told.reason.message) == ("job.cancelled", "the order was withdrawn")


def test_what_is_being_assembled_is_finished_however_late(scheduler):
    job = plan(chunks=1, deadline_ms=5_000)
    scheduler.on_plan(job, 1)
    render_all(scheduler)
    for code in ("deadline_passed", "no_progress"):
        assert events(scheduler.on_control(expire(job.job, code), 6_000)) == ["job.progress"]
    assert scheduler.on_control(Command(job=job.job, action="release", mux_attempt=1), 6_001)
    assert scheduler.on_control(expire(job.job), 6_002) == []


def test_a_job_that_waits_in_line_makes_progress_however_long_it_waits():
    """Also when its pool's workers were taken away while one of its chunks was out."""
    scheduler = Scheduler(WEIGHTS, timeout_ms=1_000_000)
    scheduler.on_plan(plan("waits", chunks=1, pool="cuda"), 0)
    scheduler.on_plan(plan("begun", chunks=1), 0)
    scheduler.on_worker(worker(), 0)
    assert tasks(scheduler.tick(0))
    for ms in range(10_000, 9_000_000, 500_000):
        assert "job.expired" not in events(scheduler.tick(ms))
    assert events(scheduler.on_control(expire("default/waits", "no_progress"), 9_000_000)) == ["job.progress"]


def test_a_job_whose_chunk_goes_out_again_and_again_and_never_comes_back_is_given_up():
    scheduler = Scheduler(WEIGHTS, timeout_ms=1_000_000)
    scheduler.on_plan(plan(chunks=1), 0)
    ended = []
    for ms in range(0, 2_000_000, 10_000):
        scheduler.on_worker(worker(), ms)
        ended += [(ms, code) for code in reasons(scheduler.tick(ms))]
    (end,) = ended
    assert end[1] == ("job.expired", "no_progress")
    assert 1_000_000 < end[0] <= 1_020_000


def test_a_mux_task_is_handed_out_again_when_the_muxer_has_passed_it_and_given_up_at_last(scheduler):
    lost = plan("lost", chunks=1)
    scheduler.on_plan(lost, 0)
    render_all(scheduler)
    out, ms = [], 0
    for number in range(200):
        ms += MUX_SILENT_MS // 2
        scheduler.on_worker(worker(), ms)
        other = plan(f"other-{number}", chunks=1, requested_at_ms=ms)
        scheduler.on_plan(other, ms)
        out += render_all(scheduler, now_ms=ms)
        scheduler.on_control(Command(job=other.job, action="release", mux_attempt=1), ms)
    attempts = [m.attempt for m in mux_tasks(out) if m.plan.job == lost.job]
    assert attempts == list(range(2, MAX_MUX_ATTEMPTS + 1))
    assert reasons(out) == [("job.failed", "assembly_lost")]


def test_a_mux_task_that_waits_behind_others_is_not_handed_out_again_before_kafka_deletes_it(scheduler):
    job = plan(chunks=1)
    scheduler.on_plan(job, 0)
    render_all(scheduler, now_ms=0)
    kept_ms = MUX_TASKS.retention_ms
    assert not mux_tasks([o for ms in range(0, kept_ms, MUX_SILENT_MS) for o in scheduler.tick(ms)])
    assert [m.attempt for m in mux_tasks(scheduler.tick(kept_ms + 2_000))] == [2]
    late = Command(job=job.job, action="release", mux_attempt=1)
    assert scheduler.on_control(late, kept_ms + 3_000) == []


@pytest.mark.parametrize("assembling", [False, True])
def test_a_job_that_track_knows_to_be_over_is_dropped_without_a_word(scheduler, assembling):
    job = plan(chunks=1)
    scheduler.on_plan(job, 1)
    if assembling:
        render_all(scheduler)
    out = scheduler.on_control(Command(job=job.job, action="release"), 20)
    assert out
    assert events(out) == []
    assert scheduler.on_plan(job, 21) == [] == tasks(scheduler.tick(2_000))


def test_positions_count_from_the_front_of_each_lane(scheduler):
    for n in range(4):
        scheduler.on_plan(plan(f"j{n}", chunks=1, requested_at_ms=n), 1)
    out = scheduler.tick(2_000)
    told = [o.record for o in out if isinstance(o.record, JobEvent) and o.record.type == "job.progress"]
    told = {event.job: event.progress.queue_position for event in told}
    assert [told[f"default/j{n}"] for n in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "broken",
    [
        {"placement": None},
        {"placement": Placement(pool="quantum", weight=1.0, chunk_cost_s=1.0)},
        {"placement": Placement(pool="cpu", weight=0.0, chunk_cost_s=1.0)},
        {"chunks": ()},
        {"chunks": (ChunkSpan(0, 0, 17, 0),)},
        {"chunks": (ChunkSpan(7, 0, 17, -1),)},
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_and_stops_nobody(scheduler, broken):
    with pytest.raises(InvalidMessage):
        scheduler.on_plan(replace(plan("broken"), **broken), 1)
    scheduler.on_plan(plan("good", chunks=1), 2)
    assert [t.job for t in tasks(scheduler.tick(10))] == ["default/good"]


STEPS = st.lists(
    st.sampled_from(
        ["plan", "other", "tick", "done", "done", "again", "fail", "kill", "cancel", "redo", "release", "worker"]
        + ["track"] * 2
    ),
    max_size=60,
)


class _World:
    """The scheduler with a fake log: what it wrote is all that survives a kill."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(WEIGHTS)
        self.state: dict[str, bytes] = {}
        self.sent: list[ChunkTask] = []
        self.done: list[ChunkTask] = []
        self.mux: dict[str, list[int]] = {}
        self.muxed: dict[str, set[str]] = {}
        self.ended: dict[str, int] = {}
        self.plans: list[Plan] = []
        self.owners: dict[str, str] = {}
        self.questions: list[JobEvent] = []
        self.now_ms = 0
        self.jobs = 0

    def write(self, out: list[Outgoing]) -> None:
        for o in out:
            if o.topic is DISPATCH_STATE:
                if o.record is None:
                    self.state.pop(o.key, None)
                else:
                    self.state[o.key] = encode(o.record)
            elif isinstance(o.record, ChunkTask):
                self.sent.append(o.record)
            elif isinstance(o.record, MuxTask):
                self.mux.setdefault(o.key, []).append(o.record.attempt)
                self.muxed.setdefault(o.key, set()).add(o.record.plan.fingerprint)
            elif isinstance(o.record, JobEvent) and o.record.type == "job.queued":
                self.questions.append(o.record)
            elif isinstance(o.record, JobEvent) and o.record.type in ("job.failed", "job.cancelled"):
                self.ended[o.key] = self.ended.get(o.key, 0) + (o.record.fingerprint in ("", self.owners.get(o.key)))

    def track(self) -> None:
        """The oldest question is answered."""
        about = self.questions.pop(0)
        own = self.owners[about.job] == about.fingerprint
        control = Command(job=about.job, action="admit" if own else "withdraw", fingerprint=about.fingerprint)
        self.write(self.scheduler.on_control(control, self.now_ms))

    def kill(self) -> None:
        self.scheduler = Scheduler(WEIGHTS)
        self.scheduler.restore(
            [decode(Plan, raw) for key, raw in self.state.items() if key.endswith("#plan")],
            [decode(SchedulerRow, raw) for key, raw in self.state.items() if key.endswith(("#progress", "#orders"))],
        )

    def act(self, step: str) -> None:
        scheduler = self.scheduler
        self.now_ms += 700
        if step == "plan":
            self.jobs += 1
            facts = {"chunks": 1 + self.jobs % 3, "chained": self.jobs % 2 == 0, "requested_at_ms": self.now_ms}
            bodies = [plan(f"j{self.jobs}", seed=seed, **facts) for seed in (1, 2)]
            self.owners[bodies[0].job] = bodies[self.now_ms // 700 % 2].fingerprint
            self.plans += bodies[1:]
            self.write(scheduler.on_plan(bodies[0], self.now_ms))
        elif step == "other" and self.plans:
            self.write(scheduler.on_plan(self.plans.pop(0), self.now_ms))
        elif step == "track" and self.questions:
            self.track()
        elif step == "worker":
            scheduler.on_worker(worker(), self.now_ms)
        elif step == "tick":
            self.write(scheduler.tick(self.now_ms))
        elif step == "kill":
            self.kill()
        elif step in ("done", "fail") and self.sent:
            task = self.sent.pop(0)
            self.done.append(task)
            status = "rendered" if step == "done" else "failed"
            self.write(scheduler.on_inspected(result(task, status=status), self.now_ms))
        elif step == "again" and self.done:
            self.write(scheduler.on_inspected(result(self.done[-1]), self.now_ms))
        elif step in ("cancel", "redo", "release") and self.jobs:
            key = f"default/j{(self.now_ms // 700) % self.jobs + 1}"
            attempt = self.mux.get(key, [0])[-1]
            action = "redo_chunk" if step == "redo" else step
            # A release without an attempt is track's, for a job that it knows to be over; the muxer's has one.
            control = Command(job=key, action=action, chunk=0, mux_attempt=attempt or 99)
            self.write(scheduler.on_control(control, self.now_ms))


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_job_comes_to_an_end_whatever_happened_before(steps):
    world = _World()
    for step in steps:
        world.act(step)
    while world.plans:
        world.act("other")
    for _ in range(400):
        world.act("track")
        world.act("worker")
        world.act("tick")
        while world.sent:
            world.act("done")
        if not any(job.row.phase == "active" for job in world.scheduler.jobs.values()):
            break
        world.now_ms += 20_000
    for number in range(1, world.jobs + 1):
        key = f"default/j{number}"
        attempts = world.mux.get(key, [])
        assert attempts or world.ended.get(key), f"{key} was lost"
        assert attempts == sorted(set(attempts)), "a mux attempt was handed out twice"
        assert world.muxed.get(key, set()) <= {world.owners[key]}, "the video of another request"
