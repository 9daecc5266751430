"""The invisible mark's payload, and the pattern and detector on planes (no video)."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import job_uid
from schemas.mark_payload import bits_of, is_valid, payload_from, payload_of
from stream_processors.mux import mark
from stream_processors.mux.mark import Plane


@given(st.text(min_size=1))
def test_a_payload_is_valid_and_starts_with_the_job(job: str) -> None:
    payload = payload_of(job)
    assert len(payload) == 16
    assert is_valid(payload)
    assert job_uid(job).startswith(payload[:10])


@given(st.text(min_size=1), st.integers(0, 63))
def test_one_wrong_bit_is_noticed(job: str, bit: int) -> None:
    bits = list(bits_of(payload_of(job)))
    bits[bit] ^= 1
    assert not is_valid(payload_from(tuple(bits)))


@given(st.integers(0, 2**64 - 1))
def test_bits_and_hex_are_the_same_thing(value: int) -> None:
    payload = f"{value:016x}"
    assert payload_from(bits_of(payload)) == payload


def test_the_format_of_the_mark_never_changes() -> None:
    """Marked videos are out there for years: a change here makes them unreadable."""
    assert payload_of("default/demo-1") == "d4cee17c6b4e0126"
    first = mark.carriers()[0]
    assert list(zip(first.rows.tolist(), first.columns.tolist(), first.signs.tolist(), strict=True))[:3] == [
        (33, 40, 1.0),
        (15, 45, -1.0),
        (37, 21, 1.0),
    ]
    frequencies = {(int(u), int(v)) for c in mark.carriers() for u, v in zip(c.rows, c.columns, strict=True)}
    assert len(frequencies) == 64 * len(first.rows), "no frequency may serve two bits"


@pytest.mark.parametrize("size", [(64, 64), (640, 360), (360, 640), (480, 270), (1920, 1080)])
@pytest.mark.parametrize("level", [16, 120, 235])
def test_flat_pictures_carry_the_mark(size: tuple[int, int], level: int) -> None:
    payload = payload_of("default/flat")
    luma = np.full((size[1], size[0]), level, np.uint8)
    mark.Embedder(payload, *size, boost=2.0).embed(luma, luma)
    reading = mark.read([luma])
    assert (reading.payload, reading.valid) == (payload, True)


def _marked(luma: Plane, boost: float = 1.0) -> Plane:
    out = np.empty_like(luma)
    mark.Embedder(payload_of("default/x"), luma.shape[1], luma.shape[0], boost).embed(luma, out)
    return out


def _noise(height: int, width: int) -> Plane:
    return np.random.default_rng(3).integers(60, 190, (height, width), dtype=np.uint8)


def test_embedding_saturates_and_leaves_its_input_alone() -> None:
    offsets = _marked(np.full((180, 320), 128, np.uint8), 4.0).astype(int) - 128
    assert offsets.std() > 3
    for level in (0, 255):
        luma = np.full((180, 320), level, np.uint8)
        assert np.array_equal(_marked(luma, 4.0), np.clip(level + offsets, 0, 255))
        assert (luma == level).all()
    noise = _noise(180, 320)
    assert np.array_equal(_marked(noise, 0.0), noise)


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (1920, 1080), (256, 256)])
def test_flat_and_smooth_places_get_at_most_two_steps_and_texture_gets_the_full_strength(size: tuple[int, int]) -> None:
    width, height = size
    slope = np.tile(np.linspace(20, 230, width), (height, 1)).astype(np.uint8)
    square = np.full((height, width), 40, np.uint8)
    square[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 220
    for luma in (np.full((height, width), 110, np.uint8), slope, square):
        offsets = _marked(luma).astype(int) - luma
        assert np.abs(offsets).max() <= mark.FLAT_LIMIT
        assert offsets.std() == pytest.approx(mark.FLAT_STRENGTH, rel=0.1)
    # Coarse enough to be texture to an eye that sees the whole picture.
    noise = cv2.resize(_noise(90, 160), size, interpolation=cv2.INTER_LINEAR)
    offsets = _marked(noise).astype(int) - noise
    assert offsets.std() == pytest.approx(mark.STRENGTH, rel=0.05)


def test_the_strength_follows_texture_within_one_picture() -> None:
    luma = np.full((360, 640), 110, np.uint8)
    luma[:, 320:] = _noise(360, 320)
    offsets = np.abs(_marked(luma).astype(int) - luma)
    assert offsets[:, :280].max() <= mark.FLAT_LIMIT
    assert offsets[:, 360:].mean() > 2 * offsets[:, :280].mean()


def test_keyframes_are_heard_when_other_frames_carry_the_pattern_away() -> None:
    """As motion compensation does: between keyframes the pattern lies elsewhere in every frame."""
    luma = np.full((360, 640), 110, np.uint8)
    good = _marked(luma)
    frames = [(good, True)] + [(np.roll(_noise(360, 640) // 4 + good // 2, 7 * n, 1), False) for n in range(1, 40)]
    for keys_known in (True, False):
        detector = mark.Detector()
        for frame, key in frames:
            detector.add(frame, key and keys_known)
        reading = detector.read()
        assert reading.valid is keys_known
        assert reading.frames == 40


def test_a_part_of_a_picture_gets_its_part_of_the_pattern() -> None:
    embedder = mark.Embedder(payload_of("default/x"), 320, 180)
    whole = np.full((180, 320), 100, np.uint8)
    part = np.full((100, 50), 100, np.uint8)
    embedder.embed(whole, whole)
    embedder.embed(part, part, x_px=40, y_px=60)
    assert np.array_equal(part, whole[60:160, 40:90])


def test_noise_and_flat_pictures_read_as_unmarked() -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        reading = mark.read([random.integers(0, 255, (180, 320), dtype=np.uint8)])
        assert not reading.valid
        assert reading.confidence < 2
    assert not mark.read([np.full((180, 320), 16, np.uint8)]).valid
    assert not mark.read([]).valid
