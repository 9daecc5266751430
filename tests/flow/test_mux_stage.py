"""The stage without a broker: a task in, records out, objects in a real directory store."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificates

from ops.storage.directory import DirectoryStore
from ops.verify import verify
from schemas.chunks import chunk_keys
from schemas.codec import encode
from schemas.errors import InvalidMessage, Transient
from schemas.events import JobEvent, Video
from schemas.ids import video_object_key
from schemas.mark_keys import MasterKey
from schemas.plan import Plan
from schemas.records import Incoming, Outgoing
from schemas.request import Output, Shot
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS
from schemas.work import Command, MuxTask, ReadyChunk
from stream_processors.mux.scratch import scratch, sweep
from stream_processors.mux.seal import Seal
from stream_processors.mux.shell import Muxer
from tests.flow.c2pa_keys import opened, root_of, with_command, with_key, write_keys
from tests.flow.mux_clips import ball, make_plan, write_chunk

OUTPUT = Output(width_px=320, height_px=180, fps=12)
NAMES = ("video.mp4", "thumbnail.jpg", "contact-sheet.png")


@dataclass
class Bench:
    """A muxer, its store and a job of two rendered chunks."""

    folder: Path
    store: DirectoryStore = field(init=False)
    plan: Plan = field(init=False)
    ready: list[ReadyChunk] = field(default_factory=list)
    clock_ms: int = 1000
    seal: Seal | None = None
    mark_key: MasterKey | None = None

    def __post_init__(self) -> None:
        self.store = DirectoryStore(self.folder / "store")
        self.plan = make_plan([[6, 4]], OUTPUT, job_id="job-1")
        for index, key in enumerate(chunk_keys(self.plan)):
            self.ready.append(self.put_chunk(index, key))

    def put_chunk(self, index: int, key: str, frames: int | None = None, background: int = 200) -> ReadyChunk:
        path = self.folder / f"rendered-{index}.mkv"
        write_chunk(path, frames or self.plan.chunks[index].frames, ball(background))
        _, info = self.store.put(key, path, "video/x-matroska")
        return ReadyChunk(info.sha256, info.size_bytes)

    def key(self, index: int) -> str:
        return chunk_keys(self.plan)[index]

    def handle(self, attempt: int = 1, plan: Plan | None = None) -> list[Outgoing]:
        muxer = Muxer(self.store, self.folder / "scratch", 1, self.now_ms, seal=self.seal, mark_key=self.mark_key)
        task = MuxTask(plan=plan or self.plan, ready=tuple(self.ready), attempt=attempt)
        record = Incoming("mux.tasks", 0, 0, task.plan.job.encode(), encode(task), (), 0)
        done = list(muxer.handle(record))
        assert list((self.folder / "scratch").glob("*")) == [], "scratch must be empty after every task"
        return done

    def now_ms(self) -> int:
        self.clock_ms += 1
        return self.clock_ms

    def published(self) -> list[str]:
        return [name for name in NAMES if self.store.head(video_object_key(self.plan.job, name))]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _video(records: list[Outgoing]) -> Video:
    event, release = (outgoing.record for outgoing in records)
    assert isinstance(event, JobEvent)
    assert isinstance(release, Command)
    assert [outgoing.topic for outgoing in records] == [JOBS_EVENTS, JOBS_CONTROL]
    assert (event.type, event.source, release.action) == ("job.published", "mux", "release")
    assert event.video is not None
    return event.video


def _redo(records: list[Outgoing]) -> dict[int, str]:
    found = {}
    for outgoing in records:
        assert outgoing.topic == JOBS_CONTROL
        assert isinstance(outgoing.record, Command)
        assert (outgoing.record.action, outgoing.record.mux_attempt) == ("redo_chunk", 7)
        found[outgoing.record.chunk] = outgoing.record.reason
    return found


def test_a_job_is_published_and_its_objects_are_what_the_event_says(bench: Bench, tmp_path: Path) -> None:
    video = _video(bench.handle(attempt=2))
    assert (video.frames, video.width_px, video.height_px, video.fps) == (10, 320, 180, 12)
    for ref in (video.file, video.thumbnail, video.contact_sheet):
        info = bench.store.fetch(ref.key, tmp_path / "got")
        assert (info.sha256, info.size_bytes) == (ref.sha256, ref.size_bytes)
    bench.store.fetch(video.file.key, tmp_path / "got.mp4")
    found = verify(tmp_path / "got.mp4")
    assert found.belongs_to("default", "job-1")
    assert found.mark.payload == video.provenance.mark_payload


def test_with_a_master_key_the_mark_is_of_the_jobs_tenant(bench: Bench, tmp_path: Path) -> None:
    bench.mark_key = MasterKey(b"k" * 32)
    keys = tmp_path / "mark.keys"
    keys.write_text(bench.mark_key.secret.hex())
    keys.chmod(0o600)
    video = _video(bench.handle())
    bench.store.fetch(video.file.key, tmp_path / "got.mp4")
    assert not verify(tmp_path / "got.mp4").ok
    found = verify(tmp_path / "got.mp4", mark_key_file=keys, tenants=["acme", "default"])
    assert (found.mark.tenant, found.mark.payload) == ("default", video.provenance.mark_payload)
    bench.mark_key = MasterKey(b"l" * 32)
    assert _video(bench.handle()) == video, "what is published stays, whatever the key is now"


def test_a_second_delivery_adopts_what_is_there(bench: Bench) -> None:
    first = bench.handle()
    for key in chunk_keys(bench.plan):
        bench.store.delete(key)
    again = bench.handle()
    assert _video(again) == _video(first), "no chunk is needed any more, and nothing is made twice"
    events = [records[0].record for records in (first, again)]
    assert all(isinstance(e, JobEvent) for e in events)
    assert events[0].id == events[1].id  # type: ignore[union-attr]


def test_a_run_killed_before_the_video_is_put_is_finished_by_the_next(bench: Bench) -> None:
    first = _video(bench.handle())
    bench.store.delete(first.file.key)
    assert bench.published() == ["thumbnail.jpg", "contact-sheet.png"]
    assert _video(bench.handle()) == first


def test_signed_files_are_published_and_the_first_writer_wins(bench: Bench, tmp_path: Path) -> None:
    """No two signatures are the same, so two runs make two videos: one is published, and both say which."""
    keys = write_keys(tmp_path / "keys")
    bench.seal = opened(with_key(keys))
    task = MuxTask(plan=bench.plan, ready=tuple(bench.ready), attempt=1)
    first, second = (Muxer(bench.store, tmp_path / "scratch", 1, bench.now_ms, seal=bench.seal) for _ in range(2))
    published = [_video(muxer._make(task)) for muxer in (first, second)]
    assert published[0] == published[1]
    for ref in (published[0].file, published[0].thumbnail, published[0].contact_sheet):
        bench.store.fetch(ref.key, tmp_path / "got")
        found = verify(tmp_path / "got", trust=[root_of(keys)])
        assert (found.c2pa.state, found.belongs_to("default", "job-1")) == ("trusted", True)
    bench.store.delete(published[0].file.key)
    other = _video(bench.handle())
    info = bench.store.head(other.file.key)
    assert info is not None
    assert (other.file.sha256, other.thumbnail) == (info.sha256, published[0].thumbnail)


def test_it_says_whose_key_signed_what_is_published_also_when_another_key_is_there_by_now(
    bench: Bench, tmp_path: Path
) -> None:
    ours, theirs = (opened(with_key(write_keys(tmp_path / name))) for name in ("ours", "theirs"))
    bench.seal = ours
    made = _video(bench.handle()).provenance
    pem = (tmp_path / "ours" / "certificates.pem").read_bytes()
    leaf = load_pem_x509_certificates(pem)[0]
    assert made.certificate_sha256 == leaf.fingerprint(SHA256()).hex()
    assert made.certificate_name == ours.signer.chain.name
    assert _video(bench.handle()).provenance == made, "read from the file"
    for seal in (theirs, None):
        bench.seal = seal
        found = _video(bench.handle()).provenance
        assert (found.certificate_sha256, found.certificate_name) == ("", ours.signer.chain.name)


def test_it_says_that_nobody_signed(bench: Bench, tmp_path: Path) -> None:
    first = _video(bench.handle()).provenance
    bench.seal = opened(with_key(write_keys(tmp_path / "keys")))
    again = _video(bench.handle()).provenance
    assert (first.certificate_sha256, first.certificate_name) == ("none", "")
    assert again == first, "what is published stays unsigned, whatever key there is by now"


def test_nothing_is_published_while_the_key_is_out_of_reach_or_another_one(bench: Bench, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys")
    bench.seal = opened(with_command(keys))
    (keys / "down").touch()
    with pytest.raises(Transient, match="the key service is away"):
        bench.handle()
    assert bench.published() == []
    (keys / "down").unlink()
    right = (keys / "key.pem").read_bytes()
    (keys / "key.pem").write_bytes((write_keys(tmp_path / "other") / "key.pem").read_bytes())
    with pytest.raises(Transient, match=r"is not accepted \(claimSignature.mismatch"):
        bench.handle()
    assert bench.published() == []
    (keys / "key.pem").write_bytes(right)
    assert _video(bench.handle()).frames == 10


def test_a_missing_chunk_is_asked_for_again(bench: Bench) -> None:
    bench.store.delete(bench.key(1))
    assert _redo(bench.handle(attempt=7)) == {1: "its object is gone"}
    assert bench.published() == []


def test_a_corrupt_chunk_is_deleted_and_asked_for_again(bench: Bench) -> None:
    whole = bench.store.read(bench.key(0))
    damaged = 0
    for file in (bench.folder / "store").rglob("*"):
        if file.is_file() and file.read_bytes() == whole:
            file.chmod(0o644)
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            damaged += 1
    assert damaged == 1
    reasons = _redo(bench.handle(attempt=7))
    assert list(reasons) == [0]
    assert "sha256" in reasons[0]
    assert bench.store.head(bench.key(0)) is None, "the next worker must render it, not adopt it"
    assert bench.published() == []
    bench.ready[0] = bench.put_chunk(0, bench.key(0))
    assert _video(bench.handle(attempt=8)).frames == 10


def test_another_object_than_was_rendered_is_reported_and_kept(bench: Bench) -> None:
    bench.store.delete(bench.key(0))
    other = bench.put_chunk(0, bench.key(0), background=10)
    assert "another one" in _redo(bench.handle(attempt=7))[0]
    assert bench.store.head(bench.key(0)) is not None
    bench.ready[0] = other
    assert _video(bench.handle(attempt=8)).frames == 10


def test_chunks_with_wrong_frames_or_undecodable_are_deleted(bench: Bench) -> None:
    for index, raw in ((0, None), (1, b"not a video")):
        bench.store.delete(bench.key(index))
        if raw is None:
            bench.ready[index] = bench.put_chunk(index, bench.key(index), frames=3)
        else:
            _, info = bench.store.put(bench.key(index), raw, "video/x-matroska")
            bench.ready[index] = ReadyChunk(info.sha256, info.size_bytes)
    reasons = _redo(bench.handle(attempt=7))
    assert "3 frames where the plan has 6" in reasons[0]
    assert "not a readable Matroska" in reasons[1]
    assert [bench.store.head(bench.key(i)) for i in (0, 1)] == [None, None]


def test_a_plan_that_cannot_be_assembled_ends_the_job(bench: Bench) -> None:
    longer = msgspec.structs.replace(bench.plan.request, shots=(Shot(prompt="p", duration_s=9),))
    event, release = (o.record for o in bench.handle(plan=msgspec.structs.replace(bench.plan, request=longer)))
    assert isinstance(event, JobEvent)
    assert isinstance(release, Command)
    assert event.reason is not None
    assert (event.type, event.reason.code, release.action) == ("job.failed", "assembly_failed", "release")
    assert "cover 10 of 108 frames of shot 0" in event.reason.message
    assert bench.published() == []


def test_a_record_that_is_no_task_is_a_dead_letter(bench: Bench) -> None:
    muxer = Muxer(bench.store, bench.folder / "scratch", 1, bench.now_ms)
    task = MuxTask(plan=bench.plan, ready=tuple(bench.ready), attempt=1)
    for key, value in ((b"default/job-1", b"\x00junk"), (b"default/job-1", None), (b"other/job", encode(task))):
        with pytest.raises(InvalidMessage):
            muxer.handle(Incoming("mux.tasks", 0, 0, key, value, (), 0))


def test_scratch_of_a_dead_process_is_swept_and_of_a_living_one_is_not(tmp_path: Path) -> None:
    dead = tmp_path / "mux-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "chunk-0.mkv").write_bytes(b"x")
    with scratch(tmp_path) as living:
        assert sweep(tmp_path) == 1
        assert living.is_dir()
        assert not dead.exists()
    assert not living.exists()
