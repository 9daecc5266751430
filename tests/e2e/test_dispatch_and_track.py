"""The two transactional stages on the real broker: stand-by takes over, bad bytes stop nothing, replay is harmless."""

import time
from collections import Counter

import pytest
from confluent_kafka import TopicPartition
from msgspec.structs import replace

from ops.bus import clients, table
from ops.bus.sending import Outbox
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import JobEvent, JobFinished, JobState
from schemas.records import Outgoing
from schemas.reports import plan_event
from schemas.topics import (
    CHUNKS,
    CHUNKS_INSPECTED,
    DISPATCH_STATE,
    JOBS_CONTROL,
    JOBS_EVENTS,
    JOBS_FINISHED,
    JOBS_STATE,
    MUX_TASKS,
    PLANS_READY,
    WORKERS_STATE,
    DeadLetters,
)
from schemas.work import ChunkTask, Command, MuxTask
from stream_processors.dispatch.core import WINDOW_JOBS
from tests.core.plans import plan, result, worker
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running

pytestmark = pytest.mark.kafka
TIMEOUT_S = 120.0


class Rest:
    """Plays worker, inspect and mux: everything that is handed out is done at once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.outbox = Outbox(clients.producer(settings), settings.prefix, "test")
        self.consumer = clients.consumer(settings, f"{settings.prefix}.rest")
        self.consumer.subscribe([CHUNKS["cpu"].name(settings.prefix), MUX_TASKS.name(settings.prefix)])
        self.tasks: Counter[tuple[str, int]] = Counter()
        self.said_s = 0.0

    def send(self, *records: Outgoing) -> None:
        self.outbox.send(records)
        while self.outbox.waiting():
            pass

    def play(self) -> None:
        if time.monotonic() - self.said_s > 0.5:
            self.said_s = time.monotonic()
            self.send(Outgoing(WORKERS_STATE, "w0", worker(capacity=4)))
        for message in self.consumer.consume(50, 0.1):
            if "mux.tasks" in (message.topic() or ""):
                task = decode(MuxTask, message.value())
                job = task.plan.job
                event: JobEvent = plan_event("mux", "job.published", task.plan, at_ms=1)
                release = Command(job=job, action="release", mux_attempt=task.attempt)
                self.send(Outgoing(JOBS_EVENTS, job, event), Outgoing(JOBS_CONTROL, job, release))
            else:
                chunk = decode(ChunkTask, message.value())
                self.tasks[chunk.job, chunk.index] += 1
                self.send(Outgoing(CHUNKS_INSPECTED, chunk.job, result(chunk)))

    def play_until_finished(self, jobs: int) -> list[JobFinished]:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            self.play()
            finished = [decode(JobFinished, r.value) for r in read_all(self.settings, JOBS_FINISHED)]
            if len(finished) >= jobs:
                return finished
        raise AssertionError(f"{len(finished)} of {jobs} jobs finished after {TIMEOUT_S:.0f} s")


def plans(first: int, count: int) -> list[Outgoing]:
    made = [plan(f"j{n}", chunks=2, lane="bulk", requested_at_ms=n) for n in range(first, first + count)]
    return [Outgoing(PLANS_READY["bulk"], p.job, p) for p in made]


def test_a_stand_by_takes_over_and_nothing_is_done_twice(settings):
    rest = Rest(settings)
    track, dispatch = ("ops", "run", "track"), ("ops", "run", "dispatch")
    with running(settings, *track), running(settings, *dispatch) as first, running(settings, *dispatch) as second:
        rest.outbox.send_raw(PLANS_READY["bulk"].name(settings.prefix), b"k", b"\x00junk", [])
        rest.send(*plans(0, 10))
        rest.play_until_finished(3)
        # One of the two leads; killing both in turn makes sure that the leader is among them.
        first.kill()
        first.wait()
        rest.send(*plans(10, 10))
        rest.play_until_finished(20)
        with running(settings, *dispatch):
            second.kill()
            second.wait()
            rest.send(*plans(20, 5))
            finished = rest.play_until_finished(25)
    assert Counter(f.job for f in finished) == {f"default/j{n}": 1 for n in range(25)}
    assert {f.state for f in finished} == {"completed"}
    assert set(rest.tasks.values()) == {1}, "a chunk was handed out twice though none was lost"
    (letter,) = read_all(settings, DeadLetters(PLANS_READY["bulk"]))
    assert letter.value == b"\x00junk"


def test_a_tenant_with_more_jobs_than_its_window_holds_up_nobody_and_loses_none(settings):
    """The scheduler is killed while jobs are parked, and again while they are read back."""
    rest = Rest(settings)
    many = [plan(f"j{n:03}", tenant="big", chunks=1, lane="bulk") for n in range(WINDOW_JOBS + 60)]
    small = plan("one", tenant="small", chunks=1, lane="bulk")
    dispatch = ("ops", "run", "dispatch")
    with running(settings, "ops", "run", "track"):
        with running(settings, *dispatch) as first:
            rest.send(*(Outgoing(PLANS_READY["bulk"], p.job, p, partition=0) for p in (*many, small)))
            assert wait_state_named(settings, small.job, "queued")
            first.kill()
            first.wait()
        with running(settings, *dispatch) as second:
            rest.play_until_finished(WINDOW_JOBS // 2 + 20)
            second.kill()
            second.wait()
        with running(settings, *dispatch):
            finished = rest.play_until_finished(len(many) + 1)
    assert Counter(f.job for f in finished) == {p.job: 1 for p in (*many, small)}
    assert list(rest.tasks).index((small.job, 0)) < 20
    assert set(rest.tasks.values()) == {1}
    assert not [key for key in table.load(settings, DISPATCH_STATE) if key.endswith("#parked")]


def test_replaying_every_event_from_the_start_adds_no_terminal_record(settings):
    rest = Rest(settings)
    with running(settings, "ops", "run", "track"), running(settings, "ops", "run", "dispatch"):
        rest.send(*plans(0, 3))
        rest.play_until_finished(3)
    before = table.load(settings, JOBS_STATE)
    rewind(settings, "track", JOBS_EVENTS.name(settings.prefix))
    marker = plan_event("split", "job.planned", plan("marker"), at_ms=1)
    rest.send(Outgoing(JOBS_EVENTS, marker.job, marker))
    with running(settings, "ops", "run", "track"):
        wait_state(settings, marker.job)
    after = table.load(settings, JOBS_STATE)
    assert {job: after[job] for job in before} == before
    assert len(read_all(settings, JOBS_FINISHED)) == 3


def rewind(settings: Settings, stage: str, topic: str) -> None:
    """Reset a stopped group to the beginning of a topic."""
    group = clients.consumer(settings, clients.group_id(settings, stage))
    places = [TopicPartition(topic, p, 0) for p in range(table.partition_count(group, topic))]
    deadline = time.monotonic() + 60
    while True:
        try:
            group.commit(offsets=places, asynchronous=False)
            break
        except Exception:
            # The group is not empty before the session of its last member has ended.
            if time.monotonic() > deadline:
                raise
    group.close()


def wait_state(settings: Settings, job: str) -> JobState:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if raw := table.load(settings, JOBS_STATE).get(job):
            return decode(JobState, raw)
    raise AssertionError(f"no state of {job}")


def test_a_worker_that_leaves_gets_nothing_more_and_a_bad_announcement_is_a_dead_letter(settings):
    rest = Rest(settings)
    with running(settings, "ops", "run", "track"), running(settings, "ops", "run", "dispatch"):
        rest.send(*plans(0, 1))
        rest.play_until_finished(1)
        rest.outbox.send_raw(WORKERS_STATE.name(settings.prefix), b"w9", b"junk", [])
        rest.send(Outgoing(WORKERS_STATE, "w0", replace(worker("w0", capacity=4), leaving=True)))
        rest.said_s = float("inf")
        rest.send(*plans(1, 1))
        assert wait_state_named(settings, "default/j1", "queued")
    assert rest.tasks.keys() == {("default/j0", 0), ("default/j0", 1)}
    assert [letter.value for letter in read_all(settings, DeadLetters(WORKERS_STATE))] == [b"junk"]


def wait_state_named(settings: Settings, job: str, state: str) -> bool:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        raw = table.load(settings, JOBS_STATE).get(job)
        if raw and decode(JobState, raw).state == state:
            return True
    return False


def test_an_accepted_job_that_nobody_plans_ends_at_its_deadline_and_its_late_plan_is_not_rendered(settings):
    """Its end survives that track is killed before and dispatch after it was asked for."""
    rest = Rest(settings)
    late = plan("late", chunks=1, lane="bulk", deadline_ms=time.time_ns() // 1_000_000 + 2_000)
    accepted = plan_event("moderate", "job.accepted", late, at_ms=1, fingerprint=late.fingerprint)
    dispatch = ("ops", "run", "dispatch")
    with running(settings, "ops", "run", "track") as track:
        rest.send(Outgoing(JOBS_EVENTS, late.job, accepted))
        wait_state(settings, late.job)
        track.kill()
        track.wait()
    with running(settings, "ops", "run", "track"):
        with running(settings, *dispatch) as first:
            (end,) = rest.play_until_finished(1)
            first.kill()
            first.wait()
        with running(settings, *dispatch):
            rest.send(Outgoing(PLANS_READY["bulk"], late.job, late), *plans(0, 1))
            ends = rest.play_until_finished(2)
    assert (end.job, end.state, end.reason.code) == (late.job, "expired", "deadline_passed")
    assert Counter(f.job for f in ends) == {late.job: 1, "default/j0": 1}
    assert late.job not in {job for job, _ in rest.tasks}
