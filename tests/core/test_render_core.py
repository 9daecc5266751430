"""The render worker's core against a made-up world that fails in every way it may."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from gpu_consumers.render import actions as act
from gpu_consumers.render.announcing import Announcements
from gpu_consumers.render.core import MAX_ATTEMPTS, MAX_FAILED_STARTS, Core, capacity_of
from gpu_consumers.render.device import START_TIMEOUT_S
from gpu_consumers.render.withdrawals import REMEMBERED, Withdrawals
from schemas.plan import ChunkSpec
from schemas.registry import ModelEntry
from schemas.work import ChunkTask, ChunkWithdrawn, ObjectRef

STEP_TIMEOUT_S = 10.0


def entry(max_batch: int = 1, name: str = "m") -> ModelEntry:
    return ModelEntry(
        name=name,
        family="fake",
        source="none",
        revision="r",
        pools=("cpu",),
        clip_frames=8,
        given_frames=2,
        sizes=((64, 64),),
        fps_min=1,
        fps_max=60,
        steps=4,
        guidance=1.0,
        chunk_cost_s=1.0,
        max_batch=max_batch,
    )


def task(name: str, model: str = "m", given: int = 0, attempt: int = 1) -> ChunkTask:
    spec = ChunkSpec(
        tenant="t",
        model=model,
        model_revision="r",
        prompt=name,
        negative_prompt="",
        seed=1,
        steps=4,
        guidance=1.0,
        width_px=64,
        height_px=64,
        fps=8,
        first_frame=8 if given else 0,
        frames=8 - given,
        given_frames=given,
        given_chunk="before" if given else "",
    )
    return ChunkTask(
        job="t/j", index=0, attempt=attempt, chunk_id=name, spec=spec, lane="bulk", pool="cpu", dispatched_at_ms=0
    )


def ref(name: str) -> ObjectRef:
    return ObjectRef(key=f"chunks/{name}", sha256="0" * 64, size_bytes=1)


def withdrawal(name: str, job: str = "t/j", dispatched_at_ms: int = 0) -> ChunkWithdrawn:
    return ChunkWithdrawn(chunk_id=name, job=job, pool="cpu", dispatched_at_ms=dispatched_at_ms, at_ms=1)


def reports(actions: list[act.Action]) -> list[tuple[str, str, float]]:
    return [(r.event.chunk_id, r.event.status, r.event.device_s) for r in of(act.Report, actions)]


def core(max_batch: int = 1) -> Core:
    """A core whose device is up and which owns partitions 0 and 1."""
    made = Core({"m": entry(max_batch)}, "cpu", "w", STEP_TIMEOUT_S)
    assert made.start(0.0) == [act.StartDevice(1)]
    made.assigned([0, 1])
    assert made.device_ready(1, 0.0) == [act.LoadModel("m")]
    return made


def of(kind: type, actions: list[act.Action]) -> list:
    return [action for action in actions if isinstance(action, kind)]


def ready(made: Core, *names: str, partition: int = 0, first: int = 0) -> list[act.Action]:
    """Tasks come in and are prepared. Returns what the core asks for."""
    out: list[act.Action] = []
    for number, name in enumerate(names):
        (prepare,) = of(act.Prepare, made.task(partition, first + number, task(name), 0.0))
        out += made.prepared(prepare.ticket, act.Usable(""), 0.0)
    return out


def nearly(made: Core, running: act.Send) -> list[act.Send]:
    """The running batch is one step from its end. Returns what is sent then."""
    return of(act.Send, made.device_step(running.batch, 3, 4, 1.0))


def handed_over(made: Core, running: str, waiting: str) -> tuple[act.Send, act.Send]:
    """Two batches are in the device process: the first is nearly done, the second waits for it."""
    (first,) = ready(made, running, waiting)
    (second,) = of(act.Send, made.device_step(first.batch, 7, 8, 0.1))
    return first, second


def names_of(send: act.Send) -> list[str]:
    return [item.spec.prompt for item in send.items]


def test_a_chunk_is_stored_then_reported_then_committed() -> None:
    made = core()
    (send,) = ready(made, "a")
    (store,) = made.device_done(send.batch, 2.0, 1.0)
    release, report = made.stored(store.ticket, ref("a"), 1.0)
    assert (release, report.event.status, report.event.frames, report.event.device_s) == (
        act.Release(store.ticket), "rendered", 8, 2.0,
    )  # fmt: skip
    assert made.pending() == ("a",)
    assert made.acknowledged(store.ticket, 1.0) == [act.Commit(0, 1)]
    assert made.pending() == ()


def test_an_existing_object_is_reported_without_the_device() -> None:
    made = core()
    (prepare,) = made.task(0, 7, task("a"), 0.0)
    _, report = made.prepared(prepare.ticket, act.Reuse(ref("a")), 0.0)
    assert (report.event.status, report.event.object, report.event.device_s) == ("reused", ref("a"), 0.0)
    assert made.acknowledged(prepare.ticket, 0.0) == [act.Commit(0, 8)]


def test_a_later_task_that_is_done_first_waits_for_the_earlier_one() -> None:
    made = core()
    (send,) = ready(made, "slow")
    (prepare,) = made.task(0, 1, task("there"), 0.0)
    made.prepared(prepare.ticket, act.Reuse(ref("there")), 0.0)
    assert made.acknowledged(prepare.ticket, 0.0) == []
    (store,) = made.device_done(send.batch, 1.0, 1.0)
    made.stored(store.ticket, ref("slow"), 1.0)
    assert made.acknowledged(store.ticket, 1.0) == [act.Commit(0, 2)]


def test_an_invalid_record_is_committed_in_its_turn() -> None:
    made = core()
    (send,) = ready(made, "a")
    (dead,) = made.invalid(0, 1)
    assert made.acknowledged(dead.ticket, 0.0) == []
    (store,) = made.device_done(send.batch, 1.0, 1.0)
    made.stored(store.ticket, ref("a"), 1.0)
    assert made.acknowledged(store.ticket, 1.0) == [act.Commit(0, 2)]


def test_one_batch_runs_and_one_waits() -> None:
    made = core()
    (first,) = ready(made, "a", "b")
    assert names_of(first) == ["a"]
    (second,) = nearly(made, first)
    assert names_of(second) == ["b"]
    (prepare,) = made.task(0, 2, task("c"), 0.0)
    assert made.prepared(prepare.ticket, act.Usable(""), 0.0) == []
    assert made.pending() == ("a", "b", "c")
    made.device_done(first.batch, 1.0, 1.0)
    assert [names_of(s) for s in nearly(made, second)] == [["c"]]


def test_a_waiting_batch_takes_company_until_the_running_one_is_nearly_done() -> None:
    made = core(max_batch=3)
    (first,) = ready(made, "a")
    assert ready(made, "b", "c", first=1) == []
    assert made.device_step(first.batch, 1, 4, 0.5) == []
    assert made.device_step(first.batch, 2, 4, 1.0) == []
    (second,) = made.device_step(first.batch, 3, 4, 1.5)
    assert names_of(second) == ["b", "c"]


def test_with_short_steps_the_next_batch_is_there_before_the_last_one() -> None:
    made = core()
    (first,) = ready(made, "a", "b")
    assert made.device_step(first.batch, 1, 20, 5.0) == []  # the model was loaded before
    assert made.device_step(first.batch, 2, 20, 5.1) == []
    assert made.device_step(first.batch, 17, 20, 6.6) == []
    (second,) = made.device_step(first.batch, 18, 20, 6.7)
    assert names_of(second) == ["b"]


def test_a_batch_of_one_step_is_followed_at_once() -> None:
    made = core()
    (first,) = ready(made, "a", "b")
    (second,) = made.device_step(first.batch, 1, 1, 0.1)
    assert names_of(second) == ["b"]


def test_only_compatible_chunks_share_a_batch() -> None:
    made = core(max_batch=4)
    (running,) = ready(made, "r")
    ready(made, "a", first=1)
    (prepare,) = made.task(0, 2, task("continued", given=2), 0.0)
    made.prepared(prepare.ticket, act.Usable("g"), 0.0)
    ready(made, "b", first=3)
    (send,) = of(act.Send, made.device_done(running.batch, 1.0, 1.0))
    assert names_of(send) == ["a", "b"]


def test_a_task_that_takes_the_device_down_three_times_is_reported_and_the_next_goes_on() -> None:
    made = core()
    (poison,) = ready(made, "poison", "other")
    for generation in range(1, MAX_ATTEMPTS + 1):
        assert names_of(poison) == ["poison"]
        actions = made.device_died(generation, "killed by signal 11", 1.0)
        if generation < MAX_ATTEMPTS:
            _, poison = made.device_ready(generation + 1, 1.0)
    (report,) = of(act.Report, actions)
    assert report.event.status == "failed"
    assert report.event.error == "killed by signal 11 (tried 3 times)"
    _, other = made.device_ready(MAX_ATTEMPTS + 1, 1.0)
    assert names_of(other) == ["other"]


def test_after_a_failed_batch_each_is_tried_alone() -> None:
    made = core(max_batch=2)
    made.device_died(1, "gone", 0.0)
    ready(made, "a", "b")
    _, both = made.device_ready(2, 0.0)
    assert names_of(both) == ["a", "b"]
    alone = made.device_refused(both.batch, "out of memory", 1.0, final=False)
    (running,) = of(act.Send, alone)
    tried: list[str] = []
    failed: list[str] = []
    while running is not None:
        tried += names_of(running)
        assert len(running.items) == 1
        if tried[-1] == "b":
            out = made.device_done(running.batch, 1.0, 1.0)
        else:
            out = made.device_refused(running.batch, "out of memory", 1.0, final=False)
        failed += [r.event.chunk_id for r in of(act.Report, out)]
        running = next(iter(of(act.Send, out)), None)
    assert sorted(tried) == ["a"] * MAX_ATTEMPTS + ["b"]
    assert failed == ["a"]


def test_what_cannot_be_rendered_is_reported_at_once() -> None:
    made = core()
    (send,) = ready(made, "a")
    (report,) = of(act.Report, made.device_refused(send.batch, "frames=99", 0.0, final=True))
    assert report.event.error == "frames=99"


def test_an_unknown_model_is_reported_by_name() -> None:
    _, report = core().task(0, 0, task("a", model="wan"), 0.0)
    assert "'wan'" in report.event.error


def test_a_missing_predecessor_is_reported() -> None:
    made = core()
    (prepare,) = made.task(0, 0, task("a", given=2), 0.0)
    _, report = made.prepared(prepare.ticket, act.Unusable("given chunk missing: x"), 0.0)
    assert (report.event.status, report.event.error) == ("failed", "given chunk missing: x")


def test_a_chunk_that_came_twice_waits_for_itself() -> None:
    made = core()
    (send,) = ready(made, "a")
    assert made.task(1, 0, task("a"), 0.0) == []
    assert made.pending() == ("a",)
    (store,) = made.device_done(send.batch, 1.0, 1.0)
    made.stored(store.ticket, ref("a"), 1.0)
    commit, prepare = made.acknowledged(store.ticket, 1.0)
    assert (commit, type(prepare)) == (act.Commit(0, 1), act.Prepare)


def test_it_says_what_loading_took_the_last_time():
    made = core()
    made.device_models(1, ("m",), 2.0, 0.0)
    made.device_models(1, ("m", "n"), 0.25, 1.0)
    made.device_models(0, ("x",), 9.0, 1.0)
    made.device_models(1, ("n", "m"), 3.0, 2.0)
    assert {load.model: load.load_s for load in made.loads} == {"m": 3.0, "n": 0.25}


@pytest.mark.parametrize(("warm", "patience_s"), [(True, STEP_TIMEOUT_S), (False, 3 * STEP_TIMEOUT_S)])
def test_a_hang_kills_the_device_and_the_next_answer_of_the_dead_is_ignored(warm: bool, patience_s: float) -> None:
    made = core()
    if warm:
        made.device_models(1, ("m",), 2.0, 0.0)
    (send,) = ready(made, "a")
    assert made.tick(patience_s) == []
    kill, start = made.tick(patience_s + 0.1)
    assert (type(kill), start) == (act.KillDevice, act.StartDevice(2))
    assert made.device_died(1, "killed by signal 9", 50.0) == []
    assert made.device_done(send.batch, 1.0, 50.0) == []
    _, again = made.device_ready(2, 50.0)
    assert names_of(again) == ["a"]
    assert again.items[0].frames != send.items[0].frames


def test_a_device_that_does_not_come_up_stops_the_worker() -> None:
    made = Core({"m": entry()}, "cpu", "w", STEP_TIMEOUT_S)
    made.start(0.0)
    now_s = 0.0
    for _ in range(MAX_FAILED_STARTS):
        now_s += START_TIMEOUT_S + 1
        actions = made.tick(now_s)
    assert isinstance(actions[-1], act.Stop)


def test_the_store_may_be_away_for_any_time() -> None:
    made = core()
    (prepare,) = made.task(0, 0, task("a"), 0.0)
    assert made.prepared(prepare.ticket, act.Later("away"), 0.0) == []
    assert made.tick(0.4) == []
    (prepare,) = made.tick(0.6)
    (send,) = made.prepared(prepare.ticket, act.Usable(""), 1.0)
    (store,) = made.device_done(send.batch, 1.0, 2.0)
    for _ in range(20):
        assert made.not_stored(store.ticket, 2.0) == []
    assert made.tick(31.9) == []
    assert made.tick(32.1) == [store]


def test_stopping_finishes_what_runs_and_drops_the_rest() -> None:
    made = core()
    (first,) = ready(made, "a", "b")
    (second,) = nearly(made, first)
    made.task(0, 2, task("c"), 0.0)
    told, *_ = made.stop()
    assert told == act.Withdraw(second.batch, (second.items[0].frames,))  # its given frames are gone from now on
    assert made.pending() == ("a",)
    assert not made.drained()
    (store,) = made.device_done(first.batch, 1.0, 1.0)
    made.stored(store.ticket, ref("a"), 1.0)
    assert made.acknowledged(store.ticket, 1.0) == [act.Commit(0, 1)]
    assert made.drained()
    assert made.task(0, 3, task("d"), 1.0) == []


def test_a_cold_worker_asks_for_one_chunk_until_a_model_is_warm() -> None:
    made = core(max_batch=4)
    assert made.wanted == 1
    made.device_models(1, ("m",), 2.0, 0.0)
    assert made.wanted == made.capacity == 8


def test_an_express_chunk_goes_before_bulk_chunks_that_came_earlier() -> None:
    made = core()
    (running,) = ready(made, "running", "next", "bulk")
    (prepare,) = of(act.Prepare, made.task(0, 3, replace(task("express"), lane="express"), 0.0))
    made.prepared(prepare.ticket, act.Usable(""), 0.0)
    (following,) = nearly(made, running)
    assert names_of(following) == ["express"]
    made.device_done(running.batch, 1.0, 1.0)
    assert [names_of(send) for send in nearly(made, following)] == [["next"]]


def test_a_withdrawn_task_that_waits_is_reported_at_once_and_its_offset_committed() -> None:
    made = core()
    running, _second = handed_over(made, "running", "second")
    made.task(0, 2, task("third"), 0.0)
    made.task(0, 3, task("third"), 0.0)  # waits for itself
    out = made.withdrawn(withdrawal("third"), 1.0)
    assert reports(out) == [("third", "withdrawn", 0.0)] * 2
    (release,) = made.prepared(3, act.Usable(""), 1.0)
    assert release == act.Release(3)
    assert of(act.Commit, [a for r in of(act.Report, out) for a in made.acknowledged(r.ticket, 1.0)]) == []
    (store,) = of(act.StoreFrames, made.device_done(running.batch, 1.0, 1.0))
    made.stored(store.ticket, ref("running"), 1.0)
    assert of(act.Commit, made.acknowledged(store.ticket, 1.0)) == [act.Commit(0, 1)]
    assert made.pending() == ("second",)


def test_a_withdrawn_task_that_is_ready_leaves_its_place_to_the_next() -> None:
    made = core()
    running, _second = handed_over(made, "running", "second")
    (prepare,) = of(act.Prepare, made.task(0, 2, task("third"), 0.0))
    assert made.prepared(prepare.ticket, act.Usable(""), 0.0) == []
    assert reports(made.withdrawn(withdrawal("third"), 1.0)) == [("third", "withdrawn", 0.0)]
    assert of(act.Send, made.device_done(running.batch, 1.0, 1.0)) == []


def test_a_withdrawn_task_in_the_inbox_of_the_device_frees_its_place_at_once() -> None:
    made = core()
    running, second = handed_over(made, "running", "second")
    (prepare,) = of(act.Prepare, made.task(0, 2, task("third"), 0.0))
    made.prepared(prepare.ticket, act.Usable(""), 0.0)
    out = made.withdrawn(withdrawal("second"), 1.0)
    assert of(act.Withdraw, out) == [act.Withdraw(second.batch, (second.items[0].frames,))]
    assert reports(out) == [("second", "withdrawn", 0.0)]
    (third,) = of(act.Send, out)
    assert names_of(third) == ["third"]
    made.device_done(running.batch, 1.0, 1.0)
    assert reports(made.device_stopped(second.batch, 0.0, 1.0)) == []
    assert names_of(third) == ["third"] == [c for c in made.pending() if c != "running" and c != "second"]
    assert of(act.StoreFrames, made.device_done(third.batch, 1.0, 2.0)) != []


def test_a_withdrawn_task_on_the_device_is_stopped_and_what_it_took_is_reported() -> None:
    made = core()
    running, second = handed_over(made, "running", "second")
    made.device_step(running.batch, 1, 8, 0.5)
    (told,) = made.withdrawn(withdrawal("running"), 0.6)
    assert told == act.Withdraw(running.batch, (running.items[0].frames,))
    assert made.withdrawn(withdrawal("running"), 0.7) == []
    made.device_step(running.batch, 2, 8, 1.0)
    release, report = made.device_stopped(running.batch, 1.2345, 1.0)
    assert reports([report]) == [("running", "withdrawn", 1.234)]
    assert (report.event.object, report.event.frames, report.event.error) == (None, 0, "")
    assert release == act.Release(report.ticket)
    assert made.acknowledged(report.ticket, 1.0) == [act.Commit(0, 1)]
    (store,) = of(act.StoreFrames, made.device_done(second.batch, 1.0, 2.0))
    assert store.task.chunk_id == "second"


def test_a_batch_goes_on_for_those_that_are_wanted() -> None:
    made = core(max_batch=2)
    made.device_died(1, "gone", 0.0)
    ready(made, "a", "b")
    _, both = made.device_ready(2, 0.0)
    (told,) = made.withdrawn(withdrawal("a"), 0.5)
    assert told.frames == (both.items[0].frames,)
    out = made.device_done(both.batch, 3.0, 3.0)
    assert reports(out) == [("a", "withdrawn", 1.5)]
    (store,) = of(act.StoreFrames, out)
    assert reports(made.stored(store.ticket, ref("b"), 3.0)) == [("b", "rendered", 1.5)]


def test_what_was_left_out_of_a_batch_pays_nothing_for_it() -> None:
    made = core(max_batch=2)
    made.device_died(1, "gone", 0.0)
    ready(made, "a", "b")
    _, both = made.device_ready(2, 0.0)
    made.withdrawn(withdrawal("a"), 0.5)
    out = made.device_done(both.batch, 3.0, 3.0, left_out=(both.items[0].frames,))
    assert reports(out) == [("a", "withdrawn", 0.0)]
    (store,) = of(act.StoreFrames, out)
    assert reports(made.stored(store.ticket, ref("b"), 3.0)) == [("b", "rendered", 3.0)]


@pytest.mark.parametrize("how", ["refused", "died", "hung"])
def test_a_withdrawn_task_whose_batch_fails_is_not_tried_again(how: str) -> None:
    made = core()
    (send,) = ready(made, "a")
    made.withdrawn(withdrawal("a"), 0.5)
    if how == "refused":
        out = made.device_refused(send.batch, "out of memory", 1.0, final=False)
    else:
        out = made.device_died(1, "signal 9", 1.0) if how == "died" else made.tick(3 * STEP_TIMEOUT_S + 1)
    assert reports(out) == [("a", "withdrawn", 0.0)]


def test_what_is_on_its_way_to_the_store_is_stored_and_given_up_only_when_the_store_is_away() -> None:
    made = core()
    first, second = handed_over(made, "a", "b")
    (store,) = of(act.StoreFrames, made.device_done(first.batch, 1.0, 1.0))
    assert made.withdrawn(withdrawal("a"), 1.0) == []
    assert reports(made.stored(store.ticket, ref("a"), 1.0)) == [("a", "rendered", 1.0)]
    (store,) = of(act.StoreFrames, made.device_done(second.batch, 2.0, 2.0))
    made.not_stored(store.ticket, 2.0)
    assert reports(made.withdrawn(withdrawal("b"), 2.1)) == [("b", "withdrawn", 2.0)]


def test_a_store_that_does_not_answer_for_a_withdrawn_chunk_is_not_asked_again() -> None:
    made = core()
    (send,) = ready(made, "a")
    (store,) = of(act.StoreFrames, made.device_done(send.batch, 1.0, 1.0))
    made.withdrawn(withdrawal("a"), 1.0)
    assert reports(made.not_stored(store.ticket, 2.0)) == [("a", "withdrawn", 1.0)]


def test_a_withdrawal_may_come_before_its_task_and_means_no_other() -> None:
    made = core()
    made.withdrawn(withdrawal("a", dispatched_at_ms=100), 0.0)
    made.withdrawn(withdrawal("a", dispatched_at_ms=50), 0.0)
    for offset, (job, at_ms) in enumerate((("t/j", 100), ("t/other", 100), ("t/j", 101))):
        out = made.task(0, offset, replace(task("a"), job=job, dispatched_at_ms=at_ms), 0.0)
        assert bool(reports(out)) is (offset == 0)
        if offset == 0:
            made.acknowledged(of(act.Report, out)[0].ticket, 0.0)
    assert made.held == 2


def test_a_device_that_wrote_frames_before_it_heard_leaves_nothing_behind() -> None:
    made = core()
    running, second = handed_over(made, "running", "second")
    out = made.withdrawn(withdrawal("second"), 1.0)
    made.device_done(running.batch, 1.0, 1.0)
    assert of(act.Release, made.device_done(second.batch, 1.0, 2.0)) == [act.Release(of(act.Report, out)[0].ticket)]


def test_withdrawals_are_forgotten_oldest_first() -> None:
    known = Withdrawals()
    for number in range(REMEMBERED + 1):
        known.add(withdrawal(f"c{number}"))
    assert [known.name(task(f"c{number}")) for number in (0, 1, REMEMBERED)] == [False, True, True]


def test_capacity_is_two_batches_of_the_widest_model() -> None:
    assert capacity_of({"a": entry(1), "b": entry(4, "b")}) == 8
    assert capacity_of({"a": entry(1)}) == 2


def test_announcements_on_change_on_steps_and_every_second() -> None:
    announcements = Announcements()
    idle, busy = ((0,), (), ()), ((0,), (), ("a",))
    assert announcements.due(idle, (0, 0), 0.0)
    assert not announcements.due(idle, (0, 0), 0.9)
    assert announcements.due(idle, (0, 0), 1.0)
    assert announcements.due(busy, (0, 0), 1.01)
    assert not announcements.due(busy, (1, 8), 1.1)
    assert announcements.due(busy, (2, 8), 1.3)


def ticket_of(item: act.Item) -> int:
    return int(item.frames.split(".")[0])


class World(RuleBasedStateMachine):
    """Any order of events and failures. What must hold is checked in `commit`, `report` and `teardown`."""

    @initialize(max_batch=st.integers(1, 3))
    def begin(self, max_batch: int) -> None:
        self.core = Core({"m": entry(max_batch)}, "cpu", "w", STEP_TIMEOUT_S)
        self.max_batch = max_batch
        self.now_s = 0.0
        self.next_offset = {0: 0, 1: 0}
        self.owned: set[int] = set()
        self.committed = {0: 0, 1: 0}
        self.unreported: dict[int, dict[int, str]] = {0: {}, 1: {}}
        self.prepares: list[act.Prepare] = []
        self.stores: list[act.StoreFrames] = []
        self.acks: list[tuple[int, str | None]] = []
        self.places: dict[int, tuple[int, int]] = {}
        self.device: list[act.Send] = []
        self.up = False
        self.generation = 0
        self.failures: dict[int, int] = {}
        self.seen: list[str] = []
        self.called_off: set[str] = set()
        self.unwanted: set[str] = set()
        """Frames that the device was told to leave out."""
        self.lost: set[str] = set()
        """Those of them whose batch waited."""
        self.take(self.core.start(0.0))

    def take(self, actions: list[act.Action]) -> None:
        for action in actions:
            match action:
                case act.Prepare():
                    self.prepares.append(action)
                case act.StoreFrames():
                    self.stores.append(action)
                case act.Send():
                    assert self.up
                    assert 1 <= len(action.items) <= self.max_batch
                    assert all(self.failures.get(ticket_of(i), 0) < MAX_ATTEMPTS for i in action.items)
                    assert all(i.spec.prompt not in self.called_off for i in action.items)
                    self.device.append(action)
                    assert sum(any(i.frames not in self.lost for i in batch.items) for batch in self.device) <= 2
                case act.Withdraw(number, frames):
                    at = [batch.batch for batch in self.device].index(number)
                    assert set(frames) <= {i.frames for i in self.device[at].items}
                    self.unwanted |= set(frames)
                    self.lost |= set(frames) if at else set()
                case act.Report(ticket, event):
                    assert event.status != "withdrawn" or event.chunk_id in self.called_off
                    self.acks.append((ticket, event.chunk_id))
                case act.DeadLetter(ticket):
                    self.acks.append((ticket, None))
                case act.Commit(partition, offset):
                    assert partition in self.owned
                    assert offset > self.committed[partition]
                    assert all(o >= offset for o in self.unreported[partition]), "committed past unreported work"
                    self.committed[partition] = offset
                case act.StartDevice(generation):
                    self.generation, self.up, self.device = generation, False, []
                case act.KillDevice():
                    self.up, self.device = False, []

    @rule(partition=st.sampled_from([0, 1]))
    def assign(self, partition: int) -> None:
        if partition not in self.owned:
            self.owned.add(partition)
            self.core.assigned([partition])
            self.next_offset[partition] = self.committed[partition]
            self.unreported[partition] = {}

    @rule(partition=st.sampled_from([0, 1]))
    def revoke(self, partition: int) -> None:
        if partition in self.owned:
            self.take(self.core.gone([partition]))
            self.owned.discard(partition)
            self.unreported[partition] = {}
            self.places = {t: p for t, p in self.places.items() if p[0] != partition}

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), given=st.sampled_from([0, 2]), good=st.booleans())
    def read(self, data: st.DataObject, given: int, good: bool) -> None:
        partition = data.draw(st.sampled_from(sorted(self.owned)))
        offset = self.next_offset[partition]
        self.next_offset[partition] += 1
        name = f"{partition}/{offset // 2}"  # every chunk comes twice
        self.seen.append(name)
        self.unreported[partition][offset] = name
        before = self.core._next_ticket
        self.places[before] = (partition, offset)
        if good or offset % 5:
            self.take(self.core.task(partition, offset, task(name, given=given), self.now_s))
        else:
            self.take(self.core.invalid(partition, offset))

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*self.seen, f"0/{self.next_offset[0] // 2}"]))
        self.called_off.add(name)
        self.take(self.core.withdrawn(withdrawal(name), self.now_s))

    @precondition(lambda self: self.prepares)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([act.Usable("g"), act.Reuse(ref("x")), act.Later("x"), act.Unusable("x")]),
    )
    def prepared(self, data: st.DataObject, outcome: act.Outcome) -> None:
        prepare = self.prepares.pop(data.draw(st.integers(0, len(self.prepares) - 1)))
        self.take(self.core.prepared(prepare.ticket, outcome, self.now_s))

    @precondition(lambda self: self.stores)
    @rule(data=st.data(), works=st.booleans())
    def stored(self, data: st.DataObject, works: bool) -> None:
        store = self.stores.pop(data.draw(st.integers(0, len(self.stores) - 1)))
        if works:
            self.take(self.core.stored(store.ticket, ref("x"), self.now_s))
        else:
            self.take(self.core.not_stored(store.ticket, self.now_s))

    @precondition(lambda self: self.acks)
    @rule(data=st.data())
    def acknowledged(self, data: st.DataObject) -> None:
        ticket, _ = self.acks.pop(data.draw(st.integers(0, len(self.acks) - 1)))
        if ticket in self.places:
            partition, offset = self.places.pop(ticket)
            del self.unreported[partition][offset]
        self.take(self.core.acknowledged(ticket, self.now_s))

    @precondition(lambda self: not self.up)
    @rule()
    def device_comes_up(self) -> None:
        self.up = True
        self.take(self.core.device_ready(self.generation, self.now_s))

    @precondition(lambda self: self.device)
    @rule(step=st.integers(1, 4))
    def step(self, step: int) -> None:
        self.take(self.core.device_step(self.device[0].batch, step, 4, self.now_s))

    @precondition(lambda self: self.device)
    @rule(how=st.sampled_from(["done", "done", "transient", "invalid"]))
    def batch_ends(self, how: str) -> None:
        batch = self.device.pop(0)
        if all(item.frames in self.unwanted for item in batch.items):
            self.take(self.core.device_stopped(batch.batch, 0.5, self.now_s))
            return
        if how == "done":
            self.take(self.core.device_done(batch.batch, 1.0, self.now_s))
            return
        if sum(item.frames not in self.lost for item in batch.items) == 1:
            self._count(batch)
        self.take(self.core.device_refused(batch.batch, "failed", self.now_s, final=how == "invalid"))

    @precondition(lambda self: self.up)
    @rule()
    def device_dies(self) -> None:
        if self.device:
            self._count(self.device[0])
        self.take(self.core.device_died(self.generation, "died", self.now_s))

    def _count(self, batch: act.Send) -> None:
        for ticket in [ticket_of(item) for item in batch.items if item.frames not in self.lost]:
            self.failures[ticket] = self.failures.get(ticket, 0) + 1

    @rule(seconds=st.floats(0.1, 5.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        if self.device:
            self.take(self.core.device_step(self.device[0].batch, 1, 4, self.now_s))
        elif not self.up:
            self.device_comes_up()
        self.take(self.core.tick(self.now_s))

    @invariant()
    def the_device_holds_what_is_announced(self) -> None:
        if not hasattr(self, "core"):
            return
        held = [item for batch in self.device for item in batch.items if item.frames not in self.lost]
        running = list(dict.fromkeys(item.spec.prompt for item in held))
        assert list(self.core.pending()[: len(running)]) == running

    def teardown(self) -> None:
        """Once nothing fails any more, every task of an owned partition is reported and committed."""
        if not hasattr(self, "core"):
            return
        for _ in range(100):
            self.now_s += 1.0
            if not self.up:
                self.device_comes_up()
            self.take(self.core.tick(self.now_s))
            while self.prepares:
                self.take(self.core.prepared(self.prepares.pop().ticket, act.Usable(""), self.now_s))
            if self.device:
                self.take(self.core.device_done(self.device.pop(0).batch, 1.0, self.now_s))
            while self.stores:
                self.take(self.core.stored(self.stores.pop().ticket, ref("x"), self.now_s))
            while self.acks:
                ticket, _ = self.acks.pop()
                if ticket in self.places:
                    partition, offset = self.places.pop(ticket)
                    del self.unreported[partition][offset]
                self.take(self.core.acknowledged(ticket, self.now_s))
        assert not self.core.pending()
        for partition in self.owned:
            assert not self.unreported[partition]
            assert self.committed[partition] == self.next_offset[partition]


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
