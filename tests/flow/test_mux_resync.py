"""The search for a mark in a part of a picture: found where it is, not where it is not, in bounded memory."""

import numpy as np
import pytest

from schemas.mark_payload import payload_of
from stream_processors.mux.mark import Detector, Embedder, Plane, detail_of, grid_of
from stream_processors.mux.resync import ENERGY_FOUND, Kept, mean_of, places, read_anywhere

SIZE = 640, 360
PAYLOAD = payload_of("default/part")


def _noise(seed: int) -> Plane:
    return np.random.default_rng(seed).integers(100, 140, (SIZE[1], SIZE[0]), dtype=np.uint8)


def _marked(seed: int) -> Plane:
    luma = _noise(seed)
    Embedder(PAYLOAD, *SIZE).embed(luma, luma)
    return luma


@pytest.mark.parametrize(
    ("left", "top", "width", "height"), [(0, 0, 512, 288), (128, 72, 512, 288), (30, 0, 560, 360), (10, 40, 600, 290)]
)
def test_a_part_tells_where_it_lay_and_whose_it_is(left: int, top: int, width: int, height: int) -> None:
    grids = [grid_of(_marked(seed)[top : top + height, left : left + width]) for seed in range(3)]
    best = places(mean_of([detail_of(grid) for grid in grids]))[0]
    assert best.energy > ENERGY_FOUND
    shares = left / SIZE[0], top / SIZE[1], (left + width) / SIZE[0], (top + height) / SIZE[1]
    assert np.abs(np.array(best.edges) - 256 * np.array(shares)).max() <= 4
    plain = Detector().read()
    assert not plain.valid
    reading = read_anywhere(grids, plain)
    assert (reading.valid, reading.payload, reading.frames) == (True, PAYLOAD, 3)


def test_without_a_mark_no_place_is_believed() -> None:
    grids = [grid_of(_noise(seed)) for seed in range(3)]
    assert places(mean_of([detail_of(grid) for grid in grids]))[0].energy < ENERGY_FOUND
    plain = Detector().read()
    assert read_anywhere(grids, plain) is plain
    empty = np.zeros((256, 256), np.uint8)
    assert read_anywhere([empty], plain) is plain


def test_kept_frames_are_an_even_choice_of_bounded_number() -> None:
    kept = Kept()
    for number in range(1000):
        kept.add(np.full((1, 1), number // 4, np.uint8))
        assert len(kept.grids) <= Kept.MOST
    assert [int(grid[0, 0]) for grid in kept.grids] == [number // 4 for number in range(0, 1000, 16)]


def test_detail_is_finite_beside_bright_edges() -> None:
    """The sum that moves over a picture leaves rounding behind, and once it was below 0 under a root."""
    random = np.random.default_rng(1)
    for _ in range(300):
        grid = np.full((256, 256), random.integers(0, 256), np.uint8)
        for _ in range(3):
            left, top, width, height = random.integers(0, 200, 4)
            grid[top : top + height, left : left + width] = random.integers(0, 256)
        assert np.isfinite(detail_of(grid)).all()
