"""Chunks that are out when their job ends: who gets them, who is told, and who pays."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from schemas.codec import MAX_RECORD_BYTES, decode, encode
from schemas.events import JobEvent, JobState, UsageMetered
from schemas.plan import Plan
from schemas.quotas import Account, LedgerEntry
from schemas.records import Outgoing
from schemas.topics import CHUNKS_WITHDRAWN, DISPATCH_STATE
from schemas.work import ChunkInspected, ChunkProgress, ChunkTask, ChunkWithdrawn, Command, SchedulerRow
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.handing import LOST_FIRST_MS
from stream_processors.dispatch.metering import MAX_MARKS
from stream_processors.track import core as track
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, tasks


def withdrawn(out: list[Outgoing]) -> list[ChunkWithdrawn]:
    return [o.record for o in out if o.topic is CHUNKS_WITHDRAWN]


def cancel(of: Plan) -> Command:
    return Command(job=of.job, action="cancel")


def begun(*plans: Plan, capacity: int = 2) -> Scheduler:
    """A scheduler with these jobs, all admitted, and one idle worker."""
    made = Scheduler(WEIGHTS)
    made.on_worker(worker(capacity=capacity), 0)
    for each in plans:
        made.on_plan(each, 1)
        made.on_control(answer("admit", each), 2)
    return made


ONE = plan("one", chunks=3, chained=False, seed=7)


@pytest.mark.parametrize("end", ["cancel", "deadline", "expire", "refused", "failed", "release"])
def test_a_job_that_ends_withdraws_exactly_what_is_out(end):
    made = begun(replace(ONE, request=replace(ONE.request, deadline_ms=10_000)), capacity=3)
    done, *out = tasks(made.tick(10))
    if end == "cancel":
        ended = [*made.on_inspected(result(done), 11), *made.on_control(cancel(ONE), 12)]
    elif end == "deadline":
        ended = [*made.on_inspected(result(done), 11), *made.tick(10_001)]
    elif end == "expire":
        order = Command(job=ONE.job, action="expire", reason="deadline_passed: too late")
        ended = [*made.on_inspected(result(done), 11), *made.on_control(order, 12)]
    elif end == "refused":
        ended = made.on_inspected(result(done, verdict="block"), 11)
    elif end == "release":
        ended = [*made.on_inspected(result(done), 11), *made.on_control(Command(job=ONE.job, action="release"), 12)]
    else:
        ended = []
        for now_ms in (11, 12, 13):
            ended += made.on_inspected(result(done, status="failed"), now_ms)
    said = withdrawn(ended)
    assert [(w.chunk_id, w.job, w.dispatched_at_ms) for w in said] == [(t.chunk_id, ONE.job, 10) for t in out]
    assert {w.pool for w in said} == {"cpu"}


def test_what_is_not_out_is_not_withdrawn():
    made = begun(ONE, capacity=1)
    (task,) = tasks(made.tick(10))
    made.on_inspected(result(task), 11)
    assert withdrawn(made.on_control(cancel(ONE), 12)) == []


def test_a_chunk_that_another_job_waits_for_goes_on_for_that_one():
    made = begun(plan("first", chunks=1, seed=7), plan("second", chunks=1, seed=7))
    (task,) = tasks(made.tick(10))
    first, second = "default/first", "default/second"
    assert task.job == first
    out = made.on_control(Command(job=first, action="cancel"), 11)
    assert withdrawn(out) == []
    assert [e for e in events(out) if e != "job.progress"] == ["job.cancelled", "job.started"]
    assert tasks(made.tick(12)) == []
    out = made.on_inspected(result(task), 13)
    assert [m.plan.job for m in mux_tasks(out)] == [second]
    assert made.jobs[second].progress().reused == 1
    assert made.finished[first].late_device_s == 0.5
    assert made.on_inspected(result(task), 14) == []


def test_a_chunk_that_was_taken_over_is_withdrawn_in_the_name_that_its_task_has():
    made = begun(plan("first", chunks=1, seed=7), plan("second", chunks=1, seed=7))
    (task,) = tasks(made.tick(10))
    made.on_control(Command(job="default/first", action="cancel"), 11)
    (said,) = withdrawn(made.on_control(Command(job="default/second", action="cancel"), 12))
    assert (said.job, said.chunk_id, said.dispatched_at_ms) == (task.job, task.chunk_id, task.dispatched_at_ms)


def test_a_chunk_that_another_job_will_want_is_not_withdrawn():
    """Its predecessor is not there yet for that job, which will find it in the store."""
    made = begun(plan("first", chunks=2, seed=7), plan("second", chunks=2, seed=7), capacity=1)
    (task,) = tasks(made.tick(10))
    made.on_inspected(result(task), 11)
    (second,) = tasks(made.tick(12))
    assert (second.job, second.index) == ("default/first", 1)
    assert withdrawn(made.on_control(Command(job="default/first", action="cancel"), 13)) == []


def test_a_chunk_that_was_taken_over_and_lost_is_asked_for_again_by_the_job_that_has_it():
    made = begun(plan("first", chunks=1, seed=7), plan("second", chunks=1, seed=7))
    tasks(made.tick(10))
    made.on_control(Command(job="default/first", action="cancel"), 11)
    later_ms = 11 + LOST_FIRST_MS + 1_000
    made.on_worker(worker(), later_ms)
    (task,) = tasks(made.tick(later_ms))
    assert (task.job, task.attempt) == ("default/second", 2)


def test_the_same_chunk_for_a_new_job_is_not_what_was_withdrawn():
    first, second = plan("first", chunks=1, seed=7), plan("second", chunks=1, seed=7)
    made = begun(first)
    (old,) = tasks(made.tick(10))
    made.on_worker(worker(pending=(old.chunk_id,)), 11)
    (said,) = withdrawn(made.on_control(cancel(first), 12))
    made.on_plan(second, 13)
    made.on_control(answer("admit", second), 14)
    (new,) = tasks(made.tick(15))
    assert (new.chunk_id, new.job) == (old.chunk_id, second.job)
    assert (said.job, said.dispatched_at_ms) == (old.job, old.dispatched_at_ms)
    made.on_inspected(result(old, status="withdrawn"), 16)
    assert made.jobs[second.job].chunk(0).state == "d"
    assert [m.plan.job for m in mux_tasks(made.on_inspected(result(new), 17))] == [second.job]


def test_a_withdrawn_chunk_frees_its_worker_and_ends_nothing():
    made = begun(ONE, plan("other", chunks=1, seed=9), capacity=1)
    (task,) = tasks(made.tick(10))
    made.on_control(cancel(ONE), 11)
    assert tasks(made.tick(12)) == []
    assert events(made.on_inspected(result(task, status="withdrawn"), 13)) == ["job.metered"]
    assert [t.job for t in tasks(made.tick(14))] == ["default/other"]


def test_a_withdrawal_that_hits_a_living_job_costs_it_no_try():
    """As by a worker that took it for another task: it cannot be, and must not lose the chunk."""
    made = begun(ONE, capacity=1)
    (task,) = tasks(made.tick(10))
    made.on_inspected(result(task, status="withdrawn"), 11)
    assert made.jobs[ONE.job].chunk(0).failures == 0
    (again,) = tasks(made.tick(12))
    assert (again.index, again.attempt) == (0, 2)
    assert made.on_inspected(result(task, status="withdrawn"), 13) == []


def test_the_largest_row_of_the_scheduler_fits_into_a_record() -> None:
    """400 chunks, each rendered several times, all of them in review, and more reports counted than one would
    believe."""
    chunk = ChunkProgress(
        "v", 99, 2, 2**41, "f" * 64, 123_456_789, 12.345678901234, True, 99, 0.123456789, 7, "self-harm/instructions",
        True,
    )  # fmt: skip
    row = SchedulerRow(
        job=f"{'t' * 63}/{'j' * 128}", phase="active", fingerprint="f" * 64, at_ms=2**41, chunks=(chunk,) * 400,
        mux_attempt=5, started_at_ms=2**41, moderator="x" * 200, reason_code="x" * 30, reason="x" * 500, admitted=True,
        counted=(2**48 - 1,) * MAX_MARKS, late_device_s=12345.678, review_at_ms=2**41,
    )  # fmt: skip
    assert len(encode(row)) < MAX_RECORD_BYTES - 2_000


STEPS = st.lists(
    st.sampled_from(
        (
            "rush", "rush", "plan", "twin", "worker", "tick", "tick", "done", "done", "zombie", "stop", "again", "fail",
            "block", "cancel", "cut", "cut", "lose", "kill", "release", "redo",
        )
    ),
    max_size=60,
)  # fmt: skip


class _World:
    """Scheduler and track with a fake log. Device time of every report differs, and is whole milliseconds."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(WEIGHTS)
        self.rows: dict[str, bytes] = {}
        self.states: dict[str, JobState] = {}
        self.events: list[JobEvent] = []
        self.metered: list[UsageMetered] = []
        self.ledger: list[LedgerEntry] = []
        self.sent: list[ChunkTask] = []
        self.given: list[ChunkTask] = []
        self.reports: dict[tuple[Any, ...], ChunkInspected] = {}
        self.mux: dict[str, int] = {}
        self.withdrawn: list[ChunkWithdrawn] = []
        self.now_ms, self.jobs = 1_000, 0

    def write(self, out: list[Outgoing]) -> None:
        for o in out:
            if o.topic is DISPATCH_STATE:
                if o.record is None:
                    self.rows.pop(o.key, None)
                else:
                    self.rows[o.key] = encode(o.record)
            elif isinstance(o.record, ChunkTask):
                self.sent.append(o.record)
            elif isinstance(o.record, JobEvent):
                self.fold(o.record)
        self.ledger += [o.record for o in out if isinstance(o.record, LedgerEntry)]
        self.mux |= {m.plan.job: m.attempt for m in mux_tasks(out)}
        self.withdrawn += withdrawn(out)

    def fold(self, event: JobEvent) -> None:
        self.events.append(event)
        after, out = track.take(self.states.get(event.job), event, 0)
        if after is not None:
            self.states[event.job] = after
        self.metered += [o.record for o in out if isinstance(o.record, UsageMetered)]
        for o in out:
            if isinstance(o.record, Command):
                self.write(self.scheduler.on_control(o.record, self.now_ms))

    def plan(self, seed: int) -> None:
        self.jobs += 1
        made = plan(f"j{self.jobs}", chunks=1 + seed % 3, chained=seed % 2 == 0, seed=seed)
        first = JobEvent(
            id=f"a{self.jobs}", source="moderate", type="job.accepted", job=made.job, at_ms=self.now_ms,
            fingerprint=made.fingerprint,
        )  # fmt: skip
        self.fold(first)
        self.write(self.scheduler.on_plan(made, self.now_ms))

    def report(self, task: ChunkTask, worker_id: str = "w0", **how: Any) -> None:
        made = result(task, **how)
        spent = replace(made.rendered, worker_id=worker_id, device_s=round(0.001 * (len(self.reports) + 1), 3))
        made = replace(made, rendered=spent)
        self.reports[task.job, task.chunk_id, task.attempt, task.dispatched_at_ms, spent.device_s] = made
        self.write(self.scheduler.on_inspected(made, self.now_ms))

    def act(self, step: str) -> None:
        self.now_ms += 700
        if step in ("plan", "twin"):
            self.plan(seed=self.jobs if step == "plan" else max(0, self.jobs - 1))
        elif step == "worker":
            self.scheduler.on_worker(worker(capacity=3), self.now_ms)
        elif step == "tick":
            self.write(self.scheduler.tick(self.now_ms))
        elif step == "lose":
            self.now_ms += LOST_FIRST_MS
        elif step == "kill":
            self.kill()
        elif step == "zombie" and self.given:
            self.report(self.given[self.now_ms // 700 % len(self.given)], worker_id="zombie")
        elif step == "again" and self.reports:
            reports = list(self.reports.values())
            self.write(self.scheduler.on_inspected(reports[self.now_ms // 700 % len(reports)], self.now_ms))
        elif step in ("done", "fail", "block") and self.sent:
            self.given.append(task := self.sent.pop(0))
            status, verdict = "failed" if step == "fail" else "rendered", "block" if step == "block" else "allow"
            self.report(task, status=status, verdict=verdict)
        elif step == "stop" and (named := [task for task in self.sent if self.hit(task)]):
            self.sent.remove(named[0])
            self.report(named[0], status="withdrawn")
        elif step == "rush":
            for each in ("worker", "plan", "twin", "tick"):
                self.act(each)
        elif step == "cut":
            busy = [j.key for j in self.scheduler.jobs.values() if any(c.state == "d" for c in j.row.chunks)]
            self.order("cancel", busy[0] if busy else "default/j1")
        elif step in ("cancel", "redo", "release") and self.jobs:
            key = f"default/j{self.now_ms // 700 % self.jobs + 1}"
            self.order(step, key)

    def hit(self, task: ChunkTask) -> bool:
        """Does a withdrawal name this task?"""
        named = [w for w in self.withdrawn if (w.chunk_id, w.job) == (task.chunk_id, task.job)]
        return any(task.dispatched_at_ms <= w.dispatched_at_ms for w in named)

    def order(self, step: str, key: str) -> None:
        if step == "cancel":
            self.write(self.scheduler.on_control(Command(job=key, action="cancel"), self.now_ms))
        elif (attempt := self.mux.get(key)) is not None and step == "redo":
            control = Command(job=key, action="redo_chunk", chunk=0, mux_attempt=attempt)
            self.write(self.scheduler.on_control(control, self.now_ms))
        elif attempt is not None and (job := self.scheduler.jobs.get(key)) and job.row.phase == "assembling":
            facts = {"id": f"p{key}", "source": "mux", "at_ms": self.now_ms, "fingerprint": job.row.fingerprint}
            self.fold(JobEvent(type="job.published", job=key, **facts))
            self.write(self.scheduler.on_control(Command(job=key, action="release", mux_attempt=attempt), self.now_ms))

    def kill(self) -> None:
        self.scheduler = Scheduler(WEIGHTS)
        self.scheduler.restore(
            [decode(Plan, raw) for key, raw in self.rows.items() if key.endswith("#plan")],
            [decode(SchedulerRow, raw) for key, raw in self.rows.items() if key.endswith("#progress")],
            accounts=[decode(Account, raw) for key, raw in self.rows.items() if key.endswith("#account")],
        )

    def summed(self, amount: str) -> dict[str, float]:
        """Of the ledger, by job, what is not 0."""
        sums: dict[str, float] = {}
        for entry in self.ledger:
            sums[entry.job] = round(sums.get(entry.job, 0) + getattr(entry, amount), 3)
        return {job: sum_s for job, sum_s in sums.items() if sum_s}

    def end_all(self) -> None:
        for number in range(1, self.jobs + 1):
            self.act("lose")
            for step in ("cancel", "release"):
                self.order(step, f"default/j{number}")
        while self.sent:
            self.act("done")

    def owed(self) -> dict[str, float]:
        spent: dict[str, float] = {}
        for made in self.reports.values():
            spent[made.rendered.job] = round(spent.get(made.rendered.job, 0) + made.rendered.device_s, 3)
        return spent

    def paid(self) -> dict[str, float]:
        paid: dict[str, float] = {}
        for used in self.metered:
            paid[used.job] = round(paid.get(used.job, 0) + used.device_s, 3)
        return {job: device_s for job, device_s in paid.items() if device_s}


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_what_is_metered_is_what_was_reported_whatever_happened(steps):
    world = _World()
    for step in steps:
        world.act(step)
    world.end_all()
    assert world.paid() == world.owed()
    assert world.summed("spent_s") == world.owed(), "the ledger is what was metered"
    assert world.summed("reserved_s") == {}, "all that was reserved is free again"
    failed = {key for key, state in world.states.items() if state.state == "failed"}
    owed = {job: device_s for job, device_s in world.owed().items() if job in failed}
    assert world.summed("refunded_s") == owed, "failed jobs cost nothing"
    # A replay adds nothing: of every report, to this scheduler and to one that starts from its rows, of every event.
    metered, entries = len(world.metered), len(world.ledger)
    for _ in range(2):
        for made in list(world.reports.values()):
            world.write(world.scheduler.on_inspected(made, world.now_ms))
        world.kill()
    for event in list(world.events):
        world.fold(event)
    assert (len(world.metered), len(world.ledger)) == (metered, entries)
    assert len({entry.id for entry in world.ledger}) == entries
    assert len({used.id for used in world.metered}) == metered


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_accounts_follow_the_rows_whatever_happens(steps):
    world = _World()
    for step in steps:
        world.act(step)
        jobs = world.scheduler.jobs.values()
        assert world.summed("reserved_s") == {j.key: j.row.reserved_s for j in jobs}, "live jobs, and no others"
        accounts = world.scheduler.accounts
        out = sum(c.state == "d" for j in jobs for c in j.row.chunks if j.row.phase == "active")
        assert accounts.running("default") <= out
        left_s = [max(0.0, j.row.reserved_s - j.progress().device_s) for j in jobs if j.row.phase == "active"]
        late_s = sum(j.row.late_device_s for j in jobs if j.row.phase == "active")
        assert sum(left_s) - late_s - 0.001 <= accounts.reserved_s("default") <= sum(left_s) + 0.001


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_whoever_waits_for_a_chunk_has_a_task_that_was_not_withdrawn(steps):
    world = _World()
    for step in steps:
        world.act(step)
        live = [job for job in world.scheduler.jobs.values() if job.row.phase == "active"]
        for chunk_id in [job.ids[i] for job in live for i, c in enumerate(job.row.chunks) if c.state == "d"]:
            out = [task for task in world.sent if task.chunk_id == chunk_id]
            assert any(not world.hit(task) for task in out), "a job waits for a task that was withdrawn"
