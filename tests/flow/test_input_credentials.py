"""Content credentials of callers' pictures: from the file through intake into the published video."""

import io
import json
from pathlib import Path

import c2pa
import pytest
from msgspec.structs import replace

from ops.media import credentials
from ops.media.credentials import PURPOSES
from ops.media.opening import TINY_PNG
from ops.storage.directory import DirectoryStore
from ops.verify import verify
from schemas.chunks import chunk_keys
from schemas.codec import encode
from schemas.events import JobEvent, Video
from schemas.ids import credentials_object_key
from schemas.plan import Plan, ShotInput
from schemas.records import Incoming
from schemas.request import Media
from schemas.work import MuxTask, ReadyChunk
from stream_processors.mux.carried import carried
from stream_processors.mux.seal import Seal
from stream_processors.mux.shell import Muxer
from tests.flow.c2pa_keys import CAMERA, SMALL, blue, opened, root_of, signed_picture, with_key, write_keys
from tests.flow.mux_clips import ball, make_plan, write_chunk


@pytest.mark.parametrize("purpose", PURPOSES[-1:])
def test_a_cameras_certificate_may_be_for_cameras(purpose: str, tmp_path: Path) -> None:
    """c2pa by itself refuses what the C2PA trust list's certificates are for."""
    seal = opened(with_key(write_keys(tmp_path / "keys", purpose=purpose)))
    with c2pa.Reader(credentials.CONTENT_TYPE, io.BytesIO(kept(tmp_path, signed_picture(seal, "png")))) as reader:
        found = json.loads(reader.json())
    (ingredient,) = found["manifests"][found["active_manifest"]]["ingredients"]
    failures = ingredient["validation_results"]["activeManifest"]["failure"]
    assert [each["code"] for each in failures] == ["signingCredential.untrusted"]


def kept(folder: Path, data: bytes) -> bytes:
    file = folder / "file"
    file.write_bytes(data)
    return credentials.ingredient(file)


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Seal:
    return opened(with_key(write_keys(tmp_path_factory.mktemp("camera") / "keys")))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_credentials_of_a_picture_are_kept(kind: str, camera: Seal, tmp_path: Path) -> None:
    made = kept(tmp_path, signed_picture(camera, kind))
    with c2pa.Reader(credentials.CONTENT_TYPE, io.BytesIO(made)) as reader:
        found = json.loads(reader.json())
    (ingredient,) = found["manifests"][found["active_manifest"]]["ingredients"]
    codes = {each["code"] for each in ingredient["validation_results"]["activeManifest"]["success"]}
    assert {"claimSignature.validated", "assertion.dataHash.match"} <= codes


@pytest.mark.parametrize(
    "data",
    [blue("png"), blue("jpeg"), TINY_PNG + b"c2pa", b"c2pa", b"\x1aE\xdf\xa3c2pa"],
    ids=["png", "jpeg", "mark", "no-picture", "webm"],
)
def test_what_has_none_gives_none(data: bytes, tmp_path: Path) -> None:
    assert kept(tmp_path, data) == b""


def test_credentials_that_are_too_long_are_not_kept(
    camera: Seal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signed_picture(camera, "png")
    length = len(kept(tmp_path, data))
    monkeypatch.setattr(credentials, "MAX_BYTES", length - 500)
    with pytest.raises(credentials.NotKept, match=rf"are \d+ bytes long; at most {length - 500} are kept"):
        kept(tmp_path, data)


def test_a_reader_that_dies_or_talks_nonsense_keeps_none(
    camera: Seal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signed_picture(camera, "png")
    monkeypatch.setattr(credentials, "CHILD", "antigravity_that_is_not_there")
    with pytest.raises(credentials.NotKept, match="cannot be read: the reader gave up"):
        kept(tmp_path, data)


@pytest.mark.parametrize("at", range(0, 100, 7))
def test_damaged_credentials_end_in_nothing_worse_than_none(at: int, camera: Seal, tmp_path: Path) -> None:
    data = bytearray(signed_picture(camera, "png"))
    begin = data.index(b"jumb")
    data[begin + (len(data) - begin) * at // 100] ^= 0x55
    try:
        made = kept(tmp_path, bytes(data))
    except credentials.NotKept:
        return
    if made:
        bench = Bench(tmp_path, made, None)
        assert carried(bench.store, bench.plan) == {0: made}


# ---- into the video ------------------------------------------------------------------------------------------------


class Bench:
    """A muxer and a job of a chunk that starts from a picture."""

    def __init__(self, folder: Path, made: bytes, seal: Seal | None) -> None:
        self.store, self.folder = DirectoryStore(folder / "store"), folder
        plan = make_plan([[4]], SMALL, job_id="job-1")
        shot = replace(plan.request.shots[0], first_keyframe=Media(uri="https://example.com/secret"))
        _, info = self.store.put(credentials_object_key("default", "c" * 64), made, credentials.CONTENT_TYPE)
        self.plan: Plan = replace(
            plan, request=replace(plan.request, shots=(shot,)), inputs=(ShotInput(0, "c" * 64, info.sha256),)
        )
        self.muxer = Muxer(self.store, folder / "scratch", 1, lambda: 1_800_000_000_000, seal=seal)

    def video(self) -> Video:
        chunk = write_chunk(self.folder / "0.mkv", 4, ball(0))
        _, info = self.store.put(chunk_keys(self.plan)[0], chunk, "video/x-matroska")
        task = MuxTask(plan=self.plan, ready=(ReadyChunk(info.sha256, info.size_bytes),), attempt=1)
        out = self.muxer.handle(Incoming("mux.tasks", 0, 0, self.plan.job.encode(), encode(task), (), 0))
        assert isinstance(out[0].record, JobEvent)
        assert out[0].record.video is not None
        return out[0].record.video


def ingredients(bench: Bench, root: Path) -> list[tuple[str, ...]]:
    """What verify says went into the video, the thumbnail and the contact sheet."""
    said = []
    made = bench.video()
    for file in (made.file, made.thumbnail, made.contact_sheet):
        bench.store.fetch(file.key, bench.folder / "got")
        found = verify(bench.folder / "got", trust=[root]).c2pa
        assert found.state == "trusted", found.problems
        assert found.source_type == "compositeWithTrainedAlgorithmicMedia"
        said.append(found.ingredients)
    return said


def test_they_go_into_everything_that_is_published(camera: Seal, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys")
    bench = Bench(tmp_path, kept(tmp_path, signed_picture(camera, "jpeg")), opened(with_key(keys)))
    title = f"first picture of shot 0, with credentials of {camera.signer.chain.name}"
    assert ingredients(bench, root_of(keys)) == [(title,)] * 3
    video = bench.store.read(bench.video().file.key)
    with c2pa.Reader("video/mp4", io.BytesIO(video)) as reader:
        found = json.loads(reader.json())
    assert len(found["manifests"]) == 2, "the camera's manifest is there as it was"
    (inner,) = [each for name, each in found["manifests"].items() if name != found["active_manifest"]]
    assert inner["title"] == "a photograph"
    assert CAMERA in json.dumps(inner)
    assert b"example.com/secret" not in video


def test_of_a_picture_that_was_changed_it_is_said(camera: Seal, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys")
    data = bytearray(signed_picture(camera, "png"))
    data[data.rindex(b"IDAT") + 9] ^= 1
    bench = Bench(tmp_path, kept(tmp_path, bytes(data)), opened(with_key(keys)))
    title = f"first picture of shot 0, with credentials of {camera.signer.chain.name}, which did not hold"
    assert ingredients(bench, root_of(keys)) == [(title,)] * 3


@pytest.mark.parametrize("made", [b"junk", b"\x00\x00\x00\x10jumb\x00\x00\x00\x08jumd"])
def test_what_c2pa_does_not_take_is_left_out_and_the_video_is_published(
    made: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = write_keys(tmp_path / "keys")
    bench = Bench(tmp_path, made, opened(with_key(keys)))
    assert ingredients(bench, root_of(keys)) == [("first picture of shot 0",)] * 3
    assert "signed without its pictures' credentials" in caplog.text


def test_others_than_intake_kept_are_left_out(camera: Seal, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = write_keys(tmp_path / "keys")
    bench = Bench(tmp_path, kept(tmp_path, signed_picture(camera, "png")), opened(with_key(keys)))
    bench.plan = replace(bench.plan, inputs=(replace(bench.plan.inputs[0], credentials="d" * 64),))
    assert ingredients(bench, root_of(keys)) == [("first picture of shot 0",)] * 3
    assert "are gone or others" in caplog.text


def test_an_unsigned_installation_does_not_ask_for_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path, b"junk", None)
    bench.store.delete(credentials_object_key("default", "c" * 64))
    assert bench.video().provenance.certificate_sha256 == "none"
