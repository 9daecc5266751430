"""Text in frames, read by the real network and judged by the shipped prompt policy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.errors import Fatal
from stream_processors.inspect import core, ocr
from stream_processors.inspect.edges import edge_share, to_read
from stream_processors.inspect.provider import FrameModerator, make_moderator

POLICY = "[[providers]]\nname = 'ocr'\n"


def frame(*lines: str, size_px: int = 24) -> NDArray[np.uint8]:
    """A smooth picture with lines of text on it."""
    coarse = np.random.default_rng(3).integers(60, 200, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((640, 360), Image.Resampling.BICUBIC)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size_px)
    for number, line in enumerate(lines):
        place = (40, 40 + number * 2 * size_px)
        pen.text(place, line, fill=(255, 255, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(picture)


@pytest.fixture(scope="module")
def moderator() -> FrameModerator:
    return make_moderator(core.parse_policy(POLICY))


@pytest.mark.parametrize("size_px", [10, 24, 60])
def test_text_that_a_prompt_may_not_say_blocks_the_frame(moderator: FrameModerator, size_px: int) -> None:
    verdict = moderator.judge(np.stack([frame(), frame("porn movie", size_px=size_px)]))
    assert (verdict.verdict, verdict.category, verdict.score, verdict.frames_checked) == ("block", "sexual", 1.0, 2)
    assert verdict.provider.startswith("rapidocr 3.10.0, 20"), "the prompt policy's version too"


def test_harmless_text_and_frames_without_text_are_allowed(moderator: FrameModerator) -> None:
    for shown in (frame("A QUIET MEADOW", "Open 9 to 5"), frame()):
        verdict = moderator.judge(np.stack([shown]))
        assert (verdict.verdict, verdict.category, verdict.score) == ("allow", "", 0.0)


def test_lines_are_judged_alone_and_together_as_the_texts_of_a_job_are(moderator: FrameModerator) -> None:
    together = moderator.judge(np.stack([frame("counterfeit", "money")]))
    assert (together.verdict, together.category) == ("block", "illicit")


def test_only_the_likeliest_frames_are_read_unless_the_policy_asks_for_more() -> None:
    busy, bad = frame(*["a quiet meadow by the river"] * 5), frame("porn movie")
    shown = np.stack([bad, busy])
    one, two = (make_moderator(core.parse_policy(f"{POLICY}max_frames = {count}")) for count in (1, 2))
    assert one.judge(shown).verdict == "allow"
    assert two.judge(shown).verdict == "block"
    never = make_moderator(core.parse_policy(f"{POLICY}min_edges = 0.5"))
    assert never.judge(shown).verdict == "allow"


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (8, 640), (640, 8), (33, 47)])
def test_odd_sizes_are_looked_at_too(moderator: FrameModerator, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1, *shape, 3), dtype=np.uint8)
    assert moderator.judge(noise).verdict == "allow"


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(1, 5), st.floats(0, 1))
def test_the_frames_that_are_read_are_the_ones_with_most_edges(
    shares: list[float], max_frames: int, least: float
) -> None:
    picked = to_read(shares, max_frames, least)
    assert list(picked) == sorted(set(picked))
    assert len(picked) == min(max_frames, sum(share >= least for share in shares))
    left = [share for at, share in enumerate(shares) if at not in picked and share >= least]
    assert all(shares[at] >= max(left, default=0.0) for at in picked)
    assert all(shares[at] >= least for at in picked)


def test_letters_have_edges_and_smooth_pictures_have_none() -> None:
    assert edge_share(frame()) == 0.0
    assert edge_share(frame("no", size_px=10)) > core.OcrPolicy().min_edges
    stripes = np.zeros((4, 8, 3), np.uint8)
    stripes[:, ::2] = 255
    assert edge_share(stripes) == 7 / 8


def test_altered_weights_stop_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "WEIGHTS", {"PP-OCRv6_det_small.onnx": "0" * 64})
    with pytest.raises(Fatal, match="has the sha256"):
        make_moderator(core.parse_policy(POLICY))


def test_a_prompt_policy_that_cannot_be_read_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="cannot read prompt policy"):
        make_moderator(core.parse_policy(POLICY), prompt_policy=tmp_path / "absent.toml")


def test_it_needs_no_network() -> None:
    """In a process in which nothing can be connected to."""
    code = (
        "import socket, numpy as np\n"
        "def no(*_): raise SystemExit('it wants the network')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from stream_processors.inspect import core\n"
        "from stream_processors.inspect.provider import make_moderator\n"
        f"made = make_moderator(core.parse_policy({POLICY!r}))\n"
        "print(made.judge(np.zeros((1, 64, 64, 3), np.uint8)).verdict)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "allow\n"
    assert done.stderr == ""
