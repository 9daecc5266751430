"""Whose jobs are erased: all that is given must fit, and nothing of another tenant is ever among them."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.erasure import Subject, jobs_of, last_trace_ms
from schemas.events import JobState
from schemas.topics import DAY_MS, JOBS_FINISHED

TENANTS, USERS, BATCHES = ("acme", "umbra"), ("1", "2"), ("", "b1")


def state(number: int, tenant: str, user: str, batch: str, deleted: bool) -> JobState:
    return JobState(
        job=f"{tenant}/{number}", state="deleted" if deleted else "completed", sequence=1, lane="bulk", model="m",
        requested_at_ms=0, updated_at_ms=0, metadata={"user": user, "shop": "7"}, batch_id=batch,
    )  # fmt: skip


STATES = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.sampled_from(USERS), st.sampled_from(BATCHES), st.booleans()), max_size=12
).map(lambda rows: [state(number, *row) for number, row in enumerate(rows)])


@given(STATES, st.sampled_from(USERS), st.sampled_from(BATCHES), st.sets(st.integers(0, 11)))
def test_all_that_fits_and_nothing_else(states: list[JobState], user: str, batch: str, numbers: set[int]) -> None:
    subject = Subject("acme", {"user": user}, batch, tuple(map(str, numbers)))
    found = {one.job for one in jobs_of(subject, states)}
    for one in states:
        job_id = int(one.job.partition("/")[2])
        fits = one.job.startswith("acme/") and one.metadata["user"] == user and one.state != "deleted"
        fits = fits and (not batch or one.batch_id == batch) and (not numbers or job_id in numbers)
        assert (one.job in found) == fits


def test_metadata_that_a_job_does_not_have_fit_nobody() -> None:
    some = state(1, "acme", "1", "", deleted=False)
    assert list(jobs_of(Subject("acme", {"customer": "1"}), [some])) == []
    assert list(jobs_of(Subject("acme", {"customer": ""}), [replace(some, metadata={})])) == []
    assert list(jobs_of(Subject("acme"), [some])) == [some]


def test_the_last_trace_goes_with_the_topic_that_keeps_longest() -> None:
    assert last_trace_ms(0) >= (JOBS_FINISHED.retention_ms or 0)
    assert last_trace_ms(5) - last_trace_ms(0) == 5
    assert last_trace_ms(0) < 400 * DAY_MS
