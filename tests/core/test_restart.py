"""Back-off of the supervisor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.restart import RestartPolicy, after_exit

POLICY = RestartPolicy(first_s=0.5, most_s=30.0, healthy_s=60.0)
SECONDS = st.floats(min_value=0, max_value=1e6)


@pytest.mark.parametrize(
    ("crashes", "ran_s", "expected_crashes", "expected_delay_s"),
    [
        (0, 0.1, 1, 0.5),
        (1, 0.1, 2, 1.0),
        (2, 59.9, 3, 2.0),
        (6, 1.0, 7, 30.0),
        (5000, 1.0, 5001, 30.0),
        (6, 60.0, 1, 0.5),
        (0, 3600.0, 1, 0.5),
    ],
)
def test_delay_doubles_up_to_the_most_and_a_healthy_run_clears_it(
    crashes: int, ran_s: float, expected_crashes: int, expected_delay_s: float
) -> None:
    restart = after_exit(POLICY, crashes, started_s=100.0, ended_s=100.0 + ran_s)
    assert restart.crashes == expected_crashes
    assert restart.at_s - (100.0 + ran_s) == pytest.approx(expected_delay_s)


@given(crashes=st.integers(min_value=0, max_value=10_000), started_s=SECONDS, ran_s=SECONDS)
def test_delay_stays_in_bounds_and_never_shrinks_with_more_crashes(
    crashes: int, started_s: float, ran_s: float
) -> None:
    ended_s = started_s + ran_s
    restart = after_exit(POLICY, crashes, started_s, ended_s)
    one_more = after_exit(POLICY, crashes + 1, started_s, ended_s)
    assert ended_s + POLICY.first_s <= restart.at_s <= one_more.at_s <= ended_s + POLICY.most_s
    assert 1 <= restart.crashes <= crashes + 1
