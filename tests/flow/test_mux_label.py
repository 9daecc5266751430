"""The visible mark of a job: its words, its corner, on every picture that leaves."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image

from ops.media.lettering import Lettering
from schemas.errors import Fatal
from schemas.labels import OPACITY, PROFILES, Corner, Wording
from schemas.mark_payload import payload_of
from schemas.plan import Plan
from schemas.request import Label, Output
from stream_processors.mux.assemble import Assembled, assemble
from stream_processors.mux.find_label import FOUND_AT, correlation, label_score
from stream_processors.mux.label import Labeller, plate, stamp_image
from stream_processors.mux.logos import Logos, load_logos
from stream_processors.mux.planes import planes_of
from stream_processors.mux.shell import Labels
from tests.flow.mux_clips import ball, decode, make_plan, write_chunk

OUTPUT = Output(width_px=640, height_px=360, fps=12)
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
PLACES = {"top": np.s_[:120], "bottom": np.s_[-120:], "left": np.s_[:320], "right": np.s_[-320:]}


def labelled(label: Label | None) -> Plan:
    plan = make_plan([[12]], OUTPUT)
    return replace(plan, request=replace(plan.request, label=label))


def made(folder: Path, plan: Plan, labels: Labels) -> Assembled:
    chunk = write_chunk(folder / "0.mkv", 12, ball(150))
    return assemble(plan, [chunk], folder, threads=1, labeller=labels.labeller(plan))


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_words_are_in_their_corner_on_every_frame_and_on_the_side_files(
    profile: str, corner: str, tmp_path: Path
) -> None:
    made_of = made(tmp_path, labelled(Label(profile=profile, position=corner)), Labels())  # type: ignore[arg-type]
    words = Wording(PROFILES[profile].text, corner)  # type: ignore[arg-type]
    for frame in decode(made_of.video):
        luma = planes_of(frame).luma
        assert correlation(luma, words) > FOUND_AT
        others = [Wording(words.text, other) for other in CORNERS if other != corner]  # type: ignore[arg-type]
        assert max(correlation(luma, other) for other in others) < FOUND_AT
    for picture in (made_of.thumbnail, made_of.contact_sheet):
        grey = np.asarray(Image.open(picture).convert("L"))
        assert label_score([grey]) > FOUND_AT


def test_a_job_that_does_not_say_gets_what_the_installation_draws(tmp_path: Path) -> None:
    made_of = made(tmp_path, labelled(None), Labels("cn"))
    luma = planes_of(decode(made_of.video)[0]).luma
    assert correlation(luma, PROFILES["cn"]) > FOUND_AT > correlation(luma, PROFILES["eu"])


def test_without_a_mark_nothing_is_drawn_and_the_other_marks_stay(tmp_path: Path) -> None:
    plan = labelled(Label(profile="none"))
    (tmp_path / "with").mkdir()
    bare, usual = made(tmp_path, plan, Labels("cn")), made(tmp_path / "with", labelled(None), Labels("eu"))
    for mine, other in zip(decode(bare.video), decode(usual.video), strict=True):
        luma, drawn = planes_of(mine).luma, planes_of(other).luma
        assert max(correlation(luma, words) for words in PROFILES.values()) < FOUND_AT
        assert np.abs(luma[120:].astype(int) - drawn[120:]).mean() < 1, "elsewhere it is the same picture"
    for picture in (bare.thumbnail, bare.contact_sheet):
        assert label_score([np.asarray(Image.open(picture).convert("L"))]) < FOUND_AT
    assert bare.mark.payload == payload_of(plan.job)


def test_own_words_are_drawn_and_give_way_to_the_usual_ones_where_they_do_not_fit() -> None:
    text = "Dieser Film ist mit KI erzeugt"
    labeller = Labels().labeller(labelled(Label(profile="eu", text=text, position="bottom-left")))
    wide = labeller.plate(1280, 720)
    assert np.array_equal(wide.luma, plate(1280, 720, Wording(text, "bottom-left")).luma)
    assert (wide.x_px + wide.width_px <= 1280, wide.y_px + wide.height_px <= 720) == (True, True)
    narrow = labeller.plate(64, 400)
    assert np.array_equal(narrow.luma, plate(64, 400, Wording("AI GENERATED", "bottom-left")).luma)


def test_a_font_of_the_installation_comes_first(tmp_path: Path) -> None:
    from ops.media.lettering import NOTO

    own, usual = Lettering(str(NOTO)), Lettering()
    words = PROFILES["eu"]
    ours = Labeller(words, own).plate(640, 360).luma
    assert ours.shape != Labeller(words, usual).plate(640, 360).luma.shape


# ---- readable on any background ------------------------------------------------------------------------------------


def _backgrounds(height: int, width: int) -> dict[str, Image.Image]:
    rng = np.random.default_rng(7)
    flats = {
        name: np.full((height, width, 3), grey, np.uint8)
        for name, grey in (("white", 255), ("black", 0), ("grey", 128))
    }
    noise = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    blocks = np.kron(rng.integers(0, 256, (height // 12, width // 12, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    return {name: Image.fromarray(each) for name, each in {**flats, "noise": noise, "blocks": blocks}.items()}


def _luminance(image: Image.Image) -> NDArray[np.float64]:
    """Relative luminance as WCAG 2.2 defines it."""
    rgb = np.asarray(image, dtype=np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array((0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("opacity", [0.4, 0.5, 0.59, 0.6, OPACITY, 1.0])
@pytest.mark.parametrize("size", [(640, 360), (360, 648), (1920, 1080)])
def test_letters_can_be_read_on_any_background(size: tuple[int, int], opacity: float) -> None:
    art = plate(*size, Wording("AI GENERATED", "top-right", opacity))
    letters = (art.luma > 230) & (art.opacity > 250)
    # A stroke is about an eighth as wide as its letter is high.
    brush = np.ones((2 * (art.letter_height_px // 6) + 1,) * 2, np.uint8)
    near = cv2.dilate(letters.astype(np.uint8), brush).astype(bool)
    area = np.s_[art.y_px : art.y_px + art.height_px, art.x_px : art.x_px + art.width_px]
    for name, image in _backgrounds(size[1], size[0]).items():
        stamp_image(image, art)
        light = _luminance(image)[area]
        # Beside every pixel of a letter the darkest of its surroundings is what sets it off.
        dark = cv2.erode(np.where(near, light, 1.0), brush)
        contrast = (light[letters] + 0.05) / (dark[letters] + 0.05)
        assert np.quantile(contrast, 0.02) >= 4.5, (name, opacity)


def test_without_its_edge_a_faint_plate_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_processors.mux.label.FAINT_BELOW", 0)
    with pytest.raises(AssertionError, match="white"):
        test_letters_can_be_read_on_any_background((640, 360), 0.41)


# ---- logos ---------------------------------------------------------------------------------------------------------


def _png(width: int = 90, height: int = 60, colour: tuple[int, ...] = (230, 40, 60, 255)) -> bytes:
    """Coloured on the left, transparent on the right."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    image.paste(colour, (0, 0, width // 2, height))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _logos(folder: Path, **files: bytes) -> Logos:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.png").write_bytes(content)
    return load_logos(str(folder))


def test_a_tenant_has_its_own_logo_or_everybodys(tmp_path: Path) -> None:
    logos = _logos(tmp_path / "logos", acme=_png(100), default=_png(60))
    (tmp_path / "logos" / "..data").write_bytes(b"what Kubernetes puts into a mounted folder")
    logos = load_logos(str(tmp_path / "logos"))
    assert [logo.width_px for name in ("acme", "else") if (logo := logos.of(name))] == [100, 60]
    assert load_logos("").of("acme") is None
    assert _logos(tmp_path / "one", acme=_png()).of("else") is None


@pytest.mark.parametrize("corner", CORNERS)
def test_a_logo_stands_beside_the_words_in_its_colours_and_moves_none(corner: Corner, tmp_path: Path) -> None:
    logo = _logos(tmp_path / "logos", default=_png()).of("acme")
    words = Wording("AI GENERATED", corner, 1.0)
    bare, art = plate(640, 360, words), plate(640, 360, words, logo=logo)
    assert art.logo
    more = art.width_px - bare.width_px
    assert art.x_px == (bare.x_px if corner.endswith("left") else bare.x_px - more)
    kept = np.s_[6:-6, : bare.width_px - 6] if corner.endswith("left") else np.s_[6:-6, more + 6 :]
    whole = np.s_[6:-6, :-6] if corner.endswith("left") else np.s_[6:-6, 6:]
    assert np.array_equal(art.luma[kept], bare.luma[whole])
    picture = Image.new("RGB", (640, 360), (255, 255, 255))
    stamp_image(picture, art)
    drawn = np.asarray(picture, dtype=int)
    red = np.abs(drawn - (230, 40, 60)).max(axis=2) <= 6
    assert red.sum() >= 0.9 * art.letter_height_px * art.letter_height_px * 1.5 / 2
    rows = np.flatnonzero(red.any(axis=1))
    assert rows[-1] - rows[0] + 1 == art.letter_height_px


def test_a_logo_is_in_the_colours_of_the_video(tmp_path: Path) -> None:
    labels = Labels(logos=_logos(tmp_path / "logos", default=_png(200, 60, (20, 60, 250, 255))))
    made_of = made(tmp_path, labelled(None), labels)
    for frame in decode(made_of.video):
        rgb = frame.to_ndarray(format="rgb24").astype(int)
        assert (np.abs(rgb - (20, 60, 250)).max(axis=2) < 40).sum() > 200
        assert correlation(planes_of(frame).luma, PROFILES["eu"]) > FOUND_AT
    for picture in (made_of.thumbnail, made_of.contact_sheet):
        assert label_score([np.asarray(Image.open(picture).convert("L"))]) > FOUND_AT


def test_a_logo_that_does_not_fit_is_left_out_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = Labels(logos=_logos(tmp_path / "logos", default=_png()))
    plan = labelled(None)
    small = replace(plan, request=replace(plan.request, output=Output(width_px=64, height_px=64, fps=12)))
    with caplog.at_level("INFO"):
        labels.labeller(plan)
        assert not caplog.records
        labeller = labels.labeller(small)
        art = labeller.plate(64, 64)
        labeller.plate(64, 64)
    assert [record.getMessage() for record in caplog.records] == [
        "mux: default/j: no room for the logo beside the words at 64x64; it is left out"
    ]
    assert not art.logo
    assert np.array_equal(art.luma, plate(64, 64).luma)


def test_profile_none_has_no_logo_either(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = Labels(logos=_logos(tmp_path / "logos", default=_png()))
    with caplog.at_level("INFO"):
        assert labels.labeller(labelled(Label(profile="none"))).plate(640, 360).luma.size == 0
    assert not caplog.records


def _animated() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), (n, 0, 0)) for n in (0, 200)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


def _jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 40)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("acme.png", b"no picture", "acme.png cannot be read as PNG"),
        ("acme.png", _jpeg(), "acme.png cannot be read as PNG"),
        ("acme.png", _png()[:90], "acme.png cannot be read as PNG"),
        ("acme.png", _animated(), "acme.png has 40x40 pixels, 2 pictures; expected a still PNG"),
        ("acme.png", _png(4000, 40), "acme.png has 4000x40 pixels"),
        ("acme.png", _png(200, 20), "one at most 8 times the other"),
        ("acme.png", _png(10, 20), "sides of 16 to 2048"),
        ("acme.png", bytes(300_000), "acme.png is too large; expected a still PNG of at most 256 KiB"),
        ("acme.png", _png(colour=(255, 255, 255, 3)), "acme.png is transparent all over"),
        ("Acme.png", _png(), "expected the name of a tenant, or default, and .png"),
        ("acme.jpg", _jpeg(), "expected the name of a tenant, or default, and .png"),
    ],
)
def test_a_wrong_logo_stops_mux_at_its_start(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Fatal, match=f"^REELBUS_LABEL_LOGOS: .*{re.escape(words)}"):
        load_logos(str(tmp_path))


def test_logos_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"REELBUS_LABEL_LOGOS: cannot read .*none: No such file.*; give a folder"):
        load_logos(str(tmp_path / "none"))
