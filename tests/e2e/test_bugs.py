"""Bugs in dispatch and track on the real broker: a record that brings one out is buried, its job ends, others go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import TopicPartition

from ops.bus import clients, table
from ops.bus.sending import Outbox
from ops.bus.tries import Notes
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import JobFinished
from schemas.records import Outgoing
from schemas.reports import plan_event
from schemas.topics import JOBS_EVENTS, JOBS_FINISHED, PLANS_READY, DeadLetters, Topic
from tests.core.plans import plan
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running
from tests.e2e.test_dispatch_and_track import Rest
from tests.e2e.test_worker_loop import until

pytestmark = pytest.mark.kafka
BUGGY = "tests.e2e.buggy_stage"


@contextmanager
def kept_running(settings: Settings, stage: str) -> Iterator[list[int]]:
    """Starts the stage again whenever it ends. Gives the exit statuses so far."""
    ends: list[int] = []
    stop = threading.Event()

    def keep() -> None:
        while not stop.is_set():
            with running(settings, BUGGY, stage) as process:
                while process.poll() is None and not stop.wait(0.1):
                    pass
                if process.poll() is not None:
                    ends.append(process.returncode)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield ends
    finally:
        stop.set()
        thread.join()


def finished(settings: Settings) -> dict[str, tuple[str, str]]:
    """State and code of the reason of every job that ended."""
    ends = [decode(JobFinished, r.value) for r in read_all(settings, JOBS_FINISHED)]
    assert len({end.job for end in ends}) == len(ends), "a job ended twice"
    return {end.job.removeprefix("default/"): (end.state, end.reason.code if end.reason else "") for end in ends}


def letters(settings: Settings, topic: Topic) -> dict[str, bytes]:
    found = read_all(settings, DeadLetters(topic))
    return {(letter.key or b"").decode(): dict(letter.headers)["reelbus.error.code"] for letter in found}


def test_plans_at_which_the_scheduler_has_a_bug(settings: Settings) -> None:
    rest = Rest(settings)
    jobs = ("before", "bug", "deadly", "tick-bug", "after")
    made = [plan(job, lane="bulk", requested_at_ms=n) for n, job in enumerate(jobs)]
    # Nobody has accepted them unless moderate says so, and then no end is theirs.
    rest.send(*(Outgoing(JOBS_EVENTS, p.job, plan_event("moderate", "job.accepted", p, at_ms=1)) for p in made))
    rest.send(*(Outgoing(PLANS_READY["bulk"], p.job, p, partition=0) for p in made))
    with running(settings, "ops", "run", "track"), kept_running(settings, "dispatch") as ends:

        def done() -> bool:
            rest.play()
            return len(finished(settings)) == 4

        until(done, "the end of all jobs that can end", 240)
        deaths = list(ends)
    assert finished(settings) == {
        "before": ("completed", ""), "after": ("completed", ""), "bug": ("failed", "internal_error"),
        "tick-bug": ("failed", "internal_error"),
    }  # fmt: skip
    assert letters(settings, PLANS_READY["bulk"]) == {f"default/{job}": b"bug" for job in ("bug", "deadly", "tick-bug")}
    # Three for each, one when even the end of `deadly` cannot be said, one until the record behind a tick is known.
    assert len(deaths) == 3 + 4 + 4
    assert set(deaths) == {1}
    assert set(rest.tasks.values()) == {1}
    assert not any(notes_of(settings, PLANS_READY["bulk"]))


def test_events_at_which_the_fold_has_a_bug(settings: Settings) -> None:
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    events = [
        plan_event("test", kind, plan(job), at_ms=at_ms)
        for at_ms, (job, kind) in enumerate(
            (
                ("odd", "job.accepted"), ("odd", "job.published"), ("deadly", "job.published"),
                ("fine", "job.accepted"), ("fine", "job.published"),
            )
        )
    ]  # fmt: skip
    outbox.send([Outgoing(JOBS_EVENTS, e.job, e, partition=0) for e in events])
    assert outbox.producer.flush(30) == 0
    with kept_running(settings, "track") as ends:
        until(lambda: "fine" in finished(settings), "the job behind", 240)
        deaths = list(ends)
    assert finished(settings) == {"odd": ("failed", "internal_error"), "fine": ("completed", "")}
    assert letters(settings, JOBS_EVENTS) == {"default/odd": b"bug", "default/deadly": b"bug"}
    assert len(deaths) == 3 + 4
    assert not any(notes_of(settings, JOBS_EVENTS))


def notes_of(settings: Settings, topic: Topic) -> list[Notes]:
    """What is left in the metadata of the committed offsets of the stage that reads `topic`."""
    stage = "track" if topic is JOBS_EVENTS else "dispatch"
    reader = clients.consumer(settings, clients.group_id(settings, stage))
    name = topic.name(settings.prefix)
    places = [TopicPartition(name, p) for p in range(table.partition_count(reader, name))]
    found = [Notes(place.metadata) for place in reader.committed(places, timeout=30)]
    reader.close()
    return found
