"""Plans whose line is full are parked, and nobody else waits for them."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.topics import PLANS_PARKED
from schemas.work import Command, ParkedLine
from stream_processors.dispatch.backlog import LEAST_JOBS, PER_SLOT, line_of
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, worker
from tests.core.scheduled import WEIGHTS, answer, events, render_all, tasks

BUCKETS = 3


def parked(out: list[Outgoing]) -> list[Plan]:
    return [o.record for o in out if o.topic == PLANS_PARKED]


class Kafka:
    """plans.parked, as the shell reads it."""

    def __init__(self, window_jobs: int = LEAST_JOBS) -> None:
        self.window_jobs = window_jobs
        self.scheduler = Scheduler(WEIGHTS, buckets=BUCKETS, window_jobs=window_jobs)
        self.partitions: list[list[Plan]] = [[] for _ in range(BUCKETS)]
        self.rows: dict[str, object] = {}
        self.opened: list[str] = []

    def write(self, out: list[Outgoing]) -> list[Outgoing]:
        for one in out:
            if one.topic == PLANS_PARKED:
                self.partitions[one.partition].append(one.record)
            elif one.topic.entity == "dispatch.state":
                if one.key.endswith("#plan") and one.record is not None:
                    self.opened.append(one.record.job)
                self.rows[one.key] = one.record
        return out

    def send(self, new: Plan) -> list[Outgoing]:
        return self.write([*self.scheduler.on_plan(new, 1), *self.scheduler.backlog.rows()])

    def read(self) -> None:
        for partition in self.partitions:
            fits = self.scheduler.backlog.fitting(partition, {})
            for one in [partition.pop(0) for _ in range(fits)]:
                self.write(self.scheduler.on_parked(one, 2))
        self.write(self.scheduler.backlog.rows())

    def cancel(self, job: str) -> None:
        self.write(self.scheduler.on_control(Command(job=job, action="cancel"), 3))

    def restart(self) -> None:
        rows = self.rows.items()
        successor = Scheduler(WEIGHTS, buckets=BUCKETS, window_jobs=self.window_jobs)
        successor.restore(
            [row for key, row in rows if key.endswith("#plan") and row is not None],
            [row for key, row in rows if key.endswith("#progress") and row is not None],
            [row for key, row in rows if key.endswith("#parked") and row is not None],
        )
        self.scheduler = successor

    def counted(self) -> Counter[str]:
        return Counter(line_of(one) for partition in self.partitions for one in partition)


def test_ten_thousand_jobs_of_one_tenant_hold_up_nobody_else() -> None:
    kafka = Kafka(window_jobs=200)
    for number in range(10_000):
        kafka.send(plan(f"many-{number}", tenant="big", lane="bulk", chunks=1))
    assert len(kafka.scheduler.jobs) == 200
    assert events(kafka.send(plan("one", tenant="small", lane="bulk", chunks=1))) == ["job.queued"]
    assert "small/one" in kafka.scheduler.jobs
    kafka.scheduler.on_worker(worker(capacity=2), 10)
    assert "small/one" in {task.job for task in tasks(kafka.scheduler.tick(10))}


def test_a_job_in_a_hurry_passes_those_of_its_own_tenant_that_are_parked() -> None:
    kafka = Kafka()
    for number in range(3 * LEAST_JOBS):
        kafka.send(plan(f"many-{number}", chunks=1))
    urgent = plan("urgent", chunks=1, deadline_ms=60_000)
    assert parked(kafka.send(urgent)) == []
    assert parked(kafka.send(plan("first", chunks=1, priority=1))) == []
    kafka.scheduler.on_worker(worker(capacity=2), 10)
    assert [task.job for task in tasks(kafka.scheduler.tick(10))] == ["default/urgent", "default/first"]


def test_a_pool_without_workers_holds_up_no_other() -> None:
    kafka = Kafka()
    for number in range(3 * LEAST_JOBS):
        kafka.send(plan(f"gpu-{number}", chunks=1, pool="cuda"))
    assert parked(kafka.send(plan("here", chunks=1, pool="cpu"))) == []


def test_a_parked_job_is_queued_for_the_world_and_asked_about_when_it_has_its_turn() -> None:
    kafka = Kafka()
    jobs = [plan(f"j{number:03}", chunks=1) for number in range(LEAST_JOBS + 2)]
    told = [o.record for job in jobs for o in kafka.send(job) if o.topic.entity == "jobs.events"]
    assert [event.type for event in told] == ["job.queued"] * len(jobs)
    assert [event.progress.queue_position for event in told[LEAST_JOBS:]] == [LEAST_JOBS, LEAST_JOBS + 1]
    late = jobs[-1]
    assert kafka.write(kafka.scheduler.on_control(answer("admit", late), 2)) == []
    for job in jobs[:LEAST_JOBS]:
        kafka.cancel(job.job)
    out = kafka.scheduler.on_parked(late, 3)
    (again,) = [o.record for o in out if o.topic.entity == "jobs.events"]
    assert (again.type, again.fingerprint) == ("job.queued", late.fingerprint)
    assert again.id not in {event.id for event in told}


def test_memory_grows_with_the_workers_not_with_the_backlog() -> None:
    kafka = Kafka()
    kafka.scheduler.on_worker(worker(capacity=50), 0)
    kafka.scheduler.tick(0)
    for number in range(1_000):
        kafka.send(plan(f"j{number}", chunks=1))
    assert len(kafka.scheduler.jobs) == 4 * 50


def test_lines_share_the_window_of_their_lane_and_each_has_some() -> None:
    kafka = Kafka(window_jobs=40)
    for tenant in ("a", "b", "c", "d"):
        for number in range(60):
            kafka.send(plan(f"j{number}", tenant=tenant, chunks=1))
    live = Counter(job.plan.request.tenant for job in kafka.scheduler.jobs.values())
    assert live["d"] == 10
    assert sum(live.values()) <= 40 + 20 + 13 + 10


def test_what_may_be_parked_is_not_given_up_for_lost() -> None:
    kafka = Kafka()
    for number in range(LEAST_JOBS + 1):
        kafka.send(plan(f"j{number}", chunks=1))
    ask = Command(job=f"default/j{LEAST_JOBS}", action="expire", reason="no_progress: nothing came of it")
    assert events(kafka.scheduler.on_control(ask, 5)) == ["job.progress"]
    other = Command(job="other/x", action="expire", reason="no_progress: nothing came of it")
    assert "other/x" not in kafka.scheduler.finished
    kafka.scheduler.on_control(other, 5)
    assert "other/x" in kafka.scheduler.finished
    for number in range(LEAST_JOBS):
        kafka.cancel(f"default/j{number}")
    kafka.read()
    late = replace(ask, reason="deadline_passed: it was due")
    assert events(kafka.scheduler.on_control(late, 6)) == ["job.expired"]


def test_a_parked_job_that_is_cancelled_or_expires_never_comes() -> None:
    kafka = Kafka()
    jobs = [plan(f"j{number}", chunks=1) for number in range(LEAST_JOBS + 2)]
    for job in jobs:
        kafka.send(job)
    kafka.cancel(jobs[-1].job)
    expire = Command(job=jobs[-2].job, action="expire", reason="deadline_passed: it was due")
    kafka.write(kafka.scheduler.on_control(expire, 4))
    for job in jobs[:-2]:
        kafka.cancel(job.job)
    kafka.read()
    assert kafka.scheduler.jobs == {}
    assert kafka.scheduler.backlog.parked == {}


def test_what_was_counted_and_has_gone_holds_up_nothing() -> None:
    kafka = Kafka()
    kafka.scheduler.restore([], [], [ParkedLine(line=line_of(plan()), parked=3)])
    assert len(parked(kafka.send(plan("a")))) == 1
    kafka.scheduler.backlog.emptied(kafka.scheduler.backlog.bucket(line_of(plan())))
    assert parked(kafka.send(plan("b"))) == []


STEP = st.one_of(
    st.tuples(
        st.just("send"),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["express", "bulk"]),
        st.sampled_from([0, 0, 3]),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.sampled_from([("read",), ("restart",), ("repeat",), ("render",)]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=80), st.integers(1, 6))
def test_every_plan_is_opened_once_in_the_order_of_its_line(steps: list[tuple], window_jobs: int) -> None:
    kafka = Kafka(window_jobs)
    sent: list[Plan] = []
    cancelled: set[str] = set()
    for step in steps:
        match step:
            case ("send", tenant, lane, priority):
                sent.append(plan(f"j{len(sent):04}", tenant=tenant, lane=lane, priority=priority, chunks=1))
                kafka.send(sent[-1])
            case ("repeat",) if sent:
                kafka.send(sent[-1])
            case ("cancel", number) if number < len(sent):
                kafka.cancel(sent[number].job)
                cancelled.add(sent[number].job)
            case ("render",):
                kafka.scheduler.on_worker(worker(capacity=4), 10)
                kafka.write(render_all(kafka.scheduler))
            case ("read",):
                kafka.read()
            case ("restart",):
                kafka.restart()
        assert Counter(kafka.scheduler.backlog.parked) == kafka.counted()
        per_lane = Counter(job.plan.request.lane for job in kafka.scheduler.jobs.values())
        lines, slots = 6, 4
        assert all(count <= lines * max(window_jobs, PER_SLOT * slots) for count in per_lane.values())
    while any(kafka.partitions):
        for job in list(kafka.scheduler.jobs.values()):
            kafka.cancel(job.key)
            cancelled.add(job.key)
        kafka.read()
    by_line: dict[str, list[str]] = {}
    for one in sent:
        by_line.setdefault(line_of(one), []).append(one.job)
    first = {job: kafka.opened.index(job) for job in kafka.opened}
    assert {one.job for one in sent} - first.keys() <= cancelled
    for line in by_line.values():
        opened = [job for job in line if job in first]
        assert opened == sorted(opened, key=first.__getitem__)
    assert kafka.scheduler.backlog.parked == {}
