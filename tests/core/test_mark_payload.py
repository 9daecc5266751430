"""The invisible mark's payload, and the pattern and detector on planes (no video)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import job_uid
from schemas.mark_payload import bits_of, is_valid, payload_from, payload_of
from stream_processors.mux import mark


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
    mark.Embedder(payload, *size, strength=4.0).embed(luma, luma)
    reading = mark.read([luma])
    assert (reading.payload, reading.valid) == (payload, True)


def test_embedding_saturates_and_leaves_its_input_alone() -> None:
    payload = payload_of("default/x")
    offsets = mark.pattern(payload, 320, 180, 8.0).astype(int)
    for level in (0, 128, 255):
        luma = np.full((180, 320), level, np.uint8)
        out = np.empty_like(luma)
        mark.Embedder(payload, 320, 180, 8.0).embed(luma, out)
        assert (luma == level).all()
        assert np.array_equal(out, np.clip(level + offsets, 0, 255))


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
