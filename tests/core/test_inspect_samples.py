"""Which frames are looked at because the scene changes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.inspect.samples import CHANGE_LEVELS, Changes, Thumbnail, difference


def thumbnail(level: int) -> Thumbnail:
    return np.full((9, 16, 3), level, np.uint8)


def kept_of(levels: list[int], regular: frozenset[int], most: int) -> list[int]:
    """What a caller has in the end, who keeps what is wanted and lets go of what was pushed out."""
    changes, kept = Changes(regular, most), set()
    for at, level in enumerate(levels):
        if changes.wants(at, thumbnail(level)):
            kept.add(at)
        kept = {one for one in kept if one in regular or one in changes.picked}
        assert len(kept - regular) <= most, "at no time more than is asked for"
    return sorted(kept)


LEVELS = st.lists(st.integers(0, 255), min_size=1, max_size=40)


@given(levels=LEVELS, regular=st.frozensets(st.integers(0, 39)), most=st.integers(0, 6))
def test_the_greatest_changes_are_kept_beside_all_regular_frames(
    levels: list[int], regular: frozenset[int], most: int
) -> None:
    """Against an account that sees all frames at once."""
    found, last = {}, None
    for at, level in enumerate(levels):
        change = 0 if last is None else abs(level - last)
        if at in regular or change >= CHANGE_LEVELS:
            last = level
        if at not in regular and change >= CHANGE_LEVELS:
            found[at] = change
    greatest = sorted(found, key=lambda at: (-found[at], at))[:most]
    expected = sorted({*greatest, *(at for at in regular if at < len(levels))})
    assert kept_of(levels, regular, most) == expected


@given(levels=LEVELS, most=st.integers(0, 6))
def test_the_same_pictures_are_picked_each_time(levels: list[int], most: int) -> None:
    regular = frozenset({0, len(levels) - 1})
    assert kept_of(levels, regular, most) == kept_of(levels, regular, most)


@given(st.lists(st.integers(100, 100 + int(CHANGE_LEVELS) - 1), min_size=2, max_size=40))
def test_a_scene_that_only_flickers_has_no_changes(levels: list[int]) -> None:
    regular = frozenset({0, len(levels) - 1})
    assert kept_of(levels, regular, 5) == sorted(regular)


@given(st.integers(1, 36))
def test_whatever_is_far_from_the_frame_before_is_found_while_there_is_room(at: int) -> None:
    levels = [100] * 38
    levels[at] = 160
    assert at in kept_of(levels, frozenset({0, 37}), 2)


def test_a_change_of_colour_alone_is_a_change() -> None:
    red, green = thumbnail(0), thumbnail(0)
    red[..., 0], green[..., 1] = 90, 90
    assert difference(red, green) >= CHANGE_LEVELS
    assert difference(red, red) == 0
