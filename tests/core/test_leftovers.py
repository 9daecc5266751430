"""Scratch folders of processes that are gone."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from ops.garbage import leftovers
from ops.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("shm", "tmp", "data/scratch"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    return Settings(data_dir=str(tmp_path / "data"))


def folder(path: Path, *, lock: bool) -> Path:
    path.mkdir()
    (path / "frames.rgb").write_bytes(b"x")
    if lock:
        (path / "lock").write_bytes(b"")
    return path


def test_only_what_nobody_holds_goes_and_only_when_it_is_old(settings: Settings, tmp_path: Path) -> None:
    mine = f"reelbus-render-{os.getuid()}-"
    free = [folder(tmp_path / "shm" / f"{mine}a", lock=True), folder(tmp_path / "data/scratch/mux-a", lock=True)]
    unlocked = [
        folder(tmp_path / "tmp" / "reelbus-inspect-a", lock=False),
        folder(tmp_path / "tmp" / f"{mine}b", lock=False),
    ]
    other = [
        folder(tmp_path / "tmp" / "somebody-elses", lock=False),
        folder(tmp_path / "shm" / "reelbus-render-x", lock=True),
    ]
    held = folder(tmp_path / "data/scratch/mux-b", lock=True)
    now_s = time.time()
    with (held / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert leftovers.sweep(settings, now_s=now_s) == 0
        assert leftovers.sweep(settings, now_s=now_s + 120, dry_run=True) == 2
        assert leftovers.sweep(settings, now_s=now_s + 120) == 2
        assert not any(one.exists() for one in free)
        assert leftovers.sweep(settings, now_s=now_s + 25 * 3600) == 2
        assert not any(one.exists() for one in unlocked)
        assert held.exists()
    assert all(one.exists() for one in other)
    assert leftovers.sweep(settings, now_s=now_s + 120) == 1
    assert not held.exists()


def test_a_link_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    target = folder(tmp_path / "precious", lock=True)
    (tmp_path / "data/scratch/mux-link").symlink_to(target)
    assert leftovers.sweep(settings, now_s=time.time() + 48 * 3600) == 0
    assert (target / "frames.rgb").exists()
