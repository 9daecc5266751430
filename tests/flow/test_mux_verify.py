"""`reelbus verify`: what is ours is found after rough handling, what is not is not, and bad files get one sentence."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from ops.verification import Credentials, NotVerifiable, Verification
from ops.verify import verify
from producers import client
from schemas.mark_payload import payload_of
from schemas.request import Output
from stream_processors.mux.assemble import Assembled, assemble
from tests.flow.mux_clips import Draw, ball, crop, cut_out, encode_again, flat, make_plan, write_chunk
from tests.hostile.file_server import serving
from tests.hostile.tls import certificate

FRAMES = 36
WIDE = Output(width_px=640, height_px=360, fps=12)


def _make(folder: Path, draw: Draw, output: Output = WIDE) -> Assembled:
    chunk = write_chunk(folder / "chunk.mkv", FRAMES, draw)
    return assemble(make_plan([[FRAMES]], output, job_id="demo-1"), [chunk], folder, threads=1)


def _unmarked(folder: Path, draw: Draw) -> Path:
    """The same picture at the same size, by another program."""
    chunk = write_chunk(folder / "raw.mkv", FRAMES, draw)
    return encode_again(chunk, folder / "raw.mp4", 20, 5.0)


def _belongs(found: Verification) -> tuple[bool, bool, bool]:
    return found.ok, found.belongs_to("default", "demo-1"), found.belongs_to("default", "demo-2")


@pytest.mark.parametrize("draw", [ball(0), ball(255), flat(0, 0, 0)], ids=["black", "white", "nothing"])
def test_the_mark_outlives_scaling_and_encoding(draw: Draw, tmp_path: Path) -> None:
    made = _make(tmp_path, draw)
    for file in (
        made.video,
        encode_again(made.video, tmp_path / "crf28.mp4", 28),
        encode_again(made.video, tmp_path / "half.mp4", 28, 0.5),
    ):
        found = verify(file)
        assert _belongs(found) == (True, True, False)
        assert found.mark.payload == payload_of("default/demo-1")
        assert found.label == "found"
        assert found.frames == FRAMES


def test_everything_about_a_fresh_video(tmp_path: Path) -> None:
    found = verify(_make(tmp_path, ball(120)).video)
    assert (found.container, found.codec, found.width_px, found.height_px) == ("mp4", "h264", 640, 360)
    assert (found.fps, found.frames, found.duration_s) == (12.0, FRAMES, 3.0)
    assert found.aigc is not None
    assert found.aigc["ProduceID"].startswith(found.mark.job_prefix)


def test_a_clip_cut_out_of_the_middle_and_encoded_again_says_which_job(tmp_path: Path) -> None:
    made = _make(tmp_path, ball(90))
    found = verify(cut_out(made.video, tmp_path / "clip.mp4", range(13, 25), 28))
    assert _belongs(found) == (True, True, False)
    assert (found.frames, found.mark.payload) == (12, payload_of("default/demo-1"))
    assert found.mark.confidence > 2
    assert found.c2pa == Credentials(state="absent")


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("draw", [ball(0), flat(200, 180, 20)], ids=["ball", "nothing"])
def test_a_cropped_video_says_which_job(draw: Draw, share: float, tmp_path: Path) -> None:
    made = _make(tmp_path, draw)
    found = verify(crop(made.video, tmp_path / "crop.mp4", share, 23))
    assert _belongs(found) == (True, True, False)
    assert (found.width_px, found.mark.payload) == (round(640 * (1 - share) / 2) * 2, payload_of("default/demo-1"))


def test_an_address_is_fetched_and_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = _make(tmp_path, ball(90)).video.read_bytes()
    context, authority = certificate(tmp_path, ["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with serving({"/v/video.mp4?sig=secret": video}, context) as served:
        address = served.url("/v/video.mp4?sig=secret")
        assert _belongs(client.verify(address, allow_private=True)) == (True, True, False)
        asked = len(served.asked)
        for wrong, words in (
            (address, "video.mp4: the address: address 127.0.0.1 is private"),
            (address.replace("https", "http"), "video.mp4: the address: URL must begin with https://"),
            ("file:///etc/passwd", "passwd: the address: URL must begin with https://"),
        ):
            with pytest.raises(NotVerifiable, match=words) as caught:
                verify(wrong)
            assert "secret" not in str(caught.value)
        assert len(served.asked) == asked, "nobody was called"
        with pytest.raises(NotVerifiable, match=r"none\.mp4: the address: answered with status 404"):
            verify(served.url("/none.mp4"), allow_private=True)


def test_certificates_to_trust_are_read_or_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name, words in (("none.pem", "cannot read .*none.pem"), ("empty.pem", "empty.pem holds none; expected PEM")):
        with pytest.raises(NotVerifiable, match=words):
            verify(tmp_path / "video.mp4", trust=[tmp_path / name])


def test_still_pictures_can_be_verified(tmp_path: Path) -> None:
    made = _make(tmp_path, ball(60))
    for picture in (made.thumbnail, made.contact_sheet):
        found = verify(picture)
        assert _belongs(found) == (True, True, False)
        assert (found.label, found.fps, found.duration_s) == ("found", 0.0, 0.0)


@pytest.mark.parametrize("draw", [ball(0), ball(255), flat(128, 128, 128)])
def test_an_unmarked_video_is_not_ours(draw: Draw, tmp_path: Path) -> None:
    found = verify(_unmarked(tmp_path, draw))
    assert _belongs(found) == (False, False, False)
    assert (found.mark.job_prefix, found.label, found.aigc) == ("", "unknown", None)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _junk(path: Path) -> None:
    path.write_bytes(b"GIF89a" + bytes(500))


def _folder(path: Path) -> None:
    path.mkdir()


def _huge_picture(path: Path) -> None:
    """A small file that wants 585 MB when it is opened without limits (reliability notes, media)."""
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16000, 12000, "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros((12000, 16000), np.uint8), format="gray")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (None, "No such file"),
        (_nothing, "is empty"),
        (_junk, "none of the kinds that are read"),
        (_folder, "not a regular file"),
        (_huge_picture, "pixels"),
    ],
)
def test_bad_files_get_one_clear_sentence(make: Callable[[Path], None] | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    if make is not None:
        make(path)
    with pytest.raises(NotVerifiable, match=words) as caught:
        verify(path)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_video_is_called_broken(share: float, tmp_path: Path) -> None:
    whole = _make(tmp_path, ball(120)).video.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(NotVerifiable, match=r"broken after frame|cut short|cannot be opened|no frame"):
        verify(cut)
