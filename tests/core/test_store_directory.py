"""The directory store under races, kills, full disks and strangers' files."""

import fcntl
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from ops.storage.directory import DirectoryStore
from ops.storage.store import ObjectMissing, PutOutcome
from schemas.errors import Fatal, Transient

CREATED, EXISTED = PutOutcome.CREATED, PutOutcome.EXISTED
FILE_CALLS = {"open", "os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir"}
KEYS = [f"raced/{number}/k" for number in range(20)]


def blobs(root: Path) -> list[Path]:
    return list((root / ".objects").glob("*/*"))


def incoming(root: Path) -> list[str]:
    return os.listdir(root / ".incoming")


def killed_before_call(number: int, action: Callable[[], object]) -> bool:
    """Runs `action` in a child that SIGKILLs itself before its `number`-th file system call. False: it came to its end.

    Python announces opens, renames, links and removals to audit hooks before it does them.
    """
    child = os.fork()
    if child == 0:
        calls = count(1)

        def hook(event: str, _: object) -> None:
            if event in FILE_CALLS and next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_put_killed_anywhere_is_all_or_nothing(tmp_path: Path) -> None:
    visible = []
    for number in count(1):
        root = tmp_path / str(number)
        store = DirectoryStore(root)
        if not killed_before_call(number, partial(store.put, "a/b/k", b"pixels", "text/plain")):
            break
        store = DirectoryStore(root)
        visible.append(store.head("a/b/k") is not None)
        assert store.put("a/b/k", b"pixels", "text/plain")[0] is (EXISTED if visible[-1] else CREATED)
        assert store.read("a/b/k") == b"pixels"
        DirectoryStore(root, stale_after_s=-60)
        assert store.read("a/b/k") == b"pixels"
        assert (len(blobs(root)), incoming(root)) == (1, [])
    # The kills covered both sides of the link, which is made once: what was visible stays so.
    assert visible == sorted(visible)
    assert set(visible) == {False, True}


def test_a_delete_killed_anywhere_is_all_or_nothing(tmp_path: Path) -> None:
    visible = []
    for number in count(1):
        root = tmp_path / str(number)
        store = DirectoryStore(root)
        store.put("a/b/k", b"pixels", "text/plain")
        if not killed_before_call(number, partial(store.delete, "a/b/k")):
            break
        visible.append(store.head("a/b/k") is not None)
        if visible[-1]:
            assert store.read("a/b/k") == b"pixels"
        store.delete("a/b/k")
        DirectoryStore(root, stale_after_s=-60)
        assert (blobs(root), incoming(root)) == ([], [])
    assert visible == sorted(visible, reverse=True)
    assert set(visible) == {False, True}


def _race(root: Path, name: str, start: Any, answers: Any) -> None:
    store = DirectoryStore(root)
    for key in KEYS:
        start.wait()
        answers.put((name, key, store.put(key, name.encode(), "text/plain")[0] is CREATED))


def test_processes_racing_on_one_key_have_one_winner(tmp_path: Path) -> None:
    context, names = get_context("spawn"), ["one", "two", "three"]
    start, answers = context.Barrier(len(names)), context.Queue()
    processes = [context.Process(target=_race, args=(tmp_path, name, start, answers)) for name in names]
    for process in processes:
        process.start()
    told = [answers.get(timeout=120) for _ in range(len(names) * len(KEYS))]
    for process in processes:
        process.join()
    winners = [(key, name) for name, key, created in told if created]
    assert sorted(key for key, _ in winners) == sorted(KEYS)
    store = DirectoryStore(tmp_path)
    assert {key: store.read(key).decode() for key in KEYS} == dict(winners)
    assert (len(blobs(tmp_path)), incoming(tmp_path)) == (len(KEYS), [])


def test_puts_and_deletes_in_a_storm_leave_no_waste(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)

    def act(number: int) -> None:
        for turn in range(30):
            if (number + turn) % 2:
                store.delete("deep/er/k")
            else:
                store.put("deep/er/k", b"%d" % number, "text/plain")
            with suppress(ObjectMissing):
                assert store.read("deep/er/k") in {b"0", b"1", b"2", b"3"}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(4)))
    assert (len(blobs(tmp_path)), incoming(tmp_path)) == (len(list(store.list(""))), [])


def test_a_dangling_link_is_missing_and_one_put_replaces_it(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/k", b"lost", "text/plain")
    blobs(tmp_path)[0].unlink()
    assert store.head("a/k") is None
    assert list(store.list("")) == []
    with pytest.raises(ObjectMissing):
        store.read("a/k")
    start = Barrier(6)

    def write(number: int) -> PutOutcome:
        start.wait()
        return store.put("a/k", b"%d" % number, "text/plain")[0]

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(write, range(6)))
    assert outcomes.count(CREATED) == 1
    assert store.read("a/k") == b"%d" % outcomes.index(CREATED)
    assert (len(blobs(tmp_path)), incoming(tmp_path)) == (1, [])


def test_a_link_that_was_repaired_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    _, first = store.put("a/k", b"first", "text/plain")
    blob = blobs(tmp_path)[0]
    away = blob.rename(tmp_path / "away")
    lock = fcntl.flock

    def another_put_is_faster(file: Any, operation: int) -> None:
        lock(file, operation)
        away.rename(blob)

    monkeypatch.setattr(fcntl, "flock", another_put_is_faster)
    assert store.put("a/k", b"second", "text/plain") == (EXISTED, first)
    assert store.read("a/k") == b"first"
    assert (len(blobs(tmp_path)), incoming(tmp_path)) == (1, [])


def test_only_old_leftovers_are_swept(tmp_path: Path) -> None:
    DirectoryStore(tmp_path)
    old, young = (tmp_path / ".incoming" / f"{digit * 16}.draft" for digit in "01")
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (0, 0))
    DirectoryStore(tmp_path)
    assert incoming(tmp_path) == [young.name]


def test_a_full_disk_is_transient_and_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("fits", bytes(70_000), "text/plain")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(Transient, match="cannot store object k: File too large"):
            store.put("k", bytes(70_000), "text/plain")
        with pytest.raises(Transient, match="File too large"):
            store.fetch("fits", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.head("k") is None
    assert (len(blobs(tmp_path)), incoming(tmp_path)) == (1, [])
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(("first", "second"), [("a", "a/b/c"), ("a/b/c", "a"), ("a/b/c", "a/b")])
def test_a_key_cannot_be_a_folder_too(tmp_path: Path, first: str, second: str) -> None:
    store = DirectoryStore(tmp_path)
    store.put(first, b"x", "text/plain")
    assert store.head(second) is None
    with pytest.raises(ValueError, match=second):
        store.put(second, b"y", "text/plain")
    store.delete(second)
    assert store.read(first) == b"x"
    assert (len(blobs(tmp_path)), incoming(tmp_path)) == (1, [])


def test_strangers_files_are_no_objects_and_stay(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "outside").symlink_to("notes.txt")
    for key in ("notes.txt", "outside"):
        assert store.head(key) is None
        with pytest.raises(ObjectMissing):
            store.read(key)
        with pytest.raises(ValueError, match="foreign file"):
            store.put(key, b"x", "text/plain")
        store.delete(key)
    assert list(store.list("")) == []
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "outside").is_symlink()


def test_a_store_can_be_moved(tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "here").put("a/b/k.txt", b"x", "text/plain")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert DirectoryStore(tmp_path / "there").read("a/b/k.txt") == b"x"
    assert (tmp_path / "there" / "a" / "b" / "k.txt").read_bytes() == b"x"


def test_a_file_as_root_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Fatal, match="is a file"):
            DirectoryStore(root)


def test_deleting_the_last_object_removes_its_empty_folders(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/b/k", b"x", "text/plain")
    store.put("a/other", b"x", "text/plain")
    store.delete("a/b/k")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["other"]
