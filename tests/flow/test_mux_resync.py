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


def _kept(frames: list[Plane]) -> Kept:
    """Of a video with one keyframe."""
    kept = Kept()
    for number, luma in enumerate(frames):
        kept.add(grid_of(luma), key=number == 0)
    return kept


@pytest.mark.parametrize(
    ("left", "top", "width", "height"), [(0, 0, 512, 288), (128, 72, 512, 288), (30, 0, 560, 360), (10, 40, 600, 290)]
)
def test_a_part_tells_where_it_lay_and_whose_it_is(left: int, top: int, width: int, height: int) -> None:
    kept = _kept([_marked(seed)[top : top + height, left : left + width] for seed in range(3)])
    best = places(mean_of(kept.details()))[0]
    assert best.energy > ENERGY_FOUND
    shares = left / SIZE[0], top / SIZE[1], (left + width) / SIZE[0], (top + height) / SIZE[1]
    assert np.abs(np.array(best.edges) - 256 * np.array(shares)).max() <= 4
    plain = Detector().read()
    assert not plain.valid
    reading = read_anywhere(kept, plain)
    assert (reading.valid, reading.payload, reading.frames) == (True, PAYLOAD, 3)


def test_without_a_mark_no_place_is_believed() -> None:
    kept = _kept([_noise(seed) for seed in range(3)])
    assert places(mean_of(kept.details()))[0].energy < ENERGY_FOUND
    plain = Detector().read()
    assert read_anywhere(kept, plain) is plain
    assert read_anywhere(_kept([np.zeros((256, 256), np.uint8)]), plain) is plain


def test_kept_frames_are_an_even_choice_of_bounded_number() -> None:
    kept = Kept()
    for number in range(1000):
        kept.add(np.full((1, 1), number // 4, np.uint8), key=number % 10 == 0)
        assert len(kept.others.grids) <= Kept.MOST
        assert len(kept.keys.grids) <= Kept.MOST_KEYS
    others = [number for number in range(1000) if number % 10]
    assert [int(grid[0, 0]) for grid in kept.others.grids] == [number // 4 for number in others[::16]]
    assert [int(grid[0, 0]) for grid in kept.keys.grids] == [number // 4 for number in range(0, 1000, 40)]
    assert [key for _, key in kept.details()] == [True] * 25 + [False] * 57


def test_keyframes_weigh_as_much_as_all_frames_in_what_stands_still() -> None:
    one, two = np.full((2, 2), 1, np.float32), np.full((2, 2), 4, np.float32)
    assert (mean_of([(one, False), (one, False), (two, True)]) == (2 + 4) / 2).all()
    assert (mean_of([(one, False), (two, False)]) == 2.5).all()


def test_detail_is_finite_beside_bright_edges() -> None:
    """The sum that moves over a picture leaves rounding behind, and once it was below 0 under a root."""
    random = np.random.default_rng(1)
    for _ in range(300):
        grid = np.full((256, 256), random.integers(0, 256), np.uint8)
        for _ in range(3):
            left, top, width, height = random.integers(0, 200, 4)
            grid[top : top + height, left : left + width] = random.integers(0, 256)
        assert np.isfinite(detail_of(grid)).all()
