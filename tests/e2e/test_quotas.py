"""Quotas on a real broker: they hold without a restart and through a kill, and the ledger is what is metered."""

import time

from typer.testing import CliRunner

from ops.cli.app import app
from ops.quotas import quotas, set_quota, standings, unset_quota
from ops.usage import used
from schemas.codec import decode
from schemas.events import JobEvent, JobState
from schemas.ids import event_id
from schemas.quotas import Quota
from schemas.records import Outgoing
from schemas.topics import JOBS_EVENTS, JOBS_STATE, PLANS_READY, TENANTS_QUOTAS
from tests.core.plans import plan
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running
from tests.e2e.test_dispatch_and_track import Rest


def ask(rest: Rest, name: str, tenant: str, chunks: int = 2) -> None:
    now_ms = time.time_ns() // 1_000_000
    made = plan(name, tenant=tenant, chunks=chunks, requested_at_ms=now_ms)
    accepted = JobEvent(
        id=event_id("job.accepted", made.job), source="moderate", type="job.accepted", job=made.job, at_ms=now_ms,
        fingerprint=made.fingerprint, requested_at_ms=now_ms,
    )  # fmt: skip
    rest.send(Outgoing(JOBS_EVENTS, made.job, accepted), Outgoing(PLANS_READY["standard"], made.job, made))


def states(rest: Rest) -> dict[str, JobState]:
    return {state.job: state for r in read_all(rest.settings, JOBS_STATE) if (state := decode(JobState, r.value))}


def test_quotas_hold_at_once_through_a_kill_and_the_ledger_adds_up(settings) -> None:
    rest = Rest(settings)
    rest.outbox.send_raw(TENANTS_QUOTAS.name(settings.prefix), b"*", b"\x00junk", [])
    set_quota(settings, Quota(tenant="poor", requests_per_s=0, device_s_per_day=0.75))
    set_quota(settings, Quota(tenant="hasty", requests_per_s=0.001, burst_requests=1, over="refuse"))
    with running(settings, "ops", "run", "track"):
        with running(settings, "ops", "run", "dispatch") as first:
            ask(rest, "a", "poor", chunks=4)
            ask(rest, "a", "hasty")
            ask(rest, "b", "hasty")
            ask(rest, "a", "rich")
            rest.play_until_finished(3)  # two videos and a refusal
            (refused,) = (state for state in states(rest).values() if state.state == "rejected")
            assert refused.job in ("hasty/a", "hasty/b"), "whichever came second"
            assert refused.reason is not None
            assert refused.reason.code == "rate_limited"
            assert refused.reason.retry_after_s is not None
            assert 900 < refused.reason.retry_after_s <= 1_000
            while "of today" not in stopped(rest, "poor/a"):
                rest.play()
            first.kill()
            first.wait()
        with running(settings, "ops", "run", "dispatch"):
            ask(rest, "b", "rich")
            ask(rest, "c", "hasty")
            rest.play_until_finished(5)
            assert rest.tasks["poor/a", 2] == 0, "the next one remembers what was spent"
            (row,) = [s for s in standings(settings) if s.quota.tenant == "poor"]
            assert (row.own, row.spent_s) == (True, 1.0)
            unset_quota(settings, "poor")
            finished = rest.play_until_finished(6)
    assert {f.job: f.state for f in finished}["poor/a"] == "completed"
    assert set(quotas(settings)) == {"*", "hasty"}
    found = {usage.tenant: usage for usage in used(settings)}
    assert {t: (u.jobs, u.open_jobs, u.reserved_s, u.spent_s) for t, u in found.items()} == {
        "poor": (1, 0, 0.0, 2.0), "hasty": (1, 0, 0.0, 1.0), "rich": (2, 0, 0.0, 2.0),
    }  # fmt: skip
    assert all(usage.adds_up for usage in found.values())


def stopped(rest: Rest, job: str) -> str:
    state = states(rest).get(job)
    return state.progress.stopped if state is not None and state.progress is not None else ""


def test_the_command_line_sets_and_shows_them(settings) -> None:
    place = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    run = CliRunner()
    done = run.invoke(app, [*place, "quotas", "set", "acme", "--running-chunks", "3", "--refund", "none"])
    assert done.exit_code == 0, done.output
    done = run.invoke(app, [*place, "quotas", "set", "acme", "--over", "refuse"])
    assert done.exit_code == 0, done.output
    kept = quotas(settings)["acme"]
    assert (kept.running_chunks, kept.over, kept.refunds) == (3, "refuse", ())
    shown = run.invoke(app, [*place, "quotas", "list"]).output
    assert "everybody" in shown
    assert "acme" in shown
    assert "nothing was used" in run.invoke(app, [*place, "usage"]).output
    assert run.invoke(app, [*place, "quotas", "unset", "acme"]).exit_code == 0
    assert set(quotas(settings)) == {"*"}
