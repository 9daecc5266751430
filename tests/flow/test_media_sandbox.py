"""Foreign pictures and clips: good ones come out as they look, hostile ones cost a child and nothing else."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from ops.media import decoding
from ops.media.decoding import NotDecodable, Picture, decode
from tests.hostile import bad_media, good_media

SIDE = 32
MOST_RSS_BYTES, MOST_CPU_S, MOST_PARENT_GROWTH_BYTES = 400 << 20, 5.5, 20 << 20


def _shown(picture: Picture, width_px: int, height_px: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.frombuffer(picture.rgb, np.uint8).reshape(height_px, width_px, 3)


@pytest.mark.parametrize("name", sorted(good_media.good()))
def test_a_good_file_comes_out_as_it_looks(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(good_media.good()[name])
    picture = decode(path, SIDE, SIDE)
    found, right = _shown(picture, SIDE, SIDE).astype(int), good_media.pattern(SIDE, SIDE).astype(int)
    if name.startswith("grey"):
        right = right @ np.array([[0.299] * 3, [0.587] * 3, [0.114] * 3])
    # The edge between the colours is blurred by chroma subsampling.
    kept = [*range(SIDE // 2 - 3), *range(SIDE // 2 + 3, SIDE)]
    assert np.abs(found - right)[kept].mean() < 8, "colour, place and direction"
    assert "system-calls" in picture.source.guards or sys.platform != "linux"
    assert picture.source.peak_rss_bytes < MOST_RSS_BYTES


def test_it_fills_the_size_and_the_middle_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    wide = np.zeros((40, 160, 3), np.uint8)
    wide[:, 60:100] = (10, 200, 30)
    path.write_bytes(good_media.still("png", wide, "rgb24"))
    shown = _shown(decode(path, 20, 20), 20, 20)
    assert (np.abs(shown.astype(int) - (10, 200, 30)) < 3).all()


@pytest.fixture(scope="module")
def parent() -> Iterator[psutil.Process]:
    """This process, once it has done everything that it does for a file."""
    return psutil.Process()


@pytest.mark.parametrize("name", bad_media.REFUSED | bad_media.HARMLESS)
def test_a_hostile_file_costs_little(name: str, tmp_path: Path, parent: psutil.Process) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        (bad_media.REFUSED | bad_media.HARMLESS)[name](file)
    before = parent.memory_info().rss
    try:
        picture = decode(path, SIDE, SIDE)
    except NotDecodable as refusal:
        source, used = refusal.source, refusal.used
    else:
        assert name in bad_media.HARMLESS, f"{name} must be refused"
        assert len(picture.rgb) == SIDE * SIDE * 3
        source, used = picture.source, picture.used
    finally:
        path.unlink()
    assert parent.memory_info().rss - before <= MOST_PARENT_GROWTH_BYTES
    if source is not None and used is not None:  # else a limit killed it
        assert source.peak_rss_bytes <= MOST_RSS_BYTES
        assert used.cpu_s <= MOST_CPU_S


def test_there_are_enough_of_them() -> None:
    assert len(bad_media.REFUSED) >= 60


def test_without_limits_the_bomb_would_go_off(tmp_path: Path) -> None:
    """The checks above can fail: with pixels unlimited, the same child runs into its memory or time."""
    path = tmp_path / "bomb.png"
    with path.open("wb") as file:
        bad_media.REFUSED["16000 x 12000 png"](file)
    with pytest.raises(NotDecodable, match=r"MiB of memory|processor time|crashed|Cannot allocate"):
        decode(path, SIDE, SIDE, max_pixels=2**31 - 1)


_ESCAPES = {
    "a socket": "socket.create_connection(('127.0.0.1', PORT), 5)",
    "a socket of another family": "socket.socket(socket.AF_UNIX)",
    "a file to read": "open('/etc/hostname').read()",
    "a file to write": "open('/tmp/reelbus-escape', 'w')",
    "a program": "os.execv('/bin/true', ['true'])",
    "a process": "os.fork()",
    "a signal to the parent": "os.kill(os.getppid(), 0)",
    "a folder": "os.mkdir('/tmp/reelbus-escape')",
    "memory": "bytearray(400 << 20)",
}
_TRY = """
import os, socket, sys
sys.path.insert(0, {root!r})
from ops.sandbox import lockdown
lockdown.apply(lockdown.Limits(memory_bytes=320 << 20, cpu_s=5, wall_s=9, output_bytes=99))
print(*lockdown.lock("decoding"), flush=True)
PORT = {port}
try:
    {attempt}
except (OSError, MemoryError) as exc:
    print("refused:", type(exc).__name__, flush=True)
else:
    print("done", flush=True)
os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux'")
@pytest.mark.parametrize("what", _ESCAPES)
def test_code_that_took_the_decoder_over_gets_nowhere(what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sink:
        code = _TRY.format(
            root=str(decoding.__file__).rsplit("/", 3)[0], port=sink.getsockname()[1], attempt=_ESCAPES[what]
        )
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
        sink.setblocking(False)
        with pytest.raises(BlockingIOError):
            sink.accept()
    guards, outcome = done.stdout.splitlines()
    assert "system-calls" in guards.split()
    assert outcome.startswith("refused")
    assert not os.path.lexists("/tmp/reelbus-escape")


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("short", "12 bytes, 3072 were expected"),
        ("long", "answered with more than"),
        ("junk", "makes no sense"),
        ("hang", "no answer within"),
        ("die", "gave up"),
    ],
)
def test_a_decoder_that_was_taken_over_is_not_believed(
    lie: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text(lie)
    monkeypatch.setattr(decoding, "CHILD", "tests.hostile.lying_child")
    monkeypatch.setattr(decoding, "WALL_S", 3.0 if lie == "hang" else 30.0)
    with pytest.raises(NotDecodable, match=words):
        decode(path, SIDE, SIDE)
