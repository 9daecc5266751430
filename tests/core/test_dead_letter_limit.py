"""When a stage stops because it makes too many dead letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bus.dead_letter_limit import MIN_RECORDS, WINDOW_RECORDS, DeadLetterLimit
from schemas.errors import Bug, Exhausted, InvalidMessage, Poison
from schemas.topics import JOBS_EVENTS, JOBS_REPLIES, JOBS_REQUESTED, MUX_TASKS, ORDERS_REQUESTED

INVALID = InvalidMessage("wrong")
FED = (JOBS_REQUESTED["bulk"], ORDERS_REQUESTED, JOBS_REPLIES)


def stops(limit: DeadLetterLimit, fates: list[bool]) -> int | None:
    """Index of the record (True: a dead letter) at which the stage stops."""
    for number, dead in enumerate(fates):
        if not dead:
            limit.passed()
        elif limit.buried(MUX_TASKS, INVALID):
            return number
    return None


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.0, 0.05, 0.5]), st.sampled_from([0, 3, 20]))
def test_it_stops_at_the_first_record_that_breaks_a_rule(fates: list[bool], share: float, run: int) -> None:
    expected = None
    for n in range(len(fates)):
        seen = fates[max(0, n + 1 - WINDOW_RECORDS) : n + 1]
        in_a_row = next((i for i, dead in enumerate(reversed(fates[: n + 1])) if not dead), n + 1)
        many = share > 0 and len(seen) >= MIN_RECORDS and sum(seen) > share * len(seen)
        if fates[n] and (many or 0 < run <= in_a_row):
            expected = n
            break
    assert stops(DeadLetterLimit(share, run), fates) == expected


def test_an_old_bad_hour_is_forgotten() -> None:
    limit = DeadLetterLimit(0.05, 0)
    assert stops(limit, [False] * 950 + [True] * 47 + [False] * WINDOW_RECORDS + [True] * 49) is None


@pytest.mark.parametrize("topic", FED, ids=lambda topic: topic.entity)
def test_what_callers_send_stops_nobody_and_hides_nothing(topic) -> None:
    limit = DeadLetterLimit(0.05, 20)
    assert not any(limit.buried(topic, INVALID) for _ in range(1000))
    # It is no good record either: between bugs it does not make them fewer.
    fates = [(limit.buried(topic, INVALID), limit.buried(topic, Bug("x")))[1] for _ in range(20)]
    assert [bool(stop) for stop in fates] == [False] * 19 + [True]


@pytest.mark.parametrize("error", [INVALID, Bug("x"), Poison("x"), Exhausted("x")], ids=lambda e: type(e).__name__)
def test_between_stages_everything_counts(error) -> None:
    limit = DeadLetterLimit(0, 20)
    assert [bool(limit.buried(JOBS_EVENTS, error)) for _ in range(20)] == [False] * 19 + [True]


def test_the_reason_says_how_many() -> None:
    limit = DeadLetterLimit(0.05, 0)
    for _ in range(200):
        limit.passed()
    why = [limit.buried(JOBS_EVENTS, INVALID) for _ in range(11)]
    assert why[:10] == [""] * 10
    assert why[10].startswith("11 of the last 211 records would be dead letters")
