"""The render stage as a process on the real broker: it is killed, its device is killed, hangs, gets rubbish."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from gpu_consumers.pipelines.fake import read_fake
from gpu_consumers.render.shell import HELD_MOST
from ops.bus import clients
from ops.bus.table import partition_count
from ops.media import chunk_file
from ops.settings import Settings
from ops.storage.open import open_store
from schemas.codec import decode, encode
from schemas.ids import chunk_id, chunk_object_key
from schemas.plan import ChunkSpec
from schemas.topics import CHUNKS, CHUNKS_RENDERED, CHUNKS_WITHDRAWN, WORKERS_STATE, DeadLetters, Topic
from schemas.work import ChunkRendered, ChunkTask, ChunkWithdrawn, WorkerState
from tests.conftest import MakeSettings
from tests.e2e.fake_model import registry
from tests.e2e.stage_process import device_pids

pytestmark = pytest.mark.kafka

TOPICS = (CHUNKS["cpu"], CHUNKS_WITHDRAWN, CHUNKS_RENDERED, WORKERS_STATE)
PATIENCE_S = 120.0


def model(name: str, cost_s: float, steps: int = 4, codec: str = "ffv1") -> str:
    return registry(
        name=name, revision="r1", steps=steps, cost_s=cost_s, clip_frames=9, given_frames=3, codec=codec
    )  # fmt: skip


REGISTRY = (
    model("quick", 0.2)
    + model("stuck", 600.0, steps=1, codec="h264")
    + model("steady", 2.0, codec="h264")
    + model("instant", 0.005, steps=1)
    + model("slow", 40.0, codec="h264")
)
START = """
import logging, sys
from gpu_consumers.render.shell import main
from ops.settings import load
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
main(load())
"""


def spec_of(number: int, *, model: str = "quick", given: str = "", frames: int = 9) -> ChunkSpec:
    return ChunkSpec(
        tenant="default",
        model=model,
        model_revision="r1",
        prompt=f"chunk {number}",
        negative_prompt="",
        seed=number,
        steps=4,
        guidance=1.0,
        width_px=64,
        height_px=64,
        fps=8,
        first_frame=9 if given else 0,
        frames=frames - 3 if given else frames,
        given_frames=3 if given else 0,
        given_chunk=given,
    )


def task_of(number: int, spec: ChunkSpec | None = None) -> ChunkTask:
    spec = spec or spec_of(number)
    name = chunk_id(spec)
    return ChunkTask(
        job=f"default/job-{number}", index=0, attempt=1, chunk_id=name, spec=spec, lane="bulk", pool="cpu",
        dispatched_at_ms=0,
    )  # fmt: skip


class Stage:
    """Render workers of one test, and everything on its topics."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings, self.log = settings, log
        self.processes: list[subprocess.Popen[bytes]] = []
        self.reported: list[ChunkRendered] = []
        self.states: list[WorkerState] = []
        self.reader = self._reader(CHUNKS_RENDERED, WORKERS_STATE)

    def _reader(self, *topics: Topic) -> Consumer:
        reader = clients.consumer(self.settings, "unused")
        names = [topic.name(self.settings.prefix) for topic in topics]
        reader.assign([TopicPartition(n, p, 0) for n in names for p in range(partition_count(reader, n))])
        return reader

    def start(self, **changes: object) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REELBUS_")}
        environment |= self.settings.replace(**changes).environment()
        with self.log.open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def send(self, *tasks: ChunkTask | bytes, partition: int = 0) -> None:
        """Committed as one transaction, as dispatch does."""
        producer = clients.transactional_producer(self.settings, "test")
        producer.begin_transaction()
        for one in tasks:
            value = one if isinstance(one, bytes) else encode(one)
            producer.produce(CHUNKS["cpu"].name(self.settings.prefix), key=b"k", value=value, partition=partition)
        producer.commit_transaction(30)

    def withdraw(self, *tasks: ChunkTask) -> None:
        """As dispatch does when their jobs end."""
        producer = clients.transactional_producer(self.settings, "test")
        producer.begin_transaction()
        for task in tasks:
            said = ChunkWithdrawn(
                chunk_id=task.chunk_id, job=task.job, pool=task.pool, dispatched_at_ms=task.dispatched_at_ms, at_ms=1
            )
            producer.produce(
                CHUNKS_WITHDRAWN.name(self.settings.prefix), key=task.chunk_id.encode(), value=encode(said)
            )
        producer.commit_transaction(30)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Read the output topics until `done`."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > deadline_s:
                pytest.fail(f"no {what} within {PATIENCE_S:.0f} s; reported {len(self.reported)}\n{self.tail()}")
            for message in self.reader.consume(100, 0.05):
                if message.error() is None:
                    if message.topic() == WORKERS_STATE.name(self.settings.prefix):
                        self.states.append(decode(WorkerState, message.value()))
                    else:
                        self.reported.append(decode(ChunkRendered, message.value()))

    def until_reported(self, count: int) -> None:
        self.until(lambda: len({r.chunk_id for r in self.reported}) >= count, f"{count} reports")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def committed(self, partition: int = 0) -> int:
        reader = clients.consumer(self.settings, f"{self.settings.prefix}.render.cpu")
        with contextlib.closing(reader):
            place = TopicPartition(CHUNKS["cpu"].name(self.settings.prefix), partition)
            return int(reader.committed([place], timeout=30)[0].offset)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        return process.wait(PATIENCE_S)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.reader.close()


@pytest.fixture
def stage(make_settings: MakeSettings, tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "registry.toml").write_text(REGISTRY)
    made = make_settings(topics=TOPICS, registry=str(tmp_path / "registry.toml"), worker_id="w")
    stage = Stage(made, tmp_path / "render.log")
    yield stage
    stage.close()


def check_objects(stage: Stage, tasks: list[ChunkTask], tmp_path: Path) -> None:
    """Every task is reported with an object that holds exactly its frames."""
    store = open_store(stage.settings)
    reports = {r.chunk_id: r for r in stage.reported}
    for task in tasks:
        report = reports[task.chunk_id]
        assert report.object is not None, report.error
        assert report.object.key == chunk_object_key("default", task.chunk_id)
        info = store.fetch(report.object.key, tmp_path / "chunk.mkv")
        assert (info.sha256, info.size_bytes) == (report.object.sha256, report.object.size_bytes)
        pictures = chunk_file.tail(tmp_path / "chunk.mkv", report.frames)
        assert report.frames == task.spec.frames == chunk_file.count(tmp_path / "chunk.mkv")
        positions = range(task.spec.first_frame, task.spec.first_frame + task.spec.frames)
        assert [read_fake(p) for p in pictures] == [(task.chunk_id[:8], i) for i in positions]


def test_every_task_is_rendered_reported_and_committed(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start()
    tasks = [task_of(n) for n in range(8)]
    stage.send(*tasks)
    stage.until_reported(8)
    check_objects(stage, tasks, tmp_path)
    assert {r.status for r in stage.reported} == {"rendered"}
    assert all(r.device_s >= 0.2 and r.worker_id == "w" and r.attempt == 1 for r in stage.reported)

    again = [msgspec.structs.replace(t, job="default/other", attempt=2) for t in tasks[:3]]
    stage.send(*again)
    stage.until(lambda: sum(r.status == "reused" for r in stage.reported) == 3, "reuse")
    assert all(r.device_s == 0 and r.frames == 9 for r in stage.reported if r.status == "reused")

    assert stage.stop(worker) == 0
    assert stage.committed() == 8 + 1 + 3  # the first transaction's end takes an offset too
    stage.until(lambda: stage.states[-1].leaving, "farewell")
    assert device_pids(worker) == []


def test_the_announcements_say_what_the_scheduler_needs(stage: Stage) -> None:
    worker = stage.start()
    # Steps of half a second: those of the quick model follow each other faster than they are announced.
    tasks = [task_of(0, spec_of(0, model="steady")), task_of(1), task_of(2)]
    stage.send(*tasks)
    stage.until_reported(3)
    stage.until(lambda: stage.states[-1].pending == () and stage.states[-1].rendered == 3, "idle state")
    assert stage.states[-1].partitions == tuple(range(8))
    assert set(stage.states[-1].models) == {"quick", "steady"}
    assert stage.states[-1].capacity == 2
    busy = [s for s in stage.states if s.pending]
    assert busy
    assert any(0 < s.step <= s.steps == 4 for s in busy)
    assert {c for s in busy for c in s.pending} == {t.chunk_id for t in tasks}
    count = len(stage.states)
    stage.until(lambda: len(stage.states) >= count + 2, "heartbeat of an idle worker")
    assert worker.poll() is None


def test_a_worker_holds_no_more_than_it_can_announce(stage: Stage) -> None:
    worker = stage.start()
    tasks = [task_of(0, spec_of(0, model="steady")), *(task_of(n, spec_of(n, model="instant")) for n in range(1, 240))]
    for partition in (0, 1):
        stage.send(*tasks[partition::2], partition=partition)
    stage.until_reported(240)
    held = max(len(s.pending) for s in stage.states)
    assert HELD_MOST <= held < HELD_MOST + 20
    assert stage.stop(worker) == 0
    assert (stage.committed(0), stage.committed(1)) == (120, 120)


def test_a_chained_chunk_starts_from_its_predecessor_or_says_that_it_is_missing(stage: Stage, tmp_path: Path) -> None:
    stage.start()
    first = task_of(0)
    second = task_of(1, spec_of(1, given=first.chunk_id))
    orphan = task_of(2, spec_of(2, given="0" * 64))
    stage.send(first)
    stage.until_reported(1)
    stage.send(second, orphan)
    stage.until_reported(3)
    check_objects(stage, [first, second], tmp_path)
    (report,) = [r for r in stage.reported if r.chunk_id == orphan.chunk_id]
    assert (report.status, report.object) == ("failed", None)
    assert report.error.startswith("given chunk missing")


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_kill_9_of_the_worker_loses_nothing_and_leaves_no_orphan(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start()
    tasks = [task_of(n) for n in range(12)]
    stage.send(*tasks)
    stage.until_reported(3)
    (device,) = device_pids(worker)
    worker.kill()
    worker.wait()
    deadline_s = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{device}/cmdline").exists() and Path(f"/proc/{device}/cmdline").read_bytes():
        assert time.monotonic() < deadline_s, "the device process survived its parent"
        os.sched_yield()

    worker = stage.start()
    stage.until_reported(12)
    check_objects(stage, tasks, tmp_path)
    shas: dict[str, set[str]] = {}
    for report in stage.reported:
        assert report.object is not None
        shas.setdefault(report.chunk_id, set()).add(report.object.sha256)
    assert {len(s) for s in shas.values()} == {1}
    assert stage.stop(worker) == 0
    assert stage.committed() == 12


def test_kill_9_of_the_device_repeats_the_chunk(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start()
    tasks = [task_of(n) for n in range(10)]
    stage.send(*tasks)
    stage.until_reported(2)
    (device,) = device_pids(worker)
    os.kill(device, signal.SIGKILL)
    stage.until_reported(10)
    check_objects(stage, tasks, tmp_path)
    assert worker.poll() is None
    assert device_pids(worker) != [device]


def test_a_withdrawn_chunk_stops_at_the_next_step_and_the_device_goes_on(stage: Stage, tmp_path: Path) -> None:
    """Steps of 10 s: by the next one the withdrawal has long been there, however busy the machine."""
    worker = stage.start()
    running, waiting = (task_of(n, spec_of(n, model="slow")) for n in (0, 1))
    stage.send(running)
    stage.until(lambda: any(s.step for s in stage.states), "first step")
    stage.send(waiting)
    stage.until(lambda: stage.states[-1].pending == (running.chunk_id, waiting.chunk_id), "both at hand")
    step, device = stage.states[-1].step, device_pids(worker)
    stage.withdraw(running, waiting)
    stage.until_reported(2)
    reports = {r.chunk_id: r for r in stage.reported}
    assert [r.chunk_id for r in stage.reported] == [waiting.chunk_id, running.chunk_id]
    assert {r.status for r in stage.reported} == {"withdrawn"}
    assert reports[waiting.chunk_id].device_s == 0
    assert 10 < reports[running.chunk_id].device_s < 40
    assert reports[running.chunk_id].object is None
    assert max(s.step for s in stage.states) <= step + 1

    after = task_of(2)
    stage.send(after)
    stage.until_reported(3)
    check_objects(stage, [after], tmp_path)
    assert open_store(stage.settings).head(chunk_object_key("default", running.chunk_id)) is None
    assert device_pids(worker) == device
    assert stage.stop(worker) == 0
    # Each transaction's end takes an offset too.
    assert stage.committed() == 5


def test_what_was_withdrawn_before_the_worker_started_is_not_rendered(stage: Stage) -> None:
    gone = task_of(0, spec_of(0, model="slow"))
    stage.send(gone, msgspec.structs.replace(gone, job="default/other", spec=spec_of(1), chunk_id=chunk_id(spec_of(1))))
    stage.withdraw(gone)
    stage.start()
    stage.until_reported(2)
    assert {r.chunk_id: r.status for r in stage.reported} == {
        gone.chunk_id: "withdrawn", chunk_id(spec_of(1)): "rendered",
    }  # fmt: skip


def test_a_task_that_hangs_is_given_up_and_its_neighbours_are_rendered(stage: Stage, tmp_path: Path) -> None:
    stage.start(step_timeout_s=1.5)
    poison = task_of(5, spec_of(5, model="stuck"))
    others = [task_of(n) for n in range(4)]
    stage.send(*others[:2], poison, *others[2:])
    stage.until_reported(5)
    check_objects(stage, others, tmp_path)
    (report,) = [r for r in stage.reported if r.chunk_id == poison.chunk_id]
    assert report.status == "failed"
    assert report.error == "the device hung: no denoise step within 1.5 s (tried 3 times)"


def test_what_no_worker_can_render_is_reported_with_the_reason(stage: Stage) -> None:
    stage.start()
    long, unknown = task_of(0, spec_of(0, frames=99)), task_of(1, spec_of(1, model="wan"))
    stage.send(long, unknown, task_of(2))
    stage.until_reported(3)
    errors = {r.chunk_id: r.error for r in stage.reported}
    assert "frames=99" in errors[long.chunk_id]
    assert "'wan' is not in the registry" in errors[unknown.chunk_id]
    assert errors[task_of(2).chunk_id] == ""


def test_rubbish_goes_to_the_dead_letters_and_the_next_task_is_rendered(stage: Stage) -> None:
    worker = stage.start()
    stage.send(b"\x00\xffrubbish", b'{"job": 1}', task_of(0))
    stage.until_reported(1)
    assert stage.stop(worker) == 0
    assert stage.committed() == 3
    with contextlib.closing(clients.consumer(stage.settings, "unused")) as reader:
        name = DeadLetters(CHUNKS["cpu"]).name(stage.settings.prefix)
        reader.assign([TopicPartition(name, p, 0) for p in range(partition_count(reader, name))])
        letters = []
        deadline_s = time.monotonic() + PATIENCE_S
        while len(letters) < 2 and time.monotonic() < deadline_s:
            letters += [m for m in reader.consume(10, 0.1) if m.error() is None]
    assert {m.value() for m in letters} == {b"\x00\xffrubbish", b'{"job": 1}'}
    assert all(dict(m.headers())["__dlq.errors.offset"] in (b"0", b"1") for m in letters)


def test_sigterm_finishes_the_running_chunk_and_leaves_the_rest(stage: Stage, tmp_path: Path) -> None:
    worker = stage.start()
    tasks = [task_of(0, spec_of(0, model="steady")), *(task_of(n) for n in range(1, 30))]
    # Tasks that come together are prepared side by side, and any of them may be ready first.
    stage.send(tasks[0])
    stage.until(lambda: any(s.step for s in stage.states), "first step")
    stage.send(*tasks[1:])
    stage.until(lambda: bool(stage.reported) or any(len(s.pending) > 1 for s in stage.states), "more at hand")
    assert stage.stop(worker) == 0
    done = stage.committed()
    assert 1 <= done < 30
    ids = [t.chunk_id for t in tasks]
    successor = stage.start(worker_id="w2")
    stage.until(lambda: len([r for r in stage.reported if r.worker_id == "w2"]) >= 30 - done, "the rest")
    # Which of those prepared side by side is ready first is open, for both workers; what is committed is not.
    by = {w: [r.chunk_id for r in stage.reported if r.worker_id == w] for w in ("w", "w2")}
    assert by["w"][0] == ids[0]
    assert set(ids[:done]) <= set(by["w"])
    assert len(by["w"]) == len(set(by["w"])) < 30
    assert sorted(by["w2"]) == sorted(ids[done:])
    check_objects(stage, tasks[:3], tmp_path)
    assert stage.stop(successor) == 0


def test_a_second_worker_takes_over_partitions_while_work_runs(stage: Stage, tmp_path: Path) -> None:
    tasks: list[ChunkTask] = []

    def one_for_each_partition() -> None:
        for partition in range(8):
            tasks.append(task_of(len(tasks)))
            stage.send(tasks[-1], partition=partition)

    stage.start()
    one_for_each_partition()
    stage.start(worker_id="w2")
    while not any(s.worker_id == "w2" and s.partitions for s in stage.states):
        one_for_each_partition()
        stage.until_reported(len(tasks) - 8)
    one_for_each_partition()
    stage.until_reported(len(tasks))
    check_objects(stage, tasks, tmp_path)
    assert {r.worker_id for r in stage.reported} == {"w", "w2"}
    stage.until(lambda: all(not s.pending for s in stage.states[-4:]), "rest")
    owned = {s.worker_id: set(s.partitions) for s in stage.states}
    assert owned["w"] | owned["w2"] == set(range(8))
    assert not owned["w"] & owned["w2"]


def test_models_are_warm_before_the_first_task(stage: Stage) -> None:
    stage.start()
    stage.until(lambda: bool(stage.states) and set(stage.states[-1].models) == {"quick", "stuck"}, "warm models")


def test_a_worker_without_a_model_for_its_pool_says_so(stage: Stage) -> None:
    worker = stage.start(pool="cuda")
    assert worker.wait(PATIENCE_S) != 0
    assert "is for pool 'cuda'" in stage.log.read_text()


def test_a_model_folder_with_another_digest_stops_the_worker(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.safetensors").write_bytes(np.zeros(8, np.uint8).tobytes())
    changed = REGISTRY.replace('family = "fake"', 'family = "ltx"', 1).replace(
        'source = "none"', 'source = "weights"', 1
    )
    (tmp_path / "registry.toml").write_text(changed)
    worker = stage.start()
    stage.send(task_of(0))
    assert worker.wait(PATIENCE_S) != 0
    assert "has digest" in stage.log.read_text()
    assert stage.committed() < 0
