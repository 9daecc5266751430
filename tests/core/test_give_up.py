"""No accepted job hangs because a record of it became a dead letter: what each stage writes then."""

from pathlib import Path
from typing import Any

import pytest

from ops.bus.burial import Burial, Unusable
from ops.settings import Settings
from ops.storage.directory import DirectoryStore
from schemas.codec import encode
from schemas.errors import Bug, Exhausted, Fatal, InvalidMessage, Poison
from schemas.events import JobEvent, JobFinished
from schemas.ids import chunk_object_key
from schemas.plan import ClearedJob
from schemas.records import Incoming, Outgoing
from schemas.request import Webhook
from schemas.topics import CHUNKS_RENDERED, MUX_TASKS, NOTIFY_LOG
from schemas.work import ChunkInspected, ChunkRendered, Command, MuxTask, ObjectRef, ReadyChunk
from stream_processors.inspect.shell import Inspector
from stream_processors.inspect.shell import proves as inspect_proves
from stream_processors.mux.shell import Muxer
from stream_processors.mux.shell import proves as mux_proves
from stream_processors.notify.shell import Notifier
from stream_processors.prioritise.shell import give_up as prioritise
from stream_processors.split.shell import give_up as split
from tests.core.plans import plan

BUG = Bug("it raised KeyError: 'our secret'")
JOB = "default/a"
CHUNK = "c" * 64


def incoming(value: bytes) -> Incoming:
    return Incoming("p.some.topic.v1", 0, 3, JOB.encode(), value, (), 7)


def event_of(out: Outgoing) -> JobEvent:
    assert isinstance(out.record, JobEvent)
    return out.record


def rendered(status: str = "rendered", **changes: Any) -> ChunkRendered:
    ref = ObjectRef(key=chunk_object_key("default", CHUNK), sha256="0" * 64, size_bytes=1)
    given: dict[str, Any] = {
        "job": JOB, "index": 0, "attempt": 1, "chunk_id": CHUNK, "pool": "cpu", "worker_id": "w", "status": status,
        "object": ref, "frames": 3, **changes,
    }  # fmt: skip
    return ChunkRendered(**given)


def cleared() -> ClearedJob:
    made = plan("a")
    return ClearedJob(job=made.job, request=made.request, fingerprint="f" * 64, requested_at_ms=1)


@pytest.mark.parametrize("stage", ["split", "prioritise"])
def test_the_job_fails_and_hears_nothing_of_our_exceptions(stage: str) -> None:
    record, give_up = {"split": (cleared(), split), "prioritise": (plan("a"), prioritise)}[stage]
    (out,) = give_up(incoming(encode(record)), BUG)
    event = event_of(out)
    assert (event.type, event.job, event.at_ms) == ("job.failed", JOB, 7)
    assert event.reason is not None
    assert event.reason.code == "internal_error"
    assert event.reason.message == f"{stage} could not process this job (bug); the operator has the record"


def test_mux_fails_the_job_and_has_the_scheduler_forget_it(tmp_path: Path) -> None:
    muxer = Muxer(DirectoryStore(tmp_path), tmp_path, 1, lambda: 9)
    made = plan("a")
    ready = tuple(ReadyChunk("0" * 64, 1) for _ in made.chunks)
    task = MuxTask(plan=made, ready=ready, attempt=2)
    said, release = muxer.give_up(incoming(encode(task)), Exhausted("disk full"))
    assert event_of(said).type == "job.failed"
    assert isinstance(release.record, Command)
    assert (release.record.action, release.record.mux_attempt) == ("release", 2)
    assert not mux_proves([said, release])


@pytest.mark.parametrize("error", [BUG, Poison("died"), Exhausted("no answer"), InvalidMessage("odd")])
def test_inspect_reports_the_chunk_as_failed_and_removes_an_object_that_does_harm(
    tmp_path: Path, error: Unusable
) -> None:
    store = DirectoryStore(tmp_path / "store")
    key = chunk_object_key("default", CHUNK)
    file = tmp_path / "chunk"
    file.write_bytes(b"x")
    store.put(key, file, "video/x-matroska")
    inspector: Any = object.__new__(Inspector)
    inspector._store = store
    (out,) = inspector.give_up(incoming(encode(rendered())), error)
    assert isinstance(out.record, ChunkInspected)
    assert (out.record.rendered.status, out.record.verdict) == ("failed", None)
    assert "inspect" in out.record.rendered.error
    assert (store.head(key) is None) == isinstance(error, Bug | Poison)
    assert not inspect_proves([out])


def test_a_webhook_that_is_given_up_is_in_the_log() -> None:
    notifier: Any = object.__new__(Notifier)
    notifier._now_ms = lambda: 9
    ended: dict[str, Any] = {
        "id": "i", "job": JOB, "job_id": "a", "tenant": "default", "state": "failed", "lane": "bulk", "model": "shapes",
        "requested_at_ms": 1, "finished_at_ms": 2, "sequence": 3,
    }  # fmt: skip
    silent, asked = JobFinished(**ended), JobFinished(**ended, webhook=Webhook(url="https://example.org/"))
    assert notifier.give_up(incoming(encode(silent)), BUG) == []
    (out,) = notifier.give_up(incoming(encode(asked)), BUG)
    assert (out.topic, out.record.outcome, out.record.attempt) == (NOTIFY_LOG, "given-up", 1)
    assert "secret" not in out.record.error


def test_what_cannot_be_read_ends_nothing_and_a_bug_in_that_stops_nothing(bare_settings: Settings) -> None:
    def broken(record: Incoming, error: Unusable) -> list[Outgoing]:
        raise KeyError("also here")

    for give_up in (split, broken):
        said, letter = Burial(bare_settings, "split", "g", give_up).bury(MUX_TASKS, incoming(b"{}"), BUG)
        assert said == ()
        assert dict(letter.headers)["reelbus.error.class"] == b"Bug"


def test_too_many_stop_the_stage_before_anything_is_said(bare_settings: Settings) -> None:
    asked: list[Incoming] = []

    def give_up(record: Incoming, error: Unusable) -> list[Outgoing]:
        asked.append(record)
        return []

    burial = Burial(bare_settings.replace(dead_letter_max_run=2), "inspect", "g", give_up)
    burial.bury(CHUNKS_RENDERED, incoming(b""), BUG)
    with pytest.raises(Fatal, match="inspect stops: 2 dead letters in a row"):
        burial.bury(CHUNKS_RENDERED, incoming(b""), BUG)
    assert len(asked) == 1
