"""What a person sees, as text."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ops.view.describe import chunks, note, queue, waited_s, webhook, worker
from ops.view.lines import change, line, totals
from ops.view.live import live, ordered
from ops.view.live_state import WORKER_SILENT_MS, LiveState
from ops.view.stages import described, stages
from ops.view.summary import Outcome, outcomes, reasons, waits
from ops.view.units import seconds, shortened, size
from schemas.events import JobState, Progress, Reason, WebhookDelivery
from schemas.work import WorkerState


def job(name, state="queued", *, sequence=1, lane="standard", at_ms=10_000, reason=None, **progress):
    made = Progress(**{"chunks": 5, **progress}) if progress else None
    return JobState(
        job=f"default/{name}", state=state, sequence=sequence, lane=lane, model="shapes", requested_at_ms=1_000,
        updated_at_ms=at_ms, progress=made, reason=reason,
    )  # fmt: skip


def render_worker(name="w", **changes):
    values = {
        "worker_id": name, "pool": "cpu", "device": "cpu", "partitions": (0,), "models": ("shapes",), "pending": (),
        "capacity": 2, "at_ms": 10_000,
    }  # fmt: skip
    return WorkerState(**{**values, **changes})


def text_of(renderable, width=140):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def fold(*records):
    state = LiveState()
    for record in records:
        state.apply(getattr(record, "job", "key"), record)
    return state


def row_of(text, start):
    (found,) = [row for row in text.splitlines() if row.startswith(start)]
    return found.split()


# ---- folding -----------------------------------------------------------------------------------------------------


@given(st.permutations([job("a", "queued", sequence=n) for n in range(1, 6)]))
def test_the_newest_state_wins_in_any_order(states):
    assert fold(*states).jobs["default/a"].sequence == 5


def test_a_repeated_or_older_state_is_not_told_again():
    state = LiveState()
    assert state.apply("default/a", job("a", sequence=2)) is not None
    assert state.apply("default/a", job("a", sequence=2)) is None
    assert state.apply("default/a", job("a", sequence=1)) is None


def test_a_tombstone_forgets_a_job():
    state = fold(job("a"))
    state.apply("default/a", None)
    assert state.snapshot(0).jobs == ()


def test_a_silent_or_leaving_worker_is_gone():
    state = fold(
        render_worker("silent"),
        render_worker("leaving", leaving=True, at_ms=14_000),
        render_worker("here", at_ms=14_000),
    )
    now_ms = 10_000 + WORKER_SILENT_MS + 1
    assert [w.worker_id for w in state.snapshot(now_ms).workers] == ["here"]


def test_a_snapshot_can_be_limited_to_some_jobs():
    state = fold(job("a"), job("b"))
    assert [j.job for j in state.snapshot(0, {"default/b"}).jobs] == ["default/b"]


# ---- words -------------------------------------------------------------------------------------------------------


def test_words_for_progress():
    assert chunks(job("a", "rendering", rendered=2, reused=1)) == "3/5 (1 reused)"
    assert chunks(job("a")) == ""
    assert queue(job("a", queue_position=0)) == "next"
    assert queue(job("a", queue_position=3)) == "3 ahead"
    assert queue(job("a", "completed", queue_position=3)) == ""
    assert note(job("a", eta_s=75.0)) == "ready in about 1 min 15 s"
    assert note(job("a", "completed", eta_s=0.0)) == ""


def test_a_reason_names_the_field():
    reason = Reason(code="prompt_refused", message="it asks for x", field="shots[0].prompt")
    assert note(job("a", "rejected", reason=reason)) == "shots[0].prompt: it asks for x"
    named = Reason(code="prompt_refused", message="shots[0].prompt: it asks for x", field="shots[0].prompt")
    assert note(job("a", "rejected", reason=named)) == "shots[0].prompt: it asks for x"


def test_waiting_time_counts_until_the_first_chunk():
    assert waited_s(job("a"), 4_000) == 3.0
    assert waited_s(job("a", "rendering", waited_s=1.5), 9_000) == 1.5
    assert waited_s(job("a", "rejected"), 9_000) is None


def test_words_for_a_worker():
    assert worker(render_worker()) == "idle"
    busy = render_worker(pending=("abcdef0123", "ffff"), step=3, steps=8)
    assert worker(busy) == "step 3/8 of chunk abcdef01, 1 waiting"


def test_words_for_a_webhook():
    delivery = WebhookDelivery(id="1", job="default/a", attempt=2, outcome="retry", error="refused")
    assert webhook(delivery) == "retry after 2 tries: refused"


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (None, ""), (-1, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"),
        (59.6, "1 min 00 s"), (7380, "2 h 03 min"),
    ],
)  # fmt: skip
def test_seconds(value_s, text):
    assert seconds(value_s) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (81_234, "81 kB"), (12_400_000, "12.4 MB"), (3 * 10**9, "3.0 GB")]
)
def test_size(value, text):
    assert size(value) == text


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_fits_and_keeps_both_ends(text, width):
    short = shortened(text, width)
    assert len(short) <= width
    if len(text) > width:
        assert short[0] == text[0]
        assert short[-1] == text[-1]


# ---- plain lines -------------------------------------------------------------------------------------------------


def test_only_a_change_of_stage_or_chunks_makes_a_line():
    before = job("a", "rendering", rendered=1, queue_position=4)
    assert change(None, before, "default") == "standard a rendering 1/5 chunks"
    assert change(before, job("a", "rendering", rendered=1, queue_position=2), "default") is None
    assert change(before, job("a", "rendering", rendered=2), "default") == "standard a rendering 2/5 chunks"


def test_a_line_says_where_in_the_queue_and_why_it_ended():
    assert line(job("a", queue_position=0), "default") == "standard a queued (next)"
    ended = job("a", "failed", reason=Reason(code="render_failed", message="it did not work"))
    assert line(ended, "other") == "standard default/a failed - it did not work"


def test_totals_by_lane():
    state = fold(
        job("a", "rendering", lane="express"), job("b", lane="bulk"), job("c", lane="bulk"), job("d", "rejected")
    )
    text = totals(state.snapshot(0))
    assert text == "express 1 rendering; standard 1 ended without video; bulk 2 waiting"
    assert totals(LiveState().snapshot(0)) == "no jobs"


# ---- the live view -----------------------------------------------------------------------------------------------


def test_busy_jobs_come_first_then_waiting_ones_as_they_are_served_then_the_latest_ended():
    jobs = (
        job("old", "completed", at_ms=1), job("new", "failed", at_ms=2), job("b2", lane="bulk", queue_position=1),
        job("b1", lane="bulk", queue_position=0), job("e", lane="express", queue_position=5), job("r", "rendering"),
    )  # fmt: skip
    assert [j.job.partition("/")[2] for j in ordered(jobs)] == ["r", "e", "b1", "b2", "new", "old"]


def test_the_view_shows_lanes_workers_and_jobs():
    state = fold(
        job("r", "rendering", rendered=2, lane="express", waited_s=0.4),
        job("q1", lane="bulk", queue_position=0, eta_s=9.0),
        job("q2", lane="bulk", queue_position=1),
        render_worker("box-1", pending=("abcdef0123",), step=3, steps=8, rendered=7),
    )
    text = text_of(live(state.snapshot(11_000), max_jobs=10))
    assert row_of(text, "express") == ["express", "·", "1", "·", "·", "·"]
    assert row_of(text, "bulk") == ["bulk", "2", "·", "·", "·", "·", "q1"]
    assert row_of(text, "box-1") == ["box-1", "cpu", "cpu", "step", "3/8", "of", "chunk", "abcdef01", "7"]
    assert row_of(text, "r ") == ["r", "express", "rendering", "━━━━──────", "2/5", "0.4", "s"]
    assert row_of(text, "q2")[:5] == ["q2", "bulk", "queued", "1", "ahead"]
    assert "ready in about 9.0 s" in text


def test_the_view_is_as_short_as_asked_for_and_says_what_is_left_out():
    state = fold(*(job(f"j{n:02}", queue_position=n) for n in range(30)))
    text = text_of(live(state.snapshot(0), max_jobs=5))
    assert "and 25 more jobs" in text
    assert "j04" in text
    assert "j05" not in text


def test_a_long_reason_is_cut_and_takes_no_room_from_the_numbers():
    reason = Reason(code="x", message="it is refused because " + "very " * 60)
    text = text_of(live(fold(job("a", "rejected", reason=reason), job("b")).snapshot(3_600_000), max_jobs=5), width=120)
    assert "59 min 59 s" in row_of_text(text, "b ")
    assert "it is refused" in row_of_text(text, "a ")
    assert len(row_of_text(text, "a ")) <= 120


def row_of_text(text, start):
    (found,) = [row for row in text.splitlines() if row.startswith(start)]
    return found


def test_without_a_worker_the_view_says_so():
    assert "no render worker is running" in text_of(live(LiveState().snapshot(0), max_jobs=5))


def test_names_from_outside_are_not_taken_for_markup():
    state = fold(job("a", "failed", reason=Reason(code="x", message="[red]not markup[/red]")))
    assert "[red]not markup[/red]" in text_of(live(state.snapshot(0), max_jobs=5))


class _Process:
    def __init__(self, name, state, restarts):
        self.name, self.state, self.restarts = name, state, restarts


def test_stages_at_a_glance():
    processes = [_Process("split", "running", 0), _Process("mux", "waiting", 2)]
    assert stages(processes).plain == "stages  split · mux (waiting, restarted 2 times)"
    assert described(_Process("mux", "running", 1)) == "mux (restarted once)"


# ---- the final table ---------------------------------------------------------------------------------------------


def test_the_summary_has_a_row_per_job():
    done = job("a", "completed", rendered=4, reused=1, device_s=2.25, waited_s=0.5)
    refused = job(
        "b", "rejected", reason=Reason(code="prompt_refused", message="it asks for x", field="shots[0].prompt")
    )
    rows = [Outcome(done, "a", "out/a.mp4", 81_000), Outcome(refused, "b")]
    text = text_of(outcomes(rows))
    assert row_of(text, "a ") == [
        "a", "standard", "completed", "0.5", "s", "2.2", "s", "5/5", "(1", "reused)", "out/a.mp4", "81", "kB"
    ]  # fmt: skip
    assert row_of(text, "b ") == ["b", "standard", "rejected"]
    assert reasons(rows) == ["b: rejected (prompt_refused): shots[0].prompt: it asks for x"]
    assert waits([*rows, Outcome(job("c", "completed", waited_s=1.5), "c")]) == "standard 1.0 s"
