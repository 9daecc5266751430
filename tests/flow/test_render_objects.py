"""What render asks of the object store: reuse, adopt, start from the predecessor, replace what is broken."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gpu_consumers.pipelines.fake import draw_fake
from gpu_consumers.render.actions import Reuse, Unusable, Usable
from gpu_consumers.render.objects import ChunkObjects
from gpu_consumers.render.scratch import Scratch, read_frames, write_frames
from ops.media import chunk_file
from ops.storage.directory import DirectoryStore
from schemas.ids import chunk_object_key
from schemas.work import ChunkTask
from tests.core.test_render_core import task


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    (tmp_path / "scratch").mkdir()
    made = Scratch(0, [tmp_path / "scratch"])
    yield made
    made.close()


def frames_of(made: ChunkTask) -> chunk_file.Frames:
    return np.stack([draw_fake("0badcafe", i, 64, 64) for i in range(made.spec.frames)])


def put(store: DirectoryStore, scratch: Scratch, made: ChunkTask) -> None:
    write_frames(scratch.path("9.0.rgb"), frames_of(made))
    ChunkObjects(store, scratch).put(9, made, "9.0.rgb", "ffv1")
    scratch.release(9)


def key_of(made: ChunkTask) -> str:
    return chunk_object_key("t", made.chunk_id)


def damage(tmp_path: Path, store: DirectoryStore, key: str) -> None:
    """Overwrite an object behind the store's back: a directory keeps an object as a file of that name."""
    found = tmp_path / "store" / key
    found.chmod(0o644)
    with found.open("r+b") as file:
        file.seek(store.head(key).size_bytes // 2)
        file.write(b"damaged!")


def test_a_chunk_that_is_not_there_is_rendered_from_nothing(store: DirectoryStore, scratch: Scratch) -> None:
    assert ChunkObjects(store, scratch).prepare(1, task("a")) == Usable("")


def test_a_chunk_that_is_there_is_reused(store: DirectoryStore, scratch: Scratch) -> None:
    put(store, scratch, task("a"))
    outcome = ChunkObjects(store, scratch).prepare(1, task("a"))
    assert isinstance(outcome, Reuse)
    assert outcome.ref.sha256 == store.head(key_of(task("a"))).sha256
    assert isinstance(ChunkObjects(store, scratch).prepare(1, task("a", attempt=2)), Reuse)


def test_the_second_put_reports_the_first_ones_object(store: DirectoryStore, scratch: Scratch) -> None:
    objects = ChunkObjects(store, scratch)
    write_frames(scratch.path("1.0.rgb"), frames_of(task("a")))
    write_frames(scratch.path("2.0.rgb"), 255 - frames_of(task("a")))
    first = objects.put(1, task("a"), "1.0.rgb", "ffv1")
    assert objects.put(2, task("a"), "2.0.rgb", "ffv1") == first


def test_the_given_frames_are_the_predecessors_last(store: DirectoryStore, scratch: Scratch) -> None:
    before = task("before")
    put(store, scratch, before)
    outcome = ChunkObjects(store, scratch).prepare(3, task("a", given=2))
    assert isinstance(outcome, Usable)
    given = read_frames(scratch.path(outcome.given), 2, 64, 64)
    assert np.array_equal(given, frames_of(before)[-2:])


def test_a_predecessor_that_is_missing_is_named(store: DirectoryStore, scratch: Scratch) -> None:
    outcome = ChunkObjects(store, scratch).prepare(3, task("a", given=2))
    assert isinstance(outcome, Unusable)
    assert outcome.error.startswith("given chunk missing: there is no object chunks/")


def test_a_damaged_predecessor_is_removed_so_that_it_can_be_rendered_again(
    store: DirectoryStore, scratch: Scratch, tmp_path: Path
) -> None:
    put(store, scratch, task("before"))
    damage(tmp_path, store, key_of(task("before")))
    outcome = ChunkObjects(store, scratch).prepare(3, task("a", given=2))
    assert isinstance(outcome, Unusable)
    assert outcome.error.startswith("given chunk missing")
    assert store.head(key_of(task("before"))) is None


def test_a_repeated_task_does_not_reuse_a_damaged_object(
    store: DirectoryStore, scratch: Scratch, tmp_path: Path
) -> None:
    put(store, scratch, task("a"))
    damage(tmp_path, store, key_of(task("a")))
    assert ChunkObjects(store, scratch).prepare(1, task("a", attempt=2)) == Usable("")
    assert store.head(key_of(task("a"))) is None


def test_a_repeated_task_does_not_reuse_an_object_with_too_few_frames(store: DirectoryStore, scratch: Scratch) -> None:
    chunk_file.encode(frames_of(task("a"))[:3], 8, "ffv1", scratch.path("short.mkv"))
    store.put(key_of(task("a")), scratch.path("short.mkv"), chunk_file.CONTENT_TYPE)
    assert ChunkObjects(store, scratch).prepare(1, task("a", attempt=2)) == Usable("")


def test_no_scratch_file_is_left(store: DirectoryStore, scratch: Scratch) -> None:
    put(store, scratch, task("before"))
    ChunkObjects(store, scratch).prepare(3, task("a", given=2))
    scratch.release(3)
    assert [p.name for p in scratch.folder.iterdir()] == ["lock"]


def test_the_folder_of_a_dead_worker_is_removed_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    live, dead = Scratch(0, [tmp_path]), Scratch(0, [tmp_path])
    dead._lock.close()
    newcomer = Scratch(0, [tmp_path])
    assert (live.folder.exists(), dead.folder.exists()) == (True, False)
    live.close()
    newcomer.close()
    assert list(tmp_path.iterdir()) == []


def test_scratch_avoids_a_place_without_room(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "disk").mkdir()
    made = Scratch(10**18, [tmp_path / "small", tmp_path / "disk"])
    assert made.folder.parent.name == "disk"
    made.close()
