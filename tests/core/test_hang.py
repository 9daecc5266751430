"""When a process counts as hanging: silence of what is at work, and lag that nobody reads. Ticks are the only time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bus.hang import Judge, Seen, Verdict

LIMIT = 4
PLACE = ("t", 0)


def judge() -> Judge:
    return Judge(LIMIT, tick_s=5.0)


def loop(beats: int, doing: str = "turning") -> Seen:
    return Seen(1, "poll loop", doing, beats)


def ticks(made: Judge, *seen: list[Seen], reads: int = 0, reading: bool = False) -> list[Verdict]:
    return [made.tick(at_once, reads, reading=reading) for at_once in seen]


def test_what_beats_never_hangs_however_long_it_takes() -> None:
    made = judge()
    assert all(v == Verdict() for v in ticks(made, *([loop(n), Seen(2, "handler", "r", n // 2)] for n in range(1000))))


def test_a_loop_that_stands_still_is_slow_at_half_the_limit_and_hangs_at_the_limit() -> None:
    verdicts = ticks(judge(), *[[loop(7)]] * (LIMIT + 1))
    assert [bool(v.slow) for v in verdicts] == [False, False, True, True, True]
    assert [bool(v.hanging) for v in verdicts] == [False] * LIMIT + [True]
    assert verdicts[-1].hanging == ("poll loop has not got on for 20 s (turning)",)


def test_a_step_in_time_starts_the_count_anew() -> None:
    made = judge()
    for beats in range(50):
        assert not any(v.hanging for v in ticks(made, *[[loop(beats)]] * LIMIT))


def test_one_long_tick_is_one_tick() -> None:
    """A process that was stopped for 90 s: its watchdog ticked once in that time, as before and after it."""
    made = judge()
    ticks(made, [loop(1)], [loop(1)])
    assert ticks(made, [loop(1)], [loop(2)])[-1] == Verdict()


def test_who_has_nothing_to_do_may_be_silent() -> None:
    assert all(v == Verdict() for v in ticks(judge(), *[[loop(7, doing="")]] * 100))


def test_another_record_by_the_same_name_is_not_the_old_one() -> None:
    """A busy handler: at every tick it is at another record, of which it has done no step yet."""
    made = judge()
    assert not any(v.slow for v in ticks(made, *([Seen(number, "handler", "r", 0)] for number in range(100))))


def test_the_one_that_hangs_is_named_among_those_that_get_on() -> None:
    made = judge()
    verdicts = ticks(made, *([loop(n), Seen(9, "handler", "mux.tasks[0]@3", 0)] for n in range(LIMIT + 1)))
    assert verdicts[-1].hanging == ("handler has not got on for 20 s (mux.tasks[0]@3)",)


def test_what_has_a_shorter_limit_of_its_own_hangs_earlier() -> None:
    own = [Seen(1, "transaction", "of 3 records", 0, limit_s=10.0)]
    assert [bool(v.hanging) for v in ticks(judge(), *[own] * 4)] == [False, False, True, True]
    longer = [Seen(1, "transaction", "of 3 records", 0, limit_s=1000.0)]
    assert [bool(v.hanging) for v in ticks(judge(), *[longer] * (LIMIT + 1))] == [False] * LIMIT + [True]


def test_forgiven_it_has_the_whole_limit_again() -> None:
    made = judge()
    assert ticks(made, *[[loop(7)]] * (LIMIT + 1))[-1].hanging
    made.forgive()
    assert [bool(v.hanging) for v in ticks(made, *[[loop(7)]] * LIMIT)] == [False] * (LIMIT - 1) + [True]


def quiet(made: Judge, count: int, reads: int = 5) -> list[Verdict]:
    return ticks(made, *([loop(made._unread_ticks + n)] for n in range(count)), reads=reads, reading=True)


def test_without_reads_it_is_time_to_look_once_a_limit() -> None:
    looks = [v.look for v in quiet(judge(), 3 * LIMIT + 1)]
    assert looks == [False, *([False] * (LIMIT - 1) + [True]) * 3]


def test_the_same_unread_record_twice_is_starvation() -> None:
    made = judge()
    quiet(made, LIMIT + 1)
    made.found({PLACE: 17})
    assert not any(v.hanging for v in quiet(made, LIMIT))
    made.found({PLACE: 17})
    (verdict,) = quiet(made, 1)
    assert verdict.hanging == ("t[0] has a record at 17 that is not read",)


@pytest.mark.parametrize("second", [{PLACE: 18}, {("t", 1): 17}, {}])
def test_a_record_that_just_came_is_not(second: dict[tuple[str, int], int]) -> None:
    made = judge()
    quiet(made, LIMIT + 1)
    made.found({PLACE: 17})
    quiet(made, LIMIT)
    made.found(second)
    assert not quiet(made, 1)[0].hanging


def test_a_read_between_two_looks_clears_it() -> None:
    made = judge()
    quiet(made, LIMIT + 1)
    made.found({PLACE: 17})
    quiet(made, 1, reads=6)
    quiet(made, LIMIT, reads=6)
    made.found({PLACE: 17})
    assert not quiet(made, 1, reads=6)[0].hanging


def test_who_does_not_read_on_purpose_is_not_looked_at() -> None:
    assert not any(v.look for v in ticks(judge(), *([loop(n)] for n in range(100)), reading=False))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.booleans()), max_size=80), st.integers(2, 12))
def test_nothing_hangs_that_got_on_within_the_limit(steps: list[tuple[bool, int, bool]], limit: int) -> None:
    """Any run of steps: hanging is said exactly when the beats have stood still for `limit` ticks."""
    made, beats, still = Judge(limit, 1.0), 0, 0
    made.tick([loop(beats)], 0, reading=False)
    for stepped, reads, reading in steps:
        beats += stepped
        still = 0 if stepped else still + 1
        assert bool(made.tick([loop(beats)], reads, reading=reading).hanging) == (still >= limit)
