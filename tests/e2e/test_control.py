"""Holding and pausing on a real broker: before the plan, across a kill, and going on again."""

import pytest

from ops.switches import switched_off, turn
from schemas.codec import decode
from schemas.events import JobState
from schemas.records import Outgoing
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS, JOBS_STATE, PLANS_READY, SCHEDULER_SWITCHES
from schemas.work import Command
from tests.core.plans import plan
from tests.e2e.reading import read_all
from tests.e2e.stage_process import running
from tests.e2e.test_dispatch_and_track import Rest
from tests.e2e.waiting import until

pytestmark = pytest.mark.kafka


def sent(name: str, lane: str = "standard") -> Outgoing:
    made = plan(name, chunks=2, lane=lane)
    return Outgoing(PLANS_READY[lane], made.job, made)


def order(rest: Rest, action: str, at_ms: int) -> None:
    rest.send(Outgoing(JOBS_CONTROL, "default/held", Command(job="default/held", action=action, requested_at_ms=at_ms)))


def test_held_and_paused_jobs_wait_through_a_kill_and_then_go_on(settings) -> None:
    rest = Rest(settings)
    turn(settings, "lane", "bulk", "off", "the GPUs are wanted elsewhere")
    rest.outbox.send_raw(SCHEDULER_SWITCHES.name(settings.prefix), b"lane:express", b"\x00junk", [])
    assert [(s.kind, s.name) for s in switched_off(settings)] == [("lane", "bulk")]
    with running(settings, "ops", "run", "track"):
        with running(settings, "ops", "run", "dispatch") as first:
            order(rest, "hold", 1)
            until(lambda: bool(read_all(settings, JOBS_EVENTS)), "the order waits for its job", 60)
            rest.send(sent("held"), sent("paused", "bulk"), sent("free"))
            rest.play_until_finished(1)
            until(lambda: stopped(settings) == {"held": "held", "paused": "lane bulk is paused"}, "both say so", 60)
            first.kill()
            first.wait()
        with running(settings, "ops", "run", "dispatch"):
            rest.send(sent("later"))
            rest.play_until_finished(2)
            assert {job for job, _ in rest.tasks} == {"default/free", "default/later"}
            order(rest, "resume", 2)
            order(rest, "hold", 1)  # delivered again, and late
            turn(settings, "lane", "bulk", "on")
            finished = rest.play_until_finished(4)
    assert {f.state for f in finished} == {"completed"}
    assert set(rest.tasks.values()) == {1}


def stopped(settings) -> dict[str, str]:
    """Job id -> why it gets nothing, for those of which the last state says so."""
    last = {r.key: decode(JobState, r.value) for r in read_all(settings, JOBS_STATE)}
    states = [state for state in last.values() if state.progress is not None and state.progress.stopped]
    return {state.job.removeprefix("default/"): state.progress.stopped for state in states}
