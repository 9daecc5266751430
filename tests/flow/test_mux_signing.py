"""Content credentials: one changed byte shows, the test root makes them trusted, and nothing needs a network."""

import io
import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ops.settings import PACKAGE_ROOT, Settings
from ops.verification import Credentials, NotVerifiable
from ops.verify import verify
from ops.verify_c2pa import credentials
from schemas.errors import Fatal, Transient
from schemas.plan import Plan, ShotInput
from schemas.request import Media, Output
from stream_processors.mux.assemble import Assembled, assemble
from stream_processors.mux.carried import Carried
from stream_processors.mux.check import OutputBroken
from stream_processors.mux.seal import Seal
from tests.flow.c2pa_keys import SMALL, boxes, opened, root_of, signed_video, with_command, with_key, write_keys
from tests.flow.mux_clips import ball, encode_again, make_plan, write_chunk
from tests.flow.time_stamps import time_stamp_authority


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "own")


@pytest.fixture(scope="module")
def made(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    return signed_video(tmp_path_factory.mktemp("made") / "video", opened(with_key(keys)))


def _state(data: bytes, root: Path) -> Credentials:
    return credentials(io.BytesIO(data), root.read_text(), "")


def _changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def _seen_of_a_change(video: Path, root: Path) -> Credentials:
    """Of one changed byte near the end, the first that leaves every frame readable."""
    changed, whole = video.with_name("changed.mp4"), video.read_bytes()
    for before_end in range(50, 2_000, 37):
        changed.write_bytes(_changed(whole, len(whole) - before_end))
        try:
            return verify(changed, trust=[root]).c2pa
        except NotVerifiable as exc:
            assert "tampered" in str(exc)  # noqa: PT017 - what cannot be read is said to be changed all the same
    raise AssertionError("no byte could be changed so that the video can still be read")


def test_one_changed_byte_anywhere_in_the_media_shows(made: Assembled, keys: Path) -> None:
    whole = made.video.read_bytes()
    assert _state(whole, root_of(keys)).state == "trusted"
    places = boxes(whole)
    assert set(places) == {"ftyp", "uuid", "moov", "free", "mdat"}
    unseen = [
        at
        for name in ("moov", "free", "mdat")
        for at in places[name]
        if _state(_changed(whole, at), root_of(keys)).state != "tampered"
    ]
    assert unseen == []


def test_large_files_are_signed_as_a_tree_and_a_changed_byte_shows_too(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_processors.mux.seal.ONE_PIECE_BYTES", 0)
    whole = signed_video(tmp_path / "video", opened(with_key(keys))).video.read_bytes()
    assert b"merkle" in whole
    assert _state(whole, root_of(keys)).state == "trusted"
    media = boxes(whole)["mdat"]
    unseen = [
        at for at in (*media[:40], *media[40::5]) if _state(_changed(whole, at), root_of(keys)).state != "tampered"
    ]
    assert unseen == []


def test_one_changed_byte_in_the_credentials_never_makes_another_claim_that_is_trusted(
    made: Assembled, keys: Path
) -> None:
    whole = made.video.read_bytes()
    right = _state(whole, root_of(keys))
    for at in boxes(whole)["uuid"][::3]:
        found = _state(_changed(whole, at), root_of(keys))
        assert found == right or found.state in ("tampered", "absent", "invalid"), at


@pytest.mark.parametrize("picture", ["thumbnail", "contact_sheet"])
def test_pictures_are_signed_too(picture: str, made: Assembled, keys: Path) -> None:
    whole = getattr(made, picture).read_bytes()
    assert _state(whole, root_of(keys)).state == "trusted"
    behind_the_credentials = range(len(whole) - 1500, len(whole), 7)
    assert {_state(_changed(whole, at), root_of(keys)).state for at in behind_the_credentials} == {"tampered"}


def test_what_verify_says_of_signed_changed_and_encoded_again(keys: Path, tmp_path: Path) -> None:
    output = Output(width_px=640, height_px=360, fps=12)
    video = signed_video(tmp_path / "video", opened(with_key(keys)), output, frames=24).video
    found = verify(video, trust=[root_of(keys)])
    assert (found.ok, found.c2pa.state, found.c2pa.development) == (True, "trusted", False)
    assert (found.c2pa.model, found.c2pa.model_revision, found.c2pa.mark_payload) == ("shapes", "1", found.mark.payload)
    assert found.c2pa.source_type == "trainedAlgorithmicMedia"
    assert found.aigc is not None, "tagged before it was signed"
    assert found.c2pa.job_uid == found.aigc["ProduceID"]
    assert verify(video).c2pa.state == "valid", "nobody vouches for the signer"
    own = verify(video, development_roots=[root_of(keys), tmp_path / "none.pem"]).c2pa
    assert (own.state, own.development) == ("trusted", True)
    assert _seen_of_a_change(video, root_of(keys)).problems == ("assertion.bmffHash.mismatch",)
    again = verify(encode_again(video, tmp_path / "again.mp4", 28), trust=[root_of(keys)])
    assert (again.ok, again.c2pa.state) == (True, "absent"), "the invisible mark is what is left"


def test_another_root_trusts_nothing_of_it(made: Assembled, tmp_path: Path) -> None:
    assert _state(made.video.read_bytes(), root_of(write_keys(tmp_path / "other"))).state == "valid"


@pytest.mark.parametrize("purpose", ["1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1"], ids=["documents", "C2PA"])
def test_certificates_for_other_purposes_that_c2pa_names_are_trusted(purpose: str, tmp_path: Path) -> None:
    """The second is what authorities on the C2PA trust list issue."""
    keys = write_keys(tmp_path / "keys", purpose=purpose)
    made = signed_video(tmp_path / "video", opened(with_key(keys)))
    assert _state(made.video.read_bytes(), root_of(keys)).state == "trusted"


class _Spoils(Seal):
    """Breaks what it should sign."""

    def __init__(self) -> None:
        pass

    def put(self, path: Path, content_type: str, plan: Plan, carried: Carried | None = None) -> None:
        path.write_bytes(path.read_bytes()[:-600])


def test_what_is_checked_is_the_signed_file(tmp_path: Path) -> None:
    chunk = write_chunk(tmp_path / "0.mkv", 6, ball(0))
    with pytest.raises(OutputBroken):
        assemble(make_plan([[6]], SMALL), [chunk], tmp_path, 1, _Spoils())


@pytest.mark.parametrize("asked", [False, True])
def test_prompts_are_in_no_file_unless_they_are_asked_for(asked: bool, keys: Path, tmp_path: Path) -> None:
    made = signed_video(tmp_path / "video", opened(with_key(keys, signing_prompts=asked)))
    for file in (made.video, made.thumbnail, made.contact_sheet):
        assert (b"not to be told" in file.read_bytes()) == asked
    assert _state(made.video.read_bytes(), root_of(keys)).prompts == (("not to be told",) if asked else ())


@pytest.mark.parametrize("raw", [False, True], ids=["der", "raw"])
def test_a_command_signs_without_the_key_in_this_process(raw: bool, keys: Path, tmp_path: Path) -> None:
    made = signed_video(tmp_path / "video", opened(with_command(keys, raw=raw)))
    assert _state(made.video.read_bytes(), root_of(keys)).state == "trusted"


def test_a_key_service_that_is_away_is_asked_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = write_keys(tmp_path / "keys")
    seal = opened(with_command(keys))
    (keys / "down").touch()
    with pytest.raises(Transient, match="status 1: the key service is away"):
        signed_video(tmp_path / "away", seal)
    with pytest.raises(Fatal, match=r"SIGNING_COMMAND.*the key service is away"):
        opened(with_command(keys))
    (keys / "down").unlink()
    (keys / "hangs").touch()
    monkeypatch.setattr("stream_processors.mux.signers.COMMAND_TIMEOUT_S", 1.0)
    with pytest.raises(Transient, match="no answer within 1 s"):
        signed_video(tmp_path / "hangs", seal)
    (keys / "hangs").unlink()
    assert signed_video(tmp_path / "back", seal).frames == 4


def test_a_time_stamp_authority_that_is_away_is_asked_again_later(keys: Path, tmp_path: Path) -> None:
    settings = with_key(keys, signing_tsa_url="http://127.0.0.1:9/")
    with pytest.raises(Fatal, match="signing does not work"):
        opened(settings)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program, as an authority")
def test_a_time_stamp_authority_says_when(keys: Path, tmp_path: Path) -> None:
    with time_stamp_authority(tmp_path / "tsa") as address:
        made = signed_video(tmp_path / "video", opened(with_key(keys, signing_tsa_url=address)))
    data, signers = made.video.read_bytes(), root_of(keys).read_text()
    unknown = credentials(io.BytesIO(data), signers, "")
    assert (unknown.state, unknown.signed_at_trusted) == ("trusted", False)
    known = credentials(io.BytesIO(data), signers + (tmp_path / "tsa" / "root.pem").read_text(), "")
    assert (known.state, known.signed_at_trusted, known.problems) == ("trusted", True, ())
    claimed, proven = datetime.fromisoformat(known.made_at), datetime.fromisoformat(known.signed_at)
    assert abs(proven - claimed) < timedelta(minutes=5)


def test_pictures_that_went_in_are_ingredients(keys: Path, tmp_path: Path) -> None:
    plan = make_plan([[4]], SMALL)
    shots = (msgspec.structs.replace(plan.request.shots[0], first_keyframe=Media(uri="https://example.com/secret")),)
    request = msgspec.structs.replace(plan.request, shots=shots)
    plan = msgspec.structs.replace(plan, request=request, inputs=(ShotInput(0, "c" * 64),))
    chunk = write_chunk(tmp_path / "0.mkv", 4, ball(0))
    video = assemble(plan, [chunk], tmp_path, 1, opened(with_key(keys))).video.read_bytes()
    found = _state(video, root_of(keys))
    assert (found.state, found.source_type) == ("trusted", "compositeWithTrainedAlgorithmicMedia")
    assert found.ingredients == ("first picture of shot 0",)
    assert b"example.com/secret" not in video


def test_the_development_key_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"))
    opened(settings)
    folder = settings.development_root.parent
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(first) == {"key.pem", "certificates.pem", "root.pem"}
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    made = signed_video(tmp_path / "video", opened(settings))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert _state(made.video.read_bytes(), settings.development_root).state == "trusted"


_OFFLINE = """
from pathlib import Path
from ops.sandbox import lockdown
from tests.flow.c2pa_keys import opened, with_key
seal = opened(with_key(Path({keys!r})))
assert "system-calls" in lockdown.lock("decoding")
seal.try_key()
print("signed")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="filters of system calls are Linux's")
def test_signing_needs_no_network(keys: Path) -> None:
    """Under a filter that refuses every socket. Verifying runs behind the same one always."""
    program = _OFFLINE.format(keys=str(keys))
    done = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE_ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("signed\n", 0), done.stderr


_LARGE_MIB, _MOST_GROWTH_MIB = 160, 40
_MEASURED = """
from pathlib import Path
from tests.flow.c2pa_keys import SMALL, opened, signed_video, with_key
from tests.flow.mux_clips import make_plan
seal, folder = opened(with_key(Path({keys!r}))), Path({folder!r})
video = signed_video(folder / "small", seal).video
peak_kib = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak_kib()
seal.put(folder / "large.mp4", "video/mp4", make_plan([[4]], SMALL))
print((peak_kib() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_video(keys: Path, tmp_path: Path) -> None:
    chunk = write_chunk(tmp_path / "0.mkv", 4, ball(0))
    plain = assemble(make_plan([[4]], SMALL), [chunk], tmp_path, 1).video.read_bytes()
    at = boxes(plain)["mdat"].start
    with (tmp_path / "large.mp4").open("wb") as file:
        size = len(plain) - at + (_LARGE_MIB << 20)
        file.write(plain[:at] + size.to_bytes(4, "big") + plain[at + 4 :])
        file.truncate(at + size)
    program = _MEASURED.format(keys=str(keys), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < _MOST_GROWTH_MIB
    with (tmp_path / "large.mp4").open("rb") as file:
        assert credentials(file, root_of(keys).read_text(), "").state == "trusted"
