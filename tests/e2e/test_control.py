"""Steering on a real broker: holding and pausing before the plan and across a kill, redoing what Kafka still knows."""

import pytest
from msgspec.structs import replace

from ops.bus import clients
from ops.bus.sending import Outbox
from ops.switches import switched_off, turn
from producers.client import Operator, one_shot
from producers.client.redo import redone
from schemas.codec import decode
from schemas.errors import Fatal
from schemas.events import JobState
from schemas.ids import fingerprint
from schemas.records import Outgoing
from schemas.request import JobRequest
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS, JOBS_REQUESTED, JOBS_STATE, PLANS_READY, SCHEDULER_SWITCHES
from schemas.work import Command
from tests.core.plans import plan
from tests.core.test_track_core import VIDEO
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


def test_a_redo_finds_the_request_among_others_of_its_moment_or_says_that_it_is_gone(settings) -> None:
    operator, outbox = Operator(settings), Outbox(clients.producer(settings), settings.prefix, "test")
    for tenant in ("acme", "default"):
        for seed in range(3):
            operator.submit(one_shot("a ball", duration_s=1, job_id="film", tenant=tenant, seed=seed))
    requests = read_all(settings, JOBS_REQUESTED["standard"])
    second = next(r for r in requests if decode(JobRequest, r.value).shots[0].seed == 1 and b"acme" not in r.value)
    state = JobState(
        job="default/film", state="completed", sequence=9, lane="express", model="shapes",
        requested_at_ms=second.timestamp_ms, updated_at_ms=second.timestamp_ms + 9, video=VIDEO,
        fingerprint=fingerprint(decode(JobRequest, second.value)),
    )  # fmt: skip
    outbox.send([Outgoing(JOBS_STATE, state.job, state)])
    assert outbox.producer.flush(30) == 0
    name = operator.redo("film", 0)
    found = [decode(JobRequest, r.value) for r in read_all(settings, JOBS_REQUESTED["standard"])]
    (new,) = [request for request in found if request.job_id == name]
    assert new == redone(decode(JobRequest, second.value), 0)
    outbox.send([Outgoing(JOBS_STATE, state.job, replace(state, sequence=10, fingerprint="0" * 64))])
    assert outbox.producer.flush(30) == 0
    with pytest.raises(Fatal, match=r"is not on its topic any more .* give it as a file with --request"):
        operator.redo("film", 0)
    with pytest.raises(Fatal, match="job none is not known; only a completed job"):
        operator.redo("none", 0)
