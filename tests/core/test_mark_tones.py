"""Videos that are nearly white or black carry their mark where a change of tones leaves it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.mark_payload import payload_of
from stream_processors.mux.mark import Embedder, Plane, Reading
from stream_processors.mux.tones import Toned, lift_for

PAYLOAD = payload_of("default/x")
SIZE = 640, 360


def picture(ground: int, paint: int, part: float) -> Plane:
    """A ground with a bar of another luma over `part` of it."""
    luma = np.full((SIZE[1], SIZE[0]), ground, np.uint8)
    luma[:, : round(SIZE[0] * part)] = paint
    return luma


def toned(luma: Plane, lift: float = 1.0) -> Reading | None:
    marked = np.empty_like(luma)
    Embedder(PAYLOAD, *SIZE, lift=lift).embed(luma, marked)
    coded = marked + np.random.default_rng(1).normal(0, 4.0, marked.shape)  # what an encoder leaves of it
    marked = np.clip(np.rint(coded), 0, 255).astype(np.uint8)
    detector = Toned()
    detector.add(marked, True)
    return detector.read()


def test_a_picture_of_middle_tones_needs_no_second_look() -> None:
    assert toned(picture(90, 160, 0.5)) is None
    assert toned(picture(240, 120, 0.6)) is None


def test_where_nothing_is_between_black_and_white_there_is_nothing_to_lift() -> None:
    assert toned(picture(16, 235, 0.5)) is None


def test_a_nearly_white_or_black_one_is_read_as_it_would_be_after_a_change_of_tones() -> None:
    for ground in (240, 20):
        plain, lifted = toned(picture(ground, 120, 0.15)), toned(picture(ground, 120, 0.15), lift=3.0)
        assert plain is not None
        assert lifted is not None
        assert lifted.says(PAYLOAD)
        assert lifted.confidence > plain.confidence + 0.2


def test_a_lift_leaves_bright_and_dark_places_as_they_were() -> None:
    luma = picture(240, 120, 0.15)
    plain, lifted = np.empty_like(luma), np.empty_like(luma)
    Embedder(PAYLOAD, *SIZE).embed(luma, plain)
    Embedder(PAYLOAD, *SIZE, lift=3.0).embed(luma, lifted)
    bar = round(SIZE[0] * 0.15)
    assert np.array_equal(plain[:, bar:], lifted[:, bar:])
    assert np.std(lifted[:, :bar].astype(float)) > 2 * np.std(plain[:, :bar].astype(float))


@given(st.floats(0, 10), st.floats(0, 10), st.booleans())
def test_what_is_read_less_clearly_is_lifted_no_less(one: float, other: float, valid: bool) -> None:
    low, high = sorted((one, other))
    lifts = [lift_for(Reading(PAYLOAD, valid, confidence, 16), PAYLOAD) for confidence in (low, high)]
    assert lifts[0] >= lifts[1] >= 1.0
    assert valid or lifts == [3.0, 3.0]
    assert lift_for(None, PAYLOAD) == 1.0
