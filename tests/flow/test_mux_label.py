"""The visible mark of a job: its words, its corner, on every picture that leaves."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from ops.media.lettering import Lettering
from schemas.labels import PROFILES, Wording
from schemas.mark_payload import payload_of
from schemas.plan import Plan
from schemas.request import Label, Output
from stream_processors.mux.assemble import Assembled, assemble
from stream_processors.mux.find_label import FOUND_AT, correlation, label_score
from stream_processors.mux.label import Labeller, plate
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
