"""A refused commit is made again, until it or a later one went through, or the partition is gone."""

from hypothesis import given
from hypothesis import strategies as st

from ops.bus.owed import AGAIN_S, Owed

PLACES = st.integers(0, 3)
STEPS = st.lists(
    st.tuples(st.sampled_from(("refused", "sent", "made", "gone")), PLACES, st.integers(0, 20)), max_size=40
)


def test_it_comes_again_until_it_went_through() -> None:
    owed: Owed[int] = Owed()
    owed.refused(3, 17, 0.0)
    assert owed.due(0.5 * AGAIN_S) == {}
    assert owed.due(AGAIN_S) == {3: 17}
    assert owed.due(1.5 * AGAIN_S) == {}
    assert owed.due(2 * AGAIN_S) == {3: 17}
    owed.made(3, 17)
    assert owed.due(9 * AGAIN_S) == {}


def test_a_later_commit_settles_it_an_earlier_one_does_not() -> None:
    owed: Owed[int] = Owed()
    owed.refused(3, 17, 0.0)
    owed.made(3, 16)
    assert owed.due(AGAIN_S) == {3: 17}
    owed.made(3, 18)
    assert owed.due(3 * AGAIN_S) == {}


def test_a_commit_never_goes_back() -> None:
    """While a later one is on its way the earlier one is not made again: it could arrive after it."""
    owed: Owed[int] = Owed()
    owed.refused(3, 17, 0.0)
    owed.sent(3, 19)
    assert owed.due(AGAIN_S) == {3: 19}
    owed.sent(4, 5)
    assert owed.due(2 * AGAIN_S) == {3: 19}


@given(STEPS)
def test_what_is_owed_is_the_last_refused_offset_that_nothing_settled(steps: list[tuple[str, int, int]]) -> None:
    owed: Owed[int] = Owed()
    wanted: dict[int, int] = {}
    for what, place, offset in steps:
        if what == "refused":
            owed.refused(place, offset, 0.0)
            wanted[place] = max(offset, wanted.get(place, 0))
        elif what == "sent":
            owed.sent(place, offset)
            if place in wanted:
                wanted[place] = max(offset, wanted[place])
        elif what == "made":
            owed.made(place, offset)
            if wanted.get(place, offset + 1) <= offset:
                del wanted[place]
        else:
            owed.gone([place])
            wanted.pop(place, None)
    assert owed.due(AGAIN_S) == wanted
