"""Two requests under one id: only the one that track has accepted may become a video."""

from typing import Any

import pytest

from schemas.events import JobEvent
from schemas.records import Outgoing
from schemas.topics import DISPATCH_STATE
from schemas.work import ChunkWithdrawn, Command
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, answer, events, mux_tasks, render_all, tasks


@pytest.fixture
def asking():
    """A scheduler whose track has not answered yet."""
    made = Scheduler(WEIGHTS)
    made.on_worker(worker(), 0)
    return made


def asked(out: list[Outgoing]) -> list[str]:
    return [o.record.fingerprint for o in out if isinstance(o.record, JobEvent) and o.record.type == "job.queued"]


def rows(out: list[Outgoing]) -> dict[str, Any]:
    """What dispatch.state holds after these records."""
    kept = {o.key: o.record for o in out if o.topic is DISPATCH_STATE}
    return {key: record for key, record in kept.items() if record is not None}


FIRST, SECOND, THIRD = (plan(chunks=1, seed=seed) for seed in (1, 2, 3))


def test_no_video_is_made_before_track_has_said_whose_the_id_is(asking):
    assert asked(asking.on_plan(FIRST, 1)) == [FIRST.fingerprint]
    assert mux_tasks(render_all(asking)) == []
    assert mux_tasks(asking.on_control(answer("admit", SECOND), 20)) == []
    (task,) = mux_tasks(asking.on_control(answer("admit", FIRST), 21))
    assert task.plan == FIRST
    assert asking.on_control(answer("admit", FIRST), 22) == []


def test_the_answer_may_come_before_the_chunks(asking):
    asking.on_plan(FIRST, 1)
    asking.on_control(answer("admit", FIRST), 2)
    assert [m.plan for m in mux_tasks(render_all(asking))] == [FIRST]
    assert asking.on_plan(SECOND, 30) == []


def test_a_request_that_does_not_own_the_id_makes_room_for_the_one_that_does(asking):
    out = [*asking.on_plan(SECOND, 1), *render_all(asking), *asking.on_plan(FIRST, 12), *asking.on_plan(FIRST, 13)]
    assert asked(out) == [SECOND.fingerprint]
    out += asking.on_control(answer("withdraw", SECOND), 14)
    assert asked(out)[1:] == [FIRST.fingerprint]
    out += [*render_all(asking, 2_000), *asking.on_control(answer("admit", FIRST), 2_001)]
    assert [m.plan for m in mux_tasks(out)] == [FIRST]
    assert set(rows(out)) == {f"{FIRST.job}#plan", f"{FIRST.job}#progress", "default#account"}
    assert "job.cancelled" not in events(out)


def test_what_a_withdrawn_request_leaves_changes_nothing(asking):
    asking.on_plan(SECOND, 1)
    (late,) = tasks(asking.tick(10))
    out = asking.on_control(answer("withdraw", SECOND), 11)
    assert events(out) == []
    assert [o.record.chunk_id for o in out if isinstance(o.record, ChunkWithdrawn)] == [late.chunk_id]
    assert events(asking.on_inspected(result(late), 12)) == ["job.metered"]
    assert asking.on_inspected(result(late), 12) == []
    assert asking.on_control(answer("withdraw", SECOND), 13) == []
    out = asking.on_plan(FIRST, 14)
    assert asked(out) == [FIRST.fingerprint]
    assert rows(out)[f"{FIRST.job}#progress"].late_device_s == 0.5


def test_a_request_that_is_withdrawn_before_it_cost_anything_leaves_nothing():
    made = Scheduler(WEIGHTS)
    made.on_plan(SECOND, 1)
    assert rows(made.on_control(answer("withdraw", SECOND), 2)) == {}
    assert not made.finished


def test_what_a_withdrawn_request_has_cost_is_told_beside_the_account_of_the_one_that_owns_the_id(asking):
    asking.on_plan(SECOND, 1)
    (task,) = tasks(asking.tick(10))
    asking.on_inspected(result(task), 11)
    asking.on_plan(FIRST, 12)
    out = asking.on_control(answer("withdraw", SECOND), 13)
    (told,) = [o.record for o in out if isinstance(o.record, JobEvent) and o.record.type == "job.metered"]
    assert (told.late_device_s, told.fingerprint) == (0.5, "")
    assert asking.on_inspected(result(task), 14) == []
    assert asking.jobs[FIRST.job].progress().device_s == 0


def test_requests_that_wait_for_their_turn_survive_a_restart(asking):
    out = [*asking.on_plan(THIRD, 1), *asking.on_plan(SECOND, 2), *asking.on_plan(FIRST, 3)]
    for wrong in (THIRD, SECOND):
        state = {**rows(out)}
        successor = Scheduler(WEIGHTS)
        successor.restore(
            [record for key, record in state.items() if key.endswith("#plan")],
            [record for key, record in state.items() if key.endswith("#progress")],
        )
        out += successor.on_control(answer("withdraw", wrong), 4)
    assert asked(out) == [THIRD.fingerprint, SECOND.fingerprint, FIRST.fingerprint]
    assert rows(out)[f"{FIRST.job}#plan"] == FIRST


def test_the_end_of_one_request_is_not_that_of_another(asking):
    asking.on_plan(SECOND, 1)
    (task,) = tasks(asking.tick(10))
    out = asking.on_inspected(result(task, verdict="block"), 11)
    (end,) = [o.record for o in out if isinstance(o.record, JobEvent)]
    assert (end.type, end.fingerprint) == ("job.rejected", SECOND.fingerprint)
    assert events(asking.on_plan(SECOND, 12)) == ["job.rejected"]
    assert asked(asking.on_plan(FIRST, 13)) == [FIRST.fingerprint]


def test_a_request_that_failed_leaves_its_place_to_the_one_behind_it(asking):
    asking.on_plan(SECOND, 1)
    asking.on_plan(FIRST, 2)
    (task,) = tasks(asking.tick(10))
    out = asking.on_inspected(result(task, verdict="block"), 11)
    assert events(out) == ["job.rejected", "job.queued"]
    assert asked(out) == [FIRST.fingerprint]


@pytest.mark.parametrize("when", ["live", "ended"])
def test_a_cancel_means_every_request_of_the_id(asking, when):
    asking.on_plan(SECOND, 1)
    if when == "live":
        asking.on_plan(THIRD, 2)
    else:
        (task,) = tasks(asking.tick(10))
        asking.on_inspected(result(task, verdict="block"), 11)
    out = asking.on_control(Command(job=FIRST.job, action="cancel"), 12)
    assert [e.fingerprint for o in out if isinstance(e := o.record, JobEvent) and e.type == "job.cancelled"] == [""]
    for request in (FIRST, SECOND, THIRD):
        assert events(asking.on_plan(request, 13)) == ["job.cancelled"]
    assert asking.jobs == {}


def test_a_complete_job_asks_again_until_it_is_answered(asking):
    asking.on_plan(FIRST, 1)
    render_all(asking)
    assert asked(asking.tick(20_000)) == []
    again = [o.record.id for ms in (40_000, 50_000, 80_000) for o in asking.tick(ms) if asked([o])]
    assert len(set(again)) == 2
    assert mux_tasks(asking.on_control(answer("admit", FIRST), 90_000))
