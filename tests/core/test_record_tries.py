"""What a worker's loop decides about records that fail: notes of tries, lanes, steps of retry topics."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bus import dead_letter
from ops.bus.dead_letter import MAX_LETTER_BYTES, fitting
from ops.bus.lane import IN_PLACE_TRIES, RETRY_LAST_S, Lane
from ops.bus.retry_steps import RetrySteps
from ops.bus.tries import MAX_NOTES, MAX_TRIES, Notes, described, spent
from schemas.errors import Bug, Exhausted, Poison, Transient
from schemas.records import Incoming
from schemas.retries import DUE_HEADER, due_at_ms
from schemas.topics import MUX_TASKS, MUX_TASKS_RETRY, RETRY_DELAYS

OFFSETS = st.integers(0, 2**63 - 1)


def record(offset: int, topic: str = "p.mux.tasks.v1", headers: tuple[tuple[str, bytes], ...] = ()) -> Incoming:
    return Incoming(topic, 0, offset, b"k", b"v", headers, offset)


# ---- notes ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(OFFSETS, st.integers(0, 9), st.text(max_size=300)), max_size=10))
def test_notes_come_back_as_they_were_and_fit_into_metadata(puts: list[tuple[int, int, str]]) -> None:
    notes = Notes()
    for offset, tries, why in puts:
        notes.put(offset, tries, why)
    text = notes.text()
    again = Notes(text)
    assert len(text.encode()) <= 4096
    for offset, _, _ in puts:
        assert (again.tries(offset), again.why(offset)) == (notes.tries(offset), notes.why(offset))
    assert sum(notes.tries(offset) > 0 for offset in {o for o, _, _ in puts}) <= MAX_NOTES


@given(st.one_of(st.none(), st.text(), st.from_regex(r'\{"reelbus.tries":.*\}')))
def test_what_somebody_else_wrote_is_no_note(metadata: str | None) -> None:
    assert Notes(metadata).tries(7) >= 0


@pytest.mark.parametrize("text", ["[1]", "{}", "[" * 5000, '{"reelbus.tries": 3}', '{"reelbus.tries": {"x": [1, ""]}}'])
def test_metadata_of_another_shape_is_no_note(text: str) -> None:
    assert not Notes(text)


def test_of_many_notes_the_first_records_are_kept() -> None:
    notes = Notes()
    for offset in (9, 1, 5, 7):
        notes.put(offset, 1)
    assert [notes.tries(offset) for offset in (1, 5, 7, 9)] == [1, 1, 1, 0]
    notes.forget_below(6)
    assert [notes.tries(offset) for offset in (1, 5, 7)] == [0, 0, 1]


def test_what_a_spent_record_becomes_says_how_it_ended() -> None:
    assert isinstance(spent("", "mux"), Poison)
    bug = spent(described(KeyError("a\nb")), "mux")
    assert isinstance(bug, Bug)
    assert str(bug) == f"mux raised in {MAX_TRIES} tries: KeyError: 'a\\nb'"


# ---- a lane --------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=40))
def test_a_head_moves_aside_only_after_some_tries_and_when_others_got_through(got_through: list[bool]) -> None:
    """got_through: what happens between two failures of the head."""
    lane = Lane()
    lane.records.extend(record(n) for n in range(3))
    through, at_first_failure = 5, 5
    for number, one_more in enumerate(got_through, 1):
        wait_s = lane.failed(100.0, through)
        assert 0 < wait_s <= RETRY_LAST_S
        expected = number >= IN_PLACE_TRIES and through > at_first_failure
        assert lane.trouble_is_its_own(through) == expected
        through += one_more


@given(st.integers(1, 60))
def test_in_an_outage_nothing_ever_moves_and_one_probe_is_made_per_try(failures: int) -> None:
    lane = Lane()
    lane.records.extend(record(n) for n in range(3))
    probes = 0
    for _ in range(failures):
        lane.failed(0.0, 0)
        while (probe := lane.to_probe(0)) is not None:
            assert probe.offset == 1
            probes += 1
            lane.probed = lane.tries  # it failed as well
        assert not lane.trouble_is_its_own(0)
    assert probes == max(0, failures - IN_PLACE_TRIES + 1)


def test_a_record_that_may_be_deadly_is_no_probe() -> None:
    lane = Lane()
    lane.records.extend(record(n) for n in range(4))
    lane.notes.put(1, 2)
    for _ in range(IN_PLACE_TRIES):
        lane.failed(0.0, 0)
    probe = lane.to_probe(0)
    assert probe is not None
    assert probe.offset == 2
    assert lane.to_probe(1) is None, "what is known needs no probe"
    lane.probe = 4
    assert lane.to_probe(0) is None


def test_the_next_head_starts_afresh() -> None:
    lane = Lane()
    lane.records.extend(record(n) for n in range(2))
    lane.notes.put(0, 1)
    for _ in range(IN_PLACE_TRIES):
        lane.failed(0.0, 0)
    lane.done()
    assert lane.is_head(record(1))
    assert not lane.notes
    assert not lane.trouble_is_its_own(100)
    assert lane.not_before_s == 0.0


# ---- steps of retry topics -----------------------------------------------------------------------------------------

STEPS = RetrySteps("p", [MUX_TASKS], MUX_TASKS_RETRY)


def test_a_record_goes_through_every_delay_once_and_keeps_its_origin() -> None:
    at, now_ms, seen = record(42, headers=(("note", b"x"),)), 1_000, []
    while (step := STEPS.after(at)) is not None:
        headers = STEPS.headers(at, step, "p.mux", "mux", Transient("no"), now_ms)
        seen.append(step.delay_ms)
        at = dataclasses.replace(at, topic=step.topic.name("p"), offset=0, headers=headers)
        assert len(dict(headers)) == len(headers), "no header twice"
        assert STEPS.due_ms(at) == due_at_ms(dict(headers)) == now_ms + step.delay_ms
        assert STEPS.origin(at) is MUX_TASKS
        now_ms += step.delay_ms
    assert seen == list(RETRY_DELAYS.values())
    letter = dict(dead_letter.headers(at, "p.mux", "mux", Exhausted("end"), now_ms, moved=STEPS.moved(at)))
    assert (letter["__dlq.errors.topic"], letter["__dlq.errors.offset"]) == (b"p.mux.tasks.v1", b"42")
    assert (letter["note"], letter["reelbus.error.first-failed-at"]) == (b"x", b"1000")
    assert DUE_HEADER not in letter


def test_a_due_time_counts_in_a_retry_topic_only() -> None:
    late = ((DUE_HEADER, b"99999"),)
    assert STEPS.due_ms(record(1, headers=late)) == 0
    assert STEPS.due_ms(record(1, "p.mux.tasks.retry.1m.v1", late)) == 99_999


def test_what_nobody_moved_to_a_retry_topic_is_its_own_dead_letter() -> None:
    assert STEPS.origin(record(1, "p.mux.tasks.retry.1m.v1")) is MUX_TASKS_RETRY["1m"]
    forged = (("__dlq.errors.topic", b"p.jobs.state.v1"),)
    assert STEPS.origin(record(1, "p.mux.tasks.retry.1m.v1", forged)) is MUX_TASKS_RETRY["1m"]
    assert STEPS.origin(record(1)) is MUX_TASKS


def test_without_retry_topics_nothing_moves() -> None:
    none = RetrySteps("p", [MUX_TASKS], {})
    assert not none
    assert none.after(record(1)) is None


# ---- large letters -------------------------------------------------------------------------------------------------


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_a_letter_fits_and_is_cut_only_when_it_must_be(value: int, key: int, header: int) -> None:
    part = b"x" * (MAX_LETTER_BYTES // 2)
    large = Incoming("p.a.v1", 0, 1, part * key, part * value, (("note", part * header),), 0)
    made = dead_letter.headers(large, "g", "split", Exhausted("end"), 1)
    letter, headers = fitting(large, made)
    size = len(letter.value or b"") + len(letter.key or b"") + sum(len(n) + len(v) for n, v in headers)
    assert size <= MAX_LETTER_BYTES
    cut = "reelbus.error.cut" in dict(headers)
    assert cut == (value + key + header >= 2)
    assert cut or (letter, headers) == (large, made)
