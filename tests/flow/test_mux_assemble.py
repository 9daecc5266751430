"""Chunk files in, finished files out: what is asked for is what comes, to the frame."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from gpu_consumers.pipelines.fake import draw_fake
from ops.media.chunk_file import encode
from ops.media.lettering import LETTER_SHARE
from schemas.chunks import total_frames
from schemas.ids import job_uid
from schemas.mark_payload import payload_of
from schemas.request import Output, Transition
from stream_processors.mux.assemble import assemble
from stream_processors.mux.check import OutputBroken, check_output
from stream_processors.mux.chunk_reader import BadChunk, read_chunk
from stream_processors.mux.find_label import FOUND_AT, label_score
from stream_processors.mux.label import plate
from stream_processors.mux.planes import Planes, planes_of
from tests.flow.mux_clips import ball, decode, flat, make_plan, write_chunk

SMALL = Output(width_px=320, height_px=180, fps=12)


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
@pytest.mark.parametrize(
    "output",
    [
        Output(width_px=480, height_px=270, fps=24),
        Output(width_px=270, height_px=480, fps=30, fit="cover"),
        Output(width_px=64, height_px=64, fps=1),
        Output(width_px=642, height_px=358, fps=60, fit="cover"),
    ],
)
def test_size_rate_and_frames_are_exact(codec: str, output: Output, tmp_path: Path) -> None:
    plan = make_plan([[5, 3], [4]], output, [Transition(after=0, duration_s=2 / output.fps)])
    chunks = [write_chunk(tmp_path / f"{i}.mkv", n, ball(40 * i), codec) for i, n in enumerate((5, 3, 4))]
    made = assemble(plan, chunks, tmp_path, threads=1)
    with av.open(str(made.video)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.width, context.height) == (output.width_px, output.height_px)
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert stream.average_rate == output.fps
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert times == [Fraction(n, output.fps) for n in range(10)]
    assert made.frames == total_frames(plan.request) == 10
    head = made.video.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat"), "the index must come first (faststart)"


def test_metadata_says_ai_and_keeps_the_prompt_to_itself(tmp_path: Path) -> None:
    plan = make_plan([[4]], SMALL)
    made = assemble(plan, [write_chunk(tmp_path / "0.mkv", 4, ball(0))], tmp_path, threads=1)
    with av.open(str(made.video)) as container:
        metadata = dict(container.metadata)
    label = json.loads(metadata["AIGC"])
    assert (label["Label"], label["ProduceID"]) == ("1", job_uid(plan.job))
    for made_file in (made.video, made.thumbnail, made.contact_sheet):
        assert b"not to be told" not in made_file.read_bytes()


def test_the_same_chunks_give_the_same_bytes(tmp_path: Path) -> None:
    plan = make_plan([[6]], SMALL)
    chunk = write_chunk(tmp_path / "0.mkv", 6, ball(90))
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made = assemble(plan, [chunk], tmp_path / name, threads=2)
        digests.add(tuple(hashlib.sha256(f.read_bytes()).hexdigest() for f in (made.video, made.contact_sheet)))
    assert len(digests) == 1


def _luma(frame: av.VideoFrame, rows: slice, columns: slice) -> float:
    return float(planes_of(frame).luma[rows, columns].mean())


def test_crossfade_mixes_by_weight(tmp_path: Path) -> None:
    output = Output(width_px=180, height_px=180, fps=12)
    plan = make_plan([[6], [6]], output, [Transition(after=0, duration_s=3 / 12)])
    black, white = flat(0, 0, 0), flat(255, 255, 255)
    chunks = [write_chunk(tmp_path / "0.mkv", 6, black), write_chunk(tmp_path / "1.mkv", 6, white)]
    frames = decode(assemble(plan, chunks, tmp_path, threads=1).video)
    levels = [_luma(frame, np.s_[60:180], np.s_[:]) for frame in frames]
    wanted = [16.0] * 3 + [16 + 219 * share for share in (0.25, 0.5, 0.75)] + [235.0] * 3
    assert levels == pytest.approx(wanted, abs=2.5)


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_colours_are_bt709_limited(codec: str, tmp_path: Path) -> None:
    path = write_chunk(tmp_path / "0.mkv", 1, flat(255, 0, 0), codec)
    picture = next(read_chunk(0, path, 1, (64, 64), SMALL))
    assert [float(plane.mean()) for plane in picture] == pytest.approx([63, 102, 240], abs=2)


def test_contain_adds_black_bars_and_cover_crops(tmp_path: Path) -> None:
    chunk = write_chunk(tmp_path / "0.mkv", 3, flat(200, 200, 200))
    for fit, edge in (("contain", 16.0), ("cover", 188.0)):
        output = Output(width_px=320, height_px=180, fps=12, fit=fit)  # type: ignore[arg-type]
        frame = decode(assemble(make_plan([[3]], output), [chunk], tmp_path, threads=1).video)[1]
        assert _luma(frame, np.s_[60:], np.s_[:40]) == pytest.approx(edge, abs=2.5)
        assert _luma(frame, np.s_[60:], np.s_[120:200]) == pytest.approx(188, abs=2.5)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("size", [(640, 360), (180, 320)])
def test_the_label_is_there_on_every_frame_and_high_enough(level: int, size: tuple[int, int], tmp_path: Path) -> None:
    output = Output(width_px=size[0], height_px=size[1], fps=12, fit="cover")
    chunk = write_chunk(tmp_path / "0.mkv", 5, flat(level, level, level))
    lumas = [planes_of(f).luma for f in decode(assemble(make_plan([[5]], output), [chunk], tmp_path, threads=1).video)]
    for luma in lumas:
        assert label_score([luma]) > FOUND_AT
        art = plate(*size)
        area = luma[art.y_px : art.y_px + art.height_px, art.x_px : art.x_px + art.width_px]
        letters = area[art.opacity == 255]
        # Contrast of the letters to the plate around them, on white too.
        assert float(letters.mean()) - float(area[area < 150].mean()) > 90
    assert plate(*size).letter_height_px >= LETTER_SHARE * min(size)
    assert label_score([np.full((size[1], size[0]), 100, np.uint8)]) < FOUND_AT / 2


@pytest.mark.parametrize("size", [(64, 64), (64, 4096), (4096, 64), (1920, 1080), (4096, 4096)])
def test_the_plate_fits_any_size(size: tuple[int, int]) -> None:
    art = plate(*size)
    assert art.x_px + art.width_px <= size[0]
    assert art.y_px + art.height_px <= size[1]
    assert art.letter_height_px >= LETTER_SHARE * min(size)
    assert all(n % 2 == 0 for n in (art.x_px, art.y_px, art.width_px, art.height_px))


def test_thumbnail_is_the_sharpest_and_the_sheet_shows_the_video(tmp_path: Path) -> None:
    plan = make_plan([[12], [12]], SMALL)
    chunks = [
        write_chunk(tmp_path / "0.mkv", 12, flat(30, 120, 30)),
        write_chunk(tmp_path / "1.mkv", 12, ball(0)),
    ]
    made = assemble(plan, chunks, tmp_path, threads=1)
    thumbnail = np.asarray(Image.open(made.thumbnail).convert("RGB")).astype(int)
    assert thumbnail.shape == (180, 320, 3)
    red = (thumbnail[..., 0] > 150) & (thumbnail[..., 1] < 90)
    assert red.mean() > 0.03, "flat green frames are less sharp than those with the square"
    sheet = np.asarray(Image.open(made.contact_sheet).convert("RGB")).astype(int)
    green = (sheet[..., 1] > 90) & (sheet[..., 0] < 70)
    assert green.mean() > 0.05
    for picture in (thumbnail, sheet):
        assert label_score([picture.mean(axis=2).astype(np.uint8)]) > FOUND_AT


def test_a_file_that_differs_from_the_request_is_not_let_through(tmp_path: Path) -> None:
    plan = make_plan([[6]], SMALL)
    made = assemble(plan, [write_chunk(tmp_path / "0.mkv", 6, ball(0))], tmp_path, threads=1)
    check_output(made.video, SMALL, 6)
    for output, frames, words in (
        (SMALL, 7, "duration"),
        (Output(width_px=322, height_px=180, fps=12), 6, "size"),
        (Output(width_px=320, height_px=180, fps=24), 6, "frame rate"),
    ):
        with pytest.raises(OutputBroken, match=words):
            check_output(made.video, output, frames)
    whole = made.video.read_bytes()
    made.video.write_bytes(whole[: len(whole) - 600])
    with pytest.raises(OutputBroken):
        check_output(made.video, SMALL, 6)
    at = whole.index(b"mdat") + 900
    made.video.write_bytes(whole[:at] + bytes(b ^ 0x5A for b in whole[at : at + 400]) + whole[at + 400 :])
    with pytest.raises(OutputBroken):
        check_output(made.video, SMALL, 6)


def test_bad_chunks_are_named(tmp_path: Path) -> None:
    plan = make_plan([[4, 4]], SMALL)
    good = write_chunk(tmp_path / "good.mkv", 4, ball(0))
    cases = {
        "3 frames where the plan has 4": write_chunk(tmp_path / "short.mkv", 3, ball(0)),
        "more frames where the plan has 4": write_chunk(tmp_path / "long.mkv", 5, ball(0)),
        "cannot be decoded after frame 0": tmp_path / "junk.mkv",
    }
    (tmp_path / "junk.mkv").write_bytes(b"junk" * 100)
    for words, bad in cases.items():
        with pytest.raises(BadChunk, match=words) as caught:
            assemble(plan, [good, bad], tmp_path, threads=1)
        assert caught.value.chunk == 1


def test_a_chunk_that_breaks_in_the_middle_stops_the_work_and_its_thread(tmp_path: Path) -> None:
    plan = make_plan([[4, 30]], SMALL)
    good = write_chunk(tmp_path / "good.mkv", 4, ball(0))
    bad = write_chunk(tmp_path / "bad.mkv", 30, ball(0), "h264")
    raw = bytearray(bad.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 300] = bytes(300)
    bad.write_bytes(bytes(raw))
    with pytest.raises(BadChunk) as caught:
        assemble(plan, [good, bad], tmp_path, threads=1)
    assert caught.value.chunk == 1


def test_planes_step_over_line_padding() -> None:
    frame = av.VideoFrame(66, 34, "yuv420p")
    planes = planes_of(frame)
    assert isinstance(planes, Planes)
    assert [p.shape for p in planes] == [(34, 66), (17, 33), (17, 33)]
    planes.luma[...] = np.arange(34, dtype=np.uint8)[:, None]
    assert np.array_equal(frame.to_ndarray()[:34], np.repeat(np.arange(34, dtype=np.uint8)[:, None], 66, axis=1))


@pytest.mark.parametrize("job_id", ["a", "b", "c", "d"])
def test_the_smallest_pictures_of_nothing_but_black_and_white_keep_the_mark(job_id: str, tmp_path: Path) -> None:
    plan = make_plan([[17]], Output(width_px=64, height_px=64, fps=24), job_id=job_id)
    frames = np.stack([draw_fake("0123abcd", index, 64, 64) for index in range(17)])
    encode(frames, 24, "ffv1", tmp_path / "0.mkv")
    made = assemble(plan, [tmp_path / "0.mkv"], tmp_path, threads=1)
    assert made.mark.payload == payload_of(plan.job)
