"""Marks by a tenant's key: made by mux, read by `verify` with the key and by nobody without."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops import verify as verifier
from ops.cli.app import app, exit_code
from ops.doctor import mark_keys
from ops.settings import Settings
from ops.verification import NotVerifiable, Verification
from ops.verify import verify
from producers import client
from schemas.errors import Fatal
from schemas.mark_keys import PUBLIC, MasterKey
from schemas.mark_payload import payload_of
from schemas.request import Output
from stream_processors.mux.assemble import Assembled, assemble
from tests.flow.mux_clips import Draw, ball, crop, encode_again, flat, make_plan, write_chunk

FRAMES = 36
WIDE = Output(width_px=640, height_px=360, fps=12)
NEW, OLD = MasterKey(bytes(range(32))), MasterKey(b"o" * 32)
TENANTS = ("acme", "default", "globex")


def _make(folder: Path, draw: Draw, key: bytes) -> Assembled:
    chunk = write_chunk(folder / "chunk.mkv", FRAMES, draw)
    return assemble(make_plan([[FRAMES]], WIDE, job_id="demo-1"), [chunk], folder, threads=1, key=key)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """During a rotation: the new key first, the old one still there."""
    path = tmp_path / "mark.keys"
    path.write_text(f"# 2027\n{NEW.secret.hex()}\n# 2026\n{OLD.secret.hex()}\n")
    path.chmod(0o600)
    return path


def _told(found: Verification) -> tuple[bool, str, str, bool]:
    return found.ok, found.mark.tenant, found.mark.key_id, found.belongs_to("default", "demo-1")


@pytest.mark.parametrize("draw", [ball(0), ball(255), flat(0, 0, 0)], ids=["black", "white", "nothing"])
def test_the_mark_outlives_scaling_and_encoding_as_the_public_one_does(draw: Draw, tmp_path: Path, keys: Path) -> None:
    made = _make(tmp_path, draw, NEW.of("default"))
    for file in (
        made.video,
        made.thumbnail,
        made.contact_sheet,
        encode_again(made.video, tmp_path / "crf28.mp4", 28),
        encode_again(made.video, tmp_path / "half.mp4", 28, 0.5),
    ):
        found = verify(file, mark_key_file=keys, tenants=TENANTS)
        assert _told(found) == (True, "default", NEW.id, True), file.name
        assert (found.mark.payload, found.mark.keys_tried) == (payload_of("default/demo-1"), 6)
        assert not found.belongs_to("acme", "demo-1")


def test_a_mark_by_key_is_nothing_to_those_without_it(tmp_path: Path, keys: Path) -> None:
    video = _make(tmp_path, ball(90), NEW.of("default")).video
    assert _told(verify(video)) == (False, "", "", False)
    others = verify(video, mark_key_file=keys, tenants=["acme", "globex"])
    assert _told(others) == (False, "", "", False)
    assert (others.mark.keys_tried, others.mark.keys_searched) == (4, 4)


def test_old_keys_and_the_public_pattern_are_still_read(tmp_path: Path, keys: Path) -> None:
    old = client.verify(_make(tmp_path, ball(90), OLD.of("default")).video, mark_key_file=keys, tenants=TENANTS)
    assert _told(old) == (True, "default", OLD.id, True)
    public = client.verify(_make(tmp_path, ball(90), PUBLIC).video, mark_key_file=keys, tenants=TENANTS)
    assert _told(public) == (True, "", "", True)
    assert (public.mark.keys_tried, public.mark.keys_searched) == (6, 0)


def test_a_cropped_video_is_searched_with_the_keys_of_the_tenant_that_is_named(tmp_path: Path, keys: Path) -> None:
    part = crop(_make(tmp_path, ball(0), NEW.of("default")).video, tmp_path / "crop.mp4", 0.1, 23)
    found = verify(part, mark_key_file=keys, tenants=["default"])
    assert _told(found) == (True, "default", NEW.id, True)
    assert (found.mark.keys_tried, found.mark.keys_searched) == (2, 1)
    many = verify(part, mark_key_file=keys, tenants=["default", *(f"tenant-{n}" for n in range(8))])
    assert (many.ok, many.mark.keys_tried, many.mark.keys_searched) == (False, 18, 0)


def test_what_opens_the_file_never_has_a_key(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that was taken over says what it likes, and whoever sent the file may read it."""
    orders = {}
    monkeypatch.setattr("ops.verify.ask", _listened(orders, verifier.ask))
    monkeypatch.setattr("ops.verify_keyed.ask", _listened(orders, verifier.ask))
    verify(_make(tmp_path, ball(90), NEW.of("default")).video, mark_key_file=keys, tenants=["default"])
    assert list(orders) == ["ops.verify_child", "ops.verify_keyed_child"]
    assert NEW.of("default") in orders["ops.verify_keyed_child"].keys
    told = repr(orders["ops.verify_child"])
    assert not any(repr(secret) in told or secret.hex() in told for secret in (NEW.secret, NEW.of("default")))
    assert not hasattr(orders["ops.verify_child"], "keys")


def _listened(orders, ask):  # type: ignore[no-untyped-def]
    def listened(module, order, *arguments, **options):  # type: ignore[no-untyped-def]
        orders[module] = order
        return ask(module, order, *arguments, **options)

    return listened


def test_keys_that_take_too_long_are_named_as_the_reason(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = verifier.msgspec.structs.replace(verifier.LIMITS, wall_s=0.01)
    monkeypatch.setattr("ops.verify_keyed.LIMITS", limits)
    with pytest.raises(NotVerifiable, match=r"trying 6 keys gave no answer within 0\.01 s; give fewer tenants"):
        verify(_make(tmp_path, ball(90), PUBLIC).video, mark_key_file=keys, tenants=TENANTS)


def test_keys_and_tenants_go_together(tmp_path: Path, keys: Path) -> None:
    for options in ({"mark_key_file": keys}, {"tenants": ["acme"]}):
        with pytest.raises(Fatal, match=r"REELBUS_MARK_KEY_FILE and tenants' names go together"):
            verify(tmp_path / "video.mp4", **options)


# ---- command line ------------------------------------------------------------------------------------------------

NOTHING = "invisible mark  none that can be read"


def _cli(*arguments: object, **environment: object) -> tuple[int, str]:
    names = dict.fromkeys(("REELBUS_MARK_KEY_FILE", "REELBUS_TENANTS"))
    env = names | {f"REELBUS_{name.upper()}": str(value) for name, value in environment.items()}
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)], env=env)
    if isinstance(done.exception, Fatal):
        return exit_code(done.exception), str(done.exception)
    return done.exit_code, done.output


def test_the_command_says_by_whose_key_it_read(tmp_path: Path, keys: Path) -> None:
    video = _make(tmp_path, ball(90), NEW.of("default")).video
    said = f"invisible mark  made by reelbus for tenant default, whose key of {NEW.id} reads it, job uid starts with "
    for arguments, environment in (
        (["--mark-key-file", keys], {}),
        ([], {"mark_key_file": keys}),
        (["--job", "demo-1"], {"mark_key_file": keys}),
        (["--tenant", "acme", "--tenant", "default"], {"mark_key_file": keys}),
    ):
        code, text = _cli(video, *arguments, **environment)
        assert (code, said in text) == (0, True), text
    code, text = _cli(video, "--json", mark_key_file=keys)
    mark = json.loads(text)["mark"]
    assert (mark["tenant"], mark["key_id"], mark["keys_tried"], mark["keys_searched"]) == ("default", NEW.id, 2, 0)
    assert NEW.secret.hex() not in text
    assert NEW.of("default").hex() not in text


def test_the_command_says_what_it_tried(tmp_path: Path, keys: Path) -> None:
    video = _make(tmp_path, ball(90), NEW.of("default")).video
    code, text = _cli(video)
    assert (code, f"{NOTHING}\n" in text) == (1, True)
    code, text = _cli(video, "--tenant", "acme", mark_key_file=keys)
    assert (code, f"{NOTHING}, with the public pattern or 2 tenants' keys\n" in text) == (1, True)
    code, text = _cli(video, "--job", "acme/demo-1", mark_key_file=keys)
    assert (code, "2 tenants' keys" in text) == (1, True)
    tenants = tmp_path / "tenants.toml"
    names = [f"[tenants.t{n}]\n" for n in range(9)]
    tenants.write_text("require_signatures = false\n" + "".join(names))
    code, text = _cli(video, mark_key_file=keys, tenants=tenants)
    assert "18 tenants' keys; to search a cropped picture with keys, name its tenant (at most 16 keys)" in text
    tenants.write_text("require_signatures = false\n[tenants.default]\n")
    assert _cli(video, mark_key_file=keys, tenants=tenants)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tenant", "acme"], "--tenant: says whose key to try, and there are none; give --mark-key-file"),
        (["--tenant", "Acme Inc"], "--tenant 'Acme Inc': a name is a-z, 0-9 and -"),
        (["--mark-key-file", "/none"], "REELBUS_MARK_KEY_FILE (/none): cannot be read: No such file or directory"),
    ],
)
def test_options_that_cannot_be_right(arguments: list[str], words: str, tmp_path: Path) -> None:
    code, text = _cli(tmp_path / "video.mp4", *arguments)
    assert code == 2, "1 would say that the video is not ours"
    assert words in text


def test_doctor_names_keys_by_their_ids(keys: Path) -> None:
    assert mark_keys(Settings()) == "none: the invisible mark has the public pattern"
    said = mark_keys(Settings(mark_key_file=str(keys)))
    assert said == f"each tenant has a pattern of its own: marked with {NEW.id}, read by {NEW.id}, {OLD.id}"
    keys.chmod(0o644)
    with pytest.raises(Fatal, match="everybody may read"):
        mark_keys(Settings(mark_key_file=str(keys)))
