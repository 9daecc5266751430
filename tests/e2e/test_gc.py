"""`reelbus gc` on the real broker: what is deleted, what is not, and what happens when it is stopped in between."""

import contextlib
import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from msgspec.structs import replace

from ops.bus import clients
from ops.bus.sending import Outbox
from ops.garbage.collecting import Report, collect
from ops.settings import Settings
from ops.storage.directory import DirectoryStore
from ops.storage.open import open_store
from ops.storage.store import Store
from schemas.chunks import chunk_keys
from schemas.codec import decode
from schemas.errors import Fatal
from schemas.events import JobEvent, JobState
from schemas.ids import chunk_object_key, job_key, video_object_key
from schemas.plan import Plan, ShotInput
from schemas.records import Outgoing
from schemas.topics import (
    DISPATCH_STATE,
    HOUR_MS,
    JOBS_CLEARED,
    JOBS_EVENTS,
    JOBS_STATE,
    PLANS_DRAFTED,
    PLANS_PARKED,
    PLANS_READY,
)
from schemas.work import SchedulerRow
from tests.conftest import MakeSettings
from tests.core.plans import plan
from tests.e2e.reading import read_all
from tests.e2e.test_cli import Shell, published, state

pytestmark = pytest.mark.kafka
TOPICS = (
    DISPATCH_STATE, JOBS_STATE, JOBS_EVENTS, *JOBS_CLEARED.values(), *PLANS_DRAFTED.values(), *PLANS_READY.values(),
    PLANS_PARKED,
)  # fmt: skip
LATER_MS = 50 * HOUR_MS
"""What is put now is old by then."""


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(TOPICS)


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def write(settings: Settings, *records: Outgoing) -> None:
    outbox = Outbox(clients.producer(settings), settings.prefix, "test")
    outbox.send(records)
    while outbox.waiting():
        pass
    assert not outbox.failures


def scheduled(of: Plan, phase: str = "active") -> list[Outgoing]:
    row = SchedulerRow(job=of.job, phase=phase, fingerprint=of.fingerprint, at_ms=1)
    return [
        Outgoing(DISPATCH_STATE, f"{of.job}#plan", of if phase in ("active", "assembling") else None),
        Outgoing(DISPATCH_STATE, f"{of.job}#progress", row),
    ]


def put(store: Store, *keys: str) -> None:
    for key in keys:
        store.put(key, key.encode(), "application/octet-stream")


def video(name: str, file: str = "video.mp4") -> str:
    return video_object_key(job_key("default", name), file)


def told_states(settings: Settings, *states: JobState) -> None:
    write(settings, *(Outgoing(JOBS_STATE, one.job, one) for one in states))


def run(settings: Settings, store: Store, later_ms: int = LATER_MS, **how: Any) -> Report:
    return collect(settings, store, now_ms() + later_ms, **how)


def test_what_live_jobs_name_stays_and_the_rest_goes(settings: Settings, store: Store) -> None:
    live, assembling, done = plan("live", chunks=2), plan("muxed", seed=1), plan("done", seed=2)
    write(settings, *scheduled(live), *scheduled(assembling, "assembling"), *scheduled(done), *scheduled(done, "done"))
    needed = {*chunk_keys(live), *chunk_keys(assembling)}
    gone = {*chunk_keys(done), chunk_object_key("x", "a" * 64)}
    put(store, *needed, *gone)
    assert run(settings, store, later_ms=47 * HOUR_MS).deleted == {}
    dry = run(settings, store, dry_run=True)
    assert dry.deleted == {"chunk_unused": 3}
    assert set(store.list("chunks/")) == needed | gone
    told: list[tuple[str, str]] = []
    report = run(settings, store, told=lambda key, why: told.append((key, why)))
    assert set(told) == {(key, "chunk_unused") for key in gone}
    assert (report.deleted, report.spared) == ({"chunk_unused": 3}, 4)
    assert set(store.list("chunks/")) == needed
    assert run(settings, store).deleted == {}


def test_videos_of_ended_and_unknown_jobs_go_after_a_day(settings: Settings, store: Store) -> None:
    told_states(settings, *(state(name, name) for name in ("completed", "cancelled", "failed", "rendering")))
    write(settings, *scheduled(plan("fresh")))
    names = ("completed", "cancelled", "failed", "rendering", "unknown", "fresh")
    put(store, *(video(name) for name in names), video("failed", "thumbnail"))
    assert run(settings, store, later_ms=23 * HOUR_MS).deleted == {}
    report = run(settings, store, later_ms=25 * HOUR_MS)
    assert report.deleted == {"video_of_ended_job": 3, "video_of_unknown_job": 1}
    assert set(store.list("videos/")) == {video(name) for name in ("completed", "rendering", "fresh")}


def test_as_long_as_track_is_behind_no_job_counts_as_unknown(settings: Settings, store: Store) -> None:
    put(store, video("unknown"))
    write(settings, Outgoing(JOBS_EVENTS, "default/unknown", JobEvent(
        id="1", source="moderate", type="job.accepted", job="default/unknown", at_ms=1)))  # fmt: skip
    (event,) = read_all(settings, JOBS_EVENTS)
    assert run(settings, store).deleted == {}
    commit(settings, "track", event.topic, event.partition, event.offset + 1)
    assert run(settings, store).deleted == {"video_of_unknown_job": 1}


def commit(settings: Settings, stage: str, topic: str, partition: int, offset: int) -> None:
    consumer = clients.consumer(settings, clients.group_id(settings, stage))
    consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    consumer.close()


def test_an_input_stays_while_its_job_waits_or_runs(settings: Settings, store: Store) -> None:
    made = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("waits", "runs", "old", "young")}
    keys = {name: chunk_object_key("default", of).replace("chunks/", "inputs/") for name, of in made.items()}
    put(store, *keys.values())
    waiting = replace(plan("waits"), inputs=(ShotInput(0, made["waits"]),))
    running = replace(plan("runs"), inputs=(ShotInput(0, made["runs"]),))
    write(settings, *scheduled(running), Outgoing(PLANS_READY["bulk"], waiting.job, waiting))
    assert run(settings, store, later_ms=23 * HOUR_MS).deleted == {}
    assert run(settings, store, later_ms=25 * HOUR_MS).deleted == {"input_unused": 2}
    assert set(store.list("inputs/")) == {keys["waits"], keys["runs"]}
    (record,) = read_all(settings, PLANS_READY["bulk"])
    commit(settings, "dispatch", record.topic, record.partition, record.offset + 1)
    assert run(settings, store, later_ms=25 * HOUR_MS).deleted == {"input_unused": 1}
    assert set(store.list("inputs/")) == {keys["runs"]}


def test_videos_past_their_promised_time_go_and_that_is_said(settings: Settings, store: Store) -> None:
    done = published(settings, "done")
    assert done.video is not None
    expiring = replace(done, video=replace(done.video, expires_at_ms=now_ms() + HOUR_MS))
    told_states(settings, expiring, replace(expiring, job="default/kept", video=done.video))
    keeping = settings.replace(video_retention_days=1)
    assert run(keeping, store, later_ms=0).expired_jobs == 0
    assert run(settings, store, later_ms=2 * HOUR_MS).expired_jobs == 0
    assert run(keeping, store, later_ms=2 * HOUR_MS, dry_run=True).expired_jobs == 1
    assert read_all(settings, JOBS_EVENTS) == []
    assert run(keeping, store, later_ms=2 * HOUR_MS).expired_jobs == 1
    (event,) = [decode(JobEvent, r.value) for r in read_all(settings, JOBS_EVENTS)]
    assert (event.type, event.job, event.reason and event.reason.code) == ("job.deleted", done.job, "expired")
    assert list(store.list("videos/")) == []


def test_killed_in_between_the_next_collection_goes_on(settings: Settings, store: Store) -> None:
    live = plan("live")
    write(settings, *scheduled(live))
    put(store, *chunk_keys(live), *(chunk_object_key("x", f"{n:064x}") for n in range(40)))
    left = len(list(store.list("chunks/")))

    class Dying(DirectoryStore):
        deletions = 0

        def delete(self, key: str) -> None:
            Dying.deletions += 1
            if Dying.deletions % 7 == 0:
                raise Killed
            super().delete(key)

    while left > len(chunk_keys(live)):
        with contextlib.suppress(Killed):
            run(settings, Dying(Path(settings.store)))
        now = len(list(store.list("chunks/")))
        assert now < left or now == len(chunk_keys(live))
        left = now
    assert set(store.list("chunks/")) == set(chunk_keys(live))


def test_a_plan_that_cannot_be_read_stops_everything(settings: Settings, store: Store) -> None:
    put(store, chunk_object_key("x", "a" * 64))
    producer = clients.producer(settings)
    producer.produce(DISPATCH_STATE.name(settings.prefix), key=b"default/a#plan", value=b"\x00\xff")
    assert producer.flush(30) == 0
    with pytest.raises(Fatal, match=r"default/a#plan.*nothing is deleted"):
        run(settings, store)
    assert len(list(store.list("chunks/"))) == 1


def test_a_store_belongs_to_one_installation(settings: Settings, store: Store, make_settings: MakeSettings) -> None:
    put(store, *(video(f"theirs-{n}") for n in range(11)))
    assert run(settings, store).unknown_videos_left == 11
    other = make_settings(TOPICS, prefix=settings.prefix + "x")
    for dry_run in (True, False):
        with pytest.raises(Fatal, match=f"kept tidy by prefix '{settings.prefix}'"):
            run(other, store, dry_run=dry_run)
    assert run(other, store, take_over=True).deleted == {}
    with pytest.raises(Fatal, match="--take-over"):
        run(settings, store)
    assert run(other, store, unknown_too=True).deleted == {"video_of_unknown_job": 11}


def test_the_command(settings: Settings, store: Store) -> None:
    shell = Shell(settings)
    old, young = chunk_object_key("x", "a" * 64), chunk_object_key("x", "b" * 64)
    put(store, old, young)
    os.utime(Path(settings.store) / old, (0, 0), follow_symlinks=False)
    out, err = shell("gc", "--dry-run")
    assert out == f"chunk_unused {old}\n"
    assert "would delete 1 chunk_unused of 2 objects" in err
    out, _ = shell("gc", "--json")
    assert json.loads(out)["deleted"] == {"chunk_unused": 1}
    assert list(store.list("chunks/")) == [young]
    assert "is a directory" in shell("gc", "lifecycle", "show", code=1)[1]
    shell.environment["REELBUS_CHUNK_RETENTION_H"] = "0"
    assert "at least 1" in shell("gc", code=2)[1]


def test_in_a_loop_it_goes_on_until_told_to_stop(settings: Settings, store: Store) -> None:
    shell = Shell(settings)
    process = shell.start("gc", "--every", "1")
    deadline_s = time.monotonic() + 90
    for name in "ab":
        key = chunk_object_key("x", name * 64)
        put(store, key)
        os.utime(Path(settings.store) / key, (0, 0), follow_symlinks=False)
        while store.head(key) is not None:
            assert process.poll() is None
            assert time.monotonic() < deadline_s
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
