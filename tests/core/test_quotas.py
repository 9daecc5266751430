"""What tenants may use: who waits, who is refused and told when to ask again, and that nobody else notices."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ops.usage import add_up
from ops.view.describe import note
from schemas.codec import decode, encode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent, JobState, Progress, UsageMetered
from schemas.plan import Plan
from schemas.quotas import DAY_MS, EVERYBODY, Account, LedgerEntry, Quota, conforms
from schemas.topics import DISPATCH_STATE, PLANS_PARKED
from schemas.work import Command, SchedulerRow
from stream_processors.dispatch.backlog import LEAST_JOBS
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.quotas import Quotas
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, events, render_all, tasks
from tests.core.test_steering import told

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


def scheduler_with(capacity: int = 4, **quota) -> Scheduler:
    made = Scheduler(WEIGHTS, quotas=Quotas(Quota(tenant=EVERYBODY, **{"requests_per_s": 0.0, **quota})))
    made.on_worker(worker(capacity=capacity), NOON_MS)
    return made


def asked(name: str, at_ms: int = NOON_MS, **facts) -> Plan:
    return plan(name, requested_at_ms=at_ms, **{"chunks": 1, **facts})


def refusal(out) -> JobEvent:
    (event,) = told(out, "job.rejected")
    assert event.reason is not None
    return event


# ---- the rate ----------------------------------------------------------------------------------------------------


@given(
    st.floats(0.1, 100),
    st.integers(1, 50),
    st.lists(st.integers(0, 5_000), min_size=1, max_size=100),
)
@settings(max_examples=200, deadline=None)
def test_no_window_of_time_holds_more_requests_than_the_rate_and_the_burst(rate, burst, pauses_ms) -> None:
    quota = Quota(tenant="a", requests_per_s=rate, burst_requests=burst)
    at_ms, until_us, starts_ms = 0, 0, []
    for pause_ms in pauses_ms:
        at_ms += pause_ms
        start_ms, until_us = conforms(quota, until_us, at_ms)
        assert start_ms >= at_ms
        starts_ms.append(start_ms)
    assert starts_ms == sorted(starts_ms)
    for first, begin_ms in enumerate(starts_ms):
        for last in range(first, len(starts_ms)):
            allowed = burst + rate * (starts_ms[last] - begin_ms + 1) / 1_000  # starts are whole milliseconds
            assert last - first + 1 <= allowed * 1.001
    # And nobody waits who need not: the first ones of a tenant that was quiet go at once.
    until_us = 0
    for _ in range(burst):
        start_ms, until_us = conforms(quota, until_us, NOON_MS)
        assert start_ms == NOON_MS


def test_requests_over_the_rate_wait_for_their_time_and_say_until_when() -> None:
    scheduler = scheduler_with(requests_per_s=1.0, burst_requests=2)
    out = [o for n in range(4) for o in scheduler.on_plan(asked(f"j{n}"), NOON_MS)]
    queued = {e.job: e.progress for e in told(out, "job.queued")}
    assert [queued[f"default/j{n}"].resumes_at_ms for n in range(4)] == [None, None, NOON_MS + 1_000, NOON_MS + 2_000]
    assert queued["default/j2"].stopped == "its tenant sends more requests than it may"
    assert [t.job for t in tasks(scheduler.tick(NOON_MS + 1))] == ["default/j0", "default/j1"]
    assert tasks(scheduler.tick(NOON_MS + 999)) == []
    assert [t.job for t in tasks(scheduler.tick(NOON_MS + 1_000))] == ["default/j2"]
    assert [t.job for t in tasks(scheduler.tick(NOON_MS + 2_000))] == ["default/j3"]


def test_bulk_is_not_rated_and_other_tenants_have_rates_of_their_own() -> None:
    scheduler = scheduler_with(requests_per_s=1.0, burst_requests=1, capacity=9)
    for n in range(3):
        scheduler.on_plan(asked(f"b{n}", lane="bulk"), NOON_MS)
        scheduler.on_plan(asked(f"s{n}", tenant=f"t{n}"), NOON_MS)
    assert len(tasks(scheduler.tick(NOON_MS + 1))) == 6


def test_who_is_refused_for_the_rate_is_let_in_when_told_to_ask_again() -> None:
    scheduler = scheduler_with(requests_per_s=0.5, burst_requests=1, over="refuse")
    assert events(scheduler.on_plan(asked("a"), NOON_MS)) == ["job.queued"]
    said = refusal(scheduler.on_plan(asked("b"), NOON_MS))
    assert (said.reason.code, said.reason.retry_after_s) == ("rate_limited", 2.0)
    assert said.reason.message.endswith("0.5 requests a second, 1 at once; send it again in 2 s, with a new job_id")
    assert events(scheduler.on_plan(asked("c", NOON_MS + 2_000), NOON_MS + 2_000)) == ["job.queued"]


def test_a_repeated_plan_counts_once() -> None:
    scheduler = scheduler_with(requests_per_s=1.0, burst_requests=2, over="refuse")
    for _ in range(5):
        scheduler.on_plan(asked("a"), NOON_MS)
    assert events(scheduler.on_plan(asked("b"), NOON_MS)) == ["job.queued"]


# ---- chunks at once ----------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(("serve", "done", "cancel", "raise", "lower")), max_size=40), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_a_tenant_never_has_more_chunks_out_than_it_may_and_others_take_the_room(history, most) -> None:
    scheduler = scheduler_with(capacity=6)
    scheduler.on_quota("ada", Quota(tenant="ada", requests_per_s=0, running_chunks=most))
    left = {"ada": 40, "bob": 40}
    for tenant in left:
        for n in range(10):
            scheduler.on_plan(asked(f"j{n}", tenant=tenant, chunks=4, chained=False, seed=n), NOON_MS)
    now_ms, out = NOON_MS, []
    for step in [*history, "serve"]:
        now_ms += 1
        if step in ("raise", "lower"):
            most = max(1, most + (1 if step == "raise" else -1))
            scheduler.on_quota("ada", Quota(tenant="ada", requests_per_s=0, running_chunks=most))
        elif step == "done" and out:
            scheduler.on_inspected(result(out.pop(0)), now_ms)
        elif step == "cancel" and out:
            gone = out[-1].job
            scheduler.on_control(Command(job=gone, action="cancel"), now_ms)
            for task in [t for t in out if t.job == gone]:
                scheduler.on_inspected(result(task, status="withdrawn"), now_ms)
            out = [t for t in out if t.job != gone]
        elif step == "serve":
            had = sum(t.spec.tenant == "ada" for t in out)
            scheduler.on_worker(worker(capacity=6, pending=tuple(t.chunk_id for t in out)), now_ms)
            given_out = tasks(scheduler.tick(now_ms))
            out += given_out
            mine = sum(t.spec.tenant == "ada" for t in out)
            assert mine <= max(most, had)
            waiting = {j.plan.request.tenant for j in scheduler.jobs.values() if next(j.waiting(), None) is not None}
            if len(out) < 6:
                assert "bob" not in waiting, "a worker has room"
                assert "ada" not in waiting or mine >= most, "and so has the quota"


# ---- device time -------------------------------------------------------------------------------------------------


def test_who_has_used_up_the_day_waits_for_midnight_through_a_restart() -> None:
    scheduler = scheduler_with(capacity=1, device_s_per_day=1.0)
    rows: dict[str, bytes] = {}

    def keep(out):
        for o in out:
            if o.topic is DISPATCH_STATE:
                rows.pop(o.key, None) if o.record is None else rows.update({o.key: encode(o.record)})
        return out

    keep(scheduler.on_plan(asked("a", chunks=5, cost_s=0.5), NOON_MS))
    now_ms = NOON_MS
    for _ in range(2):  # 0.5 s each
        (task,) = tasks(keep(scheduler.tick(now_ms := now_ms + 1)))
        keep(scheduler.on_inspected(result(task), now_ms))
    out = keep(scheduler.tick(now_ms + 2_000))
    assert tasks(out) == []
    (event,) = told(out, "job.progress")
    assert event.progress.stopped == "tenant default has used its 1 device-seconds of today"
    midnight_ms = event.progress.resumes_at_ms
    assert midnight_ms == NOON_MS + DAY_MS // 2
    successor = Scheduler(WEIGHTS, quotas=Quotas(Quota(tenant=EVERYBODY, requests_per_s=0, device_s_per_day=1.0)))
    successor.restore(
        [decode(Plan, raw) for key, raw in rows.items() if key.endswith("#plan")],
        [decode(SchedulerRow, raw) for key, raw in rows.items() if key.endswith("#progress")],
        accounts=[decode(Account, raw) for key, raw in rows.items() if key.endswith("#account")],
    )
    successor.on_worker(worker(capacity=1), now_ms + 3_000)
    assert tasks(successor.tick(now_ms + 3_000)) == []
    successor.on_worker(worker(capacity=1), midnight_ms)
    assert len(tasks(successor.tick(midnight_ms))) == 1


def test_a_parked_job_is_told_what_its_tenant_waits_for_and_neither_place_nor_finish() -> None:
    quotas = Quotas(Quota(tenant=EVERYBODY, requests_per_s=0, device_s_per_day=1.0))
    scheduler = Scheduler(WEIGHTS, quotas=quotas, window_jobs=1)
    scheduler.on_worker(worker(capacity=1), NOON_MS)
    scheduler.on_plan(asked("a", chunks=5, cost_s=0.5), NOON_MS)
    now_ms = NOON_MS
    for _ in range(2):
        (task,) = tasks(scheduler.tick(now_ms := now_ms + 1))
        scheduler.on_inspected(result(task), now_ms)
    out = [o for n in range(LEAST_JOBS) for o in scheduler.on_plan(asked(f"b{n}", cost_s=0.5), now_ms)]
    late = [event for event in told(out, "job.queued") if event.job in {o.key for o in out if o.topic is PLANS_PARKED}]
    assert late
    for event in late:
        assert event.progress.stopped == "tenant default has used its 1 device-seconds of today"
        assert event.progress.resumes_at_ms == NOON_MS + DAY_MS // 2
        assert (event.progress.queue_position, event.progress.eta_s) == (None, None)


def test_a_day_is_overdrawn_by_no_more_than_what_was_out_when_it_ended() -> None:
    scheduler = scheduler_with(capacity=4, device_s_per_day=2.0)
    scheduler.on_plan(asked("a", chunks=9, chained=False, cost_s=0.9), NOON_MS)
    assert len(tasks(scheduler.tick(NOON_MS))) == 3, "what is out is expected to use the rest"


def test_who_may_not_wait_for_tomorrow_is_told_when_that_is() -> None:
    scheduler = scheduler_with(device_s_per_day=10.0, over="refuse")
    scheduler.on_plan(asked("a", chunks=8), NOON_MS)
    said = refusal(scheduler.on_plan(asked("b", chunks=3), NOON_MS))
    assert (said.reason.code, said.reason.retry_after_s) == ("daily_quota", DAY_MS / 2_000)
    assert events(scheduler.on_plan(asked("c", chunks=2), NOON_MS)) == ["job.queued"], "what still fits is let in"
    scheduler.on_control(Command(job="default/a", action="cancel"), NOON_MS)
    assert events(scheduler.on_plan(asked("d", chunks=8), NOON_MS)) == ["job.queued"], "a cancelled job gives back"


def test_a_job_that_is_too_large_is_refused_whatever_the_policy() -> None:
    scheduler = scheduler_with(job_device_s=3.0, over="wait")
    said = refusal(scheduler.on_plan(asked("a", chunks=4), NOON_MS))
    assert (said.reason.code, said.reason.retry_after_s) == ("job_too_large", None)
    assert "about 4.0 device-seconds; the limit of the tenant is 3 a job" in said.reason.message
    assert scheduler.jobs == {}


def test_who_has_too_many_jobs_in_line_hears_when_the_next_is_done() -> None:
    scheduler = scheduler_with(queued_jobs=2, over="refuse")
    for name in ("a", "b"):
        scheduler.on_plan(asked(name, chunks=5), NOON_MS)
    assert refusal(scheduler.on_plan(asked("c"), NOON_MS)).reason.retry_after_s == 60.0
    scheduler.tick(NOON_MS + 1)
    said = refusal(scheduler.on_plan(asked("d"), NOON_MS + 2))
    assert (said.reason.code, said.reason.retry_after_s) == ("too_many_queued", 9.0)
    assert events(scheduler.on_plan(asked("e", tenant="other"), NOON_MS + 2)) == ["job.queued"]


def test_who_watches_sees_what_a_tenant_waits_for_and_until_when() -> None:
    why = "tenant acme has used its 3600 device-seconds of today"
    progress = Progress(chunks=3, stopped=why, resumes_at_ms=NOON_MS + DAY_MS // 2)
    state = JobState(
        job="acme/a", state="queued", sequence=3, lane="standard", model="m", requested_at_ms=1, updated_at_ms=1,
        progress=progress,
    )  # fmt: skip
    assert note(state) == f"{why}; goes on at 2024-10-05 00:00:00 UTC"


# ---- records of operators ----------------------------------------------------------------------------------------


def test_a_quota_holds_from_the_record_on_and_ends_with_its_tombstone() -> None:
    scheduler = scheduler_with()
    scheduler.on_plan(asked("a", chunks=4, chained=False), NOON_MS)
    scheduler.on_quota("default", Quota(tenant="default", requests_per_s=0, running_chunks=1))
    assert len(tasks(scheduler.tick(NOON_MS))) == 1
    scheduler.on_quota("default", None)
    assert len(tasks(scheduler.tick(NOON_MS + 1))) == 3
    with pytest.raises(InvalidMessage, match='key: found "x"; expected "default", as tenant says'):
        scheduler.on_quota("x", Quota(tenant="default"))


def test_a_tenants_own_quota_goes_before_everybodys() -> None:
    quotas = Quotas()
    quotas.put(EVERYBODY, Quota(tenant=EVERYBODY, queued_jobs=1))
    quotas.put("ada", Quota(tenant="ada", queued_jobs=2))
    assert [quotas.of(t).queued_jobs for t in ("ada", "bob")] == [2, 1]
    quotas.put("ada", None)
    assert quotas.of("ada").queued_jobs == 1


def test_a_weight_by_quota_counts_for_jobs_that_wait_already() -> None:
    scheduler = scheduler_with(capacity=1)
    for tenant in ("ada", "bob"):
        for n in range(20):
            scheduler.on_plan(asked(f"j{n}", tenant=tenant), NOON_MS)
    scheduler.on_quota("ada", Quota(tenant="ada", requests_per_s=0, weight=3.0))
    served = [t.spec.tenant for t in tasks(render_all(scheduler, NOON_MS, rounds=16))]
    assert served.count("ada") == 12


# ---- the ledger --------------------------------------------------------------------------------------------------


def entries(out) -> list[LedgerEntry]:
    return [o.record for o in out if isinstance(o.record, LedgerEntry)]


def test_the_ledger_tells_what_was_set_aside_spent_and_given_back() -> None:
    scheduler = scheduler_with()
    out = scheduler.on_plan(asked("a", chunks=2, cost_s=0.8), NOON_MS)
    (reserved,) = entries(out)
    assert (reserved.kind, reserved.reserved_s, reserved.job) == ("reserved", 1.6, "default/a")
    (first,) = tasks(scheduler.tick(NOON_MS))
    (spent,) = entries(scheduler.on_inspected(result(first), NOON_MS))
    assert (spent.kind, spent.spent_s, spent.chunk) == ("spent", 0.5, first.index)
    (settled,) = entries(scheduler.on_control(Command(job="default/a", action="cancel"), NOON_MS))
    assert (settled.kind, settled.reserved_s, settled.refunded_s) == ("settled", -1.6, 0.0)


@pytest.mark.parametrize(("refunds", "back_s"), [((), 0.0), (("cancelled",), 0.75)])
def test_what_comes_in_after_the_end_is_given_back_as_well_where_the_quota_says_so(refunds, back_s) -> None:
    scheduler = scheduler_with(refunds=refunds)
    scheduler.on_plan(asked("a", chunks=2, chained=False), NOON_MS)
    first, second = tasks(scheduler.tick(NOON_MS))
    out = scheduler.on_inspected(result(first), NOON_MS)
    out += scheduler.on_control(Command(job="default/a", action="cancel"), NOON_MS)
    out += scheduler.on_inspected(result(second, status="withdrawn"), NOON_MS)
    assert sum(e.spent_s for e in entries(out)) == 0.75
    assert sum(e.refunded_s for e in entries(out)) == back_s


def test_usage_adds_up_by_tenant_and_says_what_is_still_open() -> None:
    def entry(kind: str, job: str, at_ms: int = 10, **amounts) -> LedgerEntry:
        name = f"{kind}{job}{amounts}"
        return LedgerEntry(id=name, kind=kind, tenant=job.partition("/")[0], job=job, at_ms=at_ms, **amounts)

    ledger = [
        entry("reserved", "ada/old", at_ms=1, reserved_s=9.0),
        entry("reserved", "ada/a", reserved_s=2.0),
        entry("spent", "ada/a", spent_s=0.1),
        entry("spent", "ada/a", spent_s=0.2),
        entry("settled", "ada/a", reserved_s=-2.0),
        entry("spent", "ada/a", spent_s=0.05),
        entry("reserved", "ada/b", reserved_s=1.0),
        entry("spent", "ada/b", spent_s=0.4),
        entry("settled", "ada/old", reserved_s=-9.0),
        entry("reserved", "bob/c", reserved_s=1.0),
    ]
    facts = {"model": "m", "chunks_rendered": 1, "chunks_reused": 0, "at_ms": 1}
    metered = [
        UsageMetered(id="1", job="ada/a", tenant="ada", device_s=0.3, **facts),
        UsageMetered(id="2", job="ada/a", tenant="ada", device_s=0.05, **facts),
        UsageMetered(id="3", job="ada/old", tenant="ada", device_s=7.0, **facts),
    ]
    ada, bob = add_up(ledger, metered, since_ms=5)
    assert (ada.jobs, ada.open_jobs, ada.reserved_s, ada.spent_s, ada.metered_s) == (2, 1, 1.0, 0.75, 0.35)
    assert ada.adds_up
    assert (bob.jobs, bob.reserved_s) == (1, 1.0)
    assert [u.tenant for u in add_up(ledger, metered, tenant="bob")] == ["bob"]
    assert not add_up(ledger, metered[:1], since_ms=5)[0].adds_up
