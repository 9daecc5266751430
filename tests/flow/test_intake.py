"""intake: from a job that names a picture to frames in the store and a job that split can cut; and how it fails."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from ops.media import chunk_file, credentials
from ops.net.sources import Sources
from ops.storage.directory import DirectoryStore
from schemas.chunks import chunk_ids, chunk_specs, given_object_key
from schemas.codec import encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent
from schemas.ids import credentials_object_key, fingerprint, input_object_key
from schemas.plan import ClearedJob
from schemas.records import Headers, Incoming, Outgoing
from schemas.registry import ModelEntry
from schemas.request import JobRequest, Media, Output, Shot
from schemas.retries import ATTEMPT_HEADER, DUE_HEADER, retry_headers
from stream_processors.intake import core
from stream_processors.intake.pictures import Pictures
from stream_processors.intake.shell import Intake, due_ms, give_up
from stream_processors.split.core import split
from tests.flow.c2pa_keys import opened, signed_picture, with_key, write_keys
from tests.hostile import good_media
from tests.hostile.file_server import Served, serving
from tests.hostile.tls import certificate

NOW_MS = 1_800_000_000_000
MODEL = ModelEntry(
    name="shapes", family="ltx", source="shapes", revision="r1", pools=("cpu",), clip_frames=17, given_frames=5,
    sizes=((64, 64), (96, 64)), fps_min=1, fps_max=60, steps=8, guidance=2.0, chunk_cost_s=0.4, chunk_codec="ffv1",
)  # fmt: skip


@dataclass
class Place:
    served: Served
    store: DirectoryStore
    handle: Intake
    scratch: Path
    files: dict[str, Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    good = good_media.good()
    files: dict[str, Any] = {f"/{name}": data for name, data in good.items()}
    files |= {"/moved": (302, "/picture.png"), "/inside": (302, "https://169.254.169.254/"), "/broken": (503, "")}
    files |= {"/not-a-picture": b"<svg/>", "/empty": b"", "/loop": (301, "/loop"), "/down": (302, "http://127.0.0.1/")}
    tls, authority = certificate(tmp_path, ["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with serving(files, tls) as served:
        store = DirectoryStore(tmp_path / "store")
        pictures = Pictures(store, Sources(allow_private=True), lambda _: served.url("/picture.png"), scratch)
        yield Place(served, store, Intake(pictures, {"shapes": MODEL}, lambda: NOW_MS), scratch, files)


def job(*media: Media | None, **changes: Any) -> ClearedJob:
    shots = tuple(Shot(prompt="a ball", duration_s=2.5, first_keyframe=each) for each in media)
    request = JobRequest(job_id="a", shots=shots, output=Output(width_px=128, height_px=128, fps=12), **changes)
    return ClearedJob(job="default/a", request=request, fingerprint=fingerprint(request), requested_at_ms=1)


def record(cleared: ClearedJob, headers: Headers = ()) -> Incoming:
    return Incoming("reelbus.inputs.requested.standard.v1", 0, 0, b"default/a", encode(cleared), headers, 5)


def only(answer: Any) -> Outgoing:
    (out,) = answer
    return out


def reason(place: Place, media: Media) -> tuple[str, str, str]:
    out = only(place.handle(record(job(media))))
    assert isinstance(out.record, JobEvent)
    assert (out.record.type, out.topic.entity) == ("job.rejected", "jobs.events")
    assert out.record.reason is not None
    return out.record.reason.code, out.record.reason.field, out.record.reason.message


@pytest.mark.parametrize("name", ["picture.png", "h264.mp4", "moved"])
def test_a_picture_becomes_the_frames_that_the_first_chunk_starts_from(place: Place, name: str, tmp_path: Path) -> None:
    asked = job(None, Media(uri=place.served.url(f"/{name}")))
    out = only(place.handle(record(asked)))
    assert out.topic.entity == "jobs.cleared.standard"
    assert isinstance(out.record, ClearedJob)
    assert replace(out.record, inputs=()) == asked
    (made,) = out.record.inputs
    assert made.shot == 1
    plan = split(out.record, MODEL)
    specs = chunk_specs(plan)
    first = next(index for index, span in enumerate(plan.chunks) if span.shot == 1)
    assert (specs[first].given_chunk, specs[first].given_frames, specs[first].frames) == (made.chunk, 5, 12)
    assert given_object_key(specs[first]) == input_object_key("default", made.chunk)
    assert specs[first + 1].given_chunk == chunk_ids(plan)[first]
    assert sum(span.frames for span in plan.chunks) == 60, "as long as without a picture"
    place.store.fetch(given_object_key(specs[first]), tmp_path / "input.mkv")
    frames = chunk_file.tail(tmp_path / "input.mkv", 5)
    assert np.abs(frames[0].astype(int) - good_media.pattern(64, 64)).mean() < 8
    assert (frames == frames[0]).all()
    assert list(place.scratch.iterdir()) == []


def test_jobs_without_pictures_keep_their_chunks_names() -> None:
    """Names are hashes of specs: they may not change with a field that is not used."""
    assert [name[:16] for name in chunk_ids(split(job(None), MODEL))] == [
        "e3a7628660d2dbd6", "ccbf681c7d2c75c4", "c80ac0355281b530",
    ]  # fmt: skip


def test_a_repeat_finds_what_is_there(place: Place) -> None:
    media = Media(uri=place.served.url("/picture.png"))
    once, again = only(place.handle(record(job(media)))), only(place.handle(record(job(media))))
    assert once == again
    assert len(list(place.store.list("inputs/"))) == 1
    known = replace(media, sha256=hashlib.sha256(good_media.good()["picture.png"]).hexdigest())
    asked = len(place.served.asked)
    assert only(place.handle(record(job(known)))).record.inputs == once.record.inputs  # type: ignore[union-attr]
    assert len(place.served.asked) == asked, "a known file is not fetched again"
    other = job(media, tenant="other")
    assert only(place.handle(record(other))).record.inputs == once.record.inputs  # type: ignore[union-attr]
    assert len(list(place.store.list("inputs/"))) == 2, "tenants share nothing"


def test_content_credentials_of_a_picture_are_kept_beside_its_frames(place: Place, tmp_path: Path) -> None:
    data = signed_picture(opened(with_key(write_keys(tmp_path / "keys"))), "png")
    place.files["/signed.png"] = data
    media = Media(uri=place.served.url("/signed.png"))
    (made,) = only(place.handle(record(job(media)))).record.inputs  # type: ignore[union-attr]
    key = credentials_object_key("default", made.chunk)
    info = place.store.head(key)
    assert info is not None
    assert (info.sha256, info.content_type) == (made.credentials, "application/c2pa")
    known = replace(media, sha256=hashlib.sha256(data).hexdigest())
    for again in (media, known):
        assert only(place.handle(record(job(again)))).record.inputs == (made,)  # type: ignore[union-attr]
    assert len(list(place.store.list("inputs/"))) == 2
    plan = split(only(place.handle(record(job(media)))).record, MODEL)  # type: ignore[arg-type]
    assert plan.inputs == (made,), "split passes it on"
    bare = split(replace(job(media), inputs=(replace(made, credentials=""),)), MODEL)
    assert chunk_ids(plan) == chunk_ids(bare), "and no chunk is called otherwise for it"


def test_credentials_that_cannot_be_kept_do_not_stop_the_picture(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    place.files["/signed.png"] = signed_picture(opened(with_key(write_keys(tmp_path / "keys"))), "png")
    monkeypatch.setattr(credentials, "MAX_BYTES", 100)
    (made,) = only(place.handle(record(job(Media(uri=place.served.url("/signed.png")))))).record.inputs  # type: ignore[union-attr]
    assert made.credentials == ""
    assert "shots[0].first_keyframe.uri: content credentials are not carried over: they are " in caplog.text


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/missing", "input_invalid", "status 404"),
        ("/empty", "input_invalid", "is empty"),
        ("/not-a-picture", "input_invalid", "none of the kinds"),
        ("/loop", "input_invalid", "moved more than 3 times"),
        ("/inside", "input_refused", "a cloud metadata service"),
        ("/down", "input_refused", "must begin with https://"),
    ],
)
def test_a_bad_file_is_the_callers_fault_and_named(place: Place, path: str, code: str, words: str) -> None:
    found, field, message = reason(place, Media(uri=place.served.url(path)))
    assert (found, field) == (code, "shots[0].first_keyframe.uri")
    assert message.startswith(field)
    assert words in message
    assert list(place.store.list("inputs/")) == []


def test_another_file_than_the_one_that_was_meant(place: Place) -> None:
    code, field, message = reason(place, Media(uri=place.served.url("/picture.png"), sha256="0" * 64))
    assert (code, field) == ("input_invalid", "shots[0].first_keyframe.sha256")
    assert hashlib.sha256(good_media.good()["picture.png"]).hexdigest() in message


def test_no_answer_is_tried_again_later_and_then_told(place: Place) -> None:
    asked = job(Media(uri=place.served.url("/broken")))
    headers: Headers = ()
    for delay, wait_ms in (("10s", 10_000), ("1m", 60_000), ("10m", 600_000)):
        out = only(place.handle(record(asked, headers)))
        assert (out.topic.entity, out.record) == (f"inputs.retry.{delay}", asked)
        headers = out.headers
        assert due_ms(record(asked, headers)) == NOW_MS + wait_ms
    out = only(place.handle(record(asked, headers)))
    assert isinstance(out.record, JobEvent)
    assert out.record.reason is not None
    assert out.record.reason.code == "input_unavailable"
    assert "status 503" in out.record.reason.message


@pytest.mark.parametrize("header", [(ATTEMPT_HEADER, b"9"), (ATTEMPT_HEADER, b"x"), (DUE_HEADER, b"soon")])
def test_bad_headers_are_named(place: Place, header: tuple[str, bytes]) -> None:
    with pytest.raises(InvalidMessage, match="header reelbus-"):
        place.handle(record(job(Media(uri=place.served.url("/picture.png"))), (header,)))
    assert core.attempt_of(dict(retry_headers(4, 1))) == 4


def test_private_addresses_need_the_setting(place: Place, tmp_path: Path) -> None:
    strict = Pictures(place.store, Sources(), lambda _: "", tmp_path)
    handler = Intake(strict, {"shapes": MODEL}, lambda: NOW_MS)
    out = only(handler(record(job(Media(uri=place.served.url("/picture.png"))))))
    assert isinstance(out.record, JobEvent)
    assert out.record.reason is not None
    assert out.record.reason.code == "input_refused"
    assert place.served.asked == []


def test_a_job_whose_record_is_given_up_ends() -> None:
    cleared = job(None)
    out = only(give_up(record(cleared), InvalidMessage("header: no")))
    assert isinstance(out.record, JobEvent)
    assert (out.record.type, out.record.job) == ("job.failed", "default/a")
