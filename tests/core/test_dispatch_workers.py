"""The picture of the workers: found by heaps as if all were looked at, slow ones later, stalled ones not at all."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace

from schemas.ids import switch_key
from schemas.work import ModelLoad, Switch
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.handing import LOST_FIRST_MS
from stream_processors.dispatch.switches import Switches
from stream_processors.dispatch.worker import STALLED_MS, Work
from stream_processors.dispatch.workers import SILENT_MS, UNSEEN_MS, Workers
from tests.core.plans import plan, worker
from tests.core.scheduled import WEIGHTS, tasks

NAMES = ("w0", "w1", "w2", "w3")
POOLS = ("cpu", "cuda")
MODELS = ("ltx", "wan")
CHUNKS = tuple("abcdef")


class Histories(RuleBasedStateMachine):
    """Against looking at every worker every time."""

    @initialize()
    def empty(self) -> None:
        self.switches = Switches()
        self.workers = Workers(switches=self.switches)
        self.now_ms = 0
        self.heard: dict[str, tuple] = {}
        """By name: last announcement, when it came, when the worker last moved."""
        self.sent: dict[str, dict[str, int]] = {name: {} for name in NAMES}

    @rule(
        name=st.sampled_from(NAMES), pool=st.sampled_from(POOLS), capacity=st.integers(0, 3),
        pending=st.lists(st.sampled_from(CHUNKS), unique=True, max_size=3), step=st.integers(0, 3),
        models=st.sets(st.sampled_from(MODELS)), leaving=st.booleans(),
    )  # fmt: skip
    def announce(self, name, pool, capacity, pending, step, models, leaving) -> None:
        state = worker(
            name, pending=tuple(pending), capacity=capacity, pool=pool, models=tuple(sorted(models)), step=step, steps=4
        )
        state = replace(state, leaving=leaving and not pending)
        self.workers.hear(state, self.now_ms)
        before = self.heard.pop(name, None)
        if state.leaving or (before is not None and before[0].pool != pool):
            before, self.sent[name] = None, {}
        if state.leaving:
            return
        moved = before is None or not pending or _place(state) != _place(before[0])
        self.heard[name] = state, self.now_ms, self.now_ms if moved else before[2]
        kept = {c: at for c, at in self.sent[name].items() if c not in pending and self.now_ms - at < UNSEEN_MS}
        self.sent[name] = kept

    @rule(ms=st.sampled_from((1, 4_000, STALLED_MS)))
    def pass_time(self, ms) -> None:
        self.now_ms += ms
        self.workers.forget_silent(self.now_ms)
        for name in [n for n, (_, at, _) in self.heard.items() if self.now_ms - at >= SILENT_MS]:
            del self.heard[name]
            self.sent[name] = {}

    @rule(name=st.sampled_from(NAMES), drained=st.booleans())
    def switch(self, name, drained) -> None:
        state = "off" if drained else "on"
        self.switches.put(switch_key("worker", name), Switch(kind="worker", name=name, state=state))
        self.workers.switched()

    @rule(pool=st.sampled_from(POOLS), model=st.sampled_from(("", *MODELS)), chunk=st.sampled_from(CHUNKS))
    def send(self, pool, model, chunk) -> None:
        found = self.workers.idle(pool, model)
        able = [n for n in NAMES if self._room(n, pool) and (not model or model in self._warm(n))]
        assert (found is None) == (not able)
        if found is not None:
            assert found.state.worker_id in able
            ranks = {n: self.workers._workers[n].rank() for n in able}
            assert found.rank() == min(ranks.values())
            self.workers.send(found, chunk, Work("ltx", 4.0), self.now_ms)
            self.sent[found.state.worker_id][chunk] = self.now_ms

    @rule(chunk=st.sampled_from(CHUNKS))
    def finish(self, chunk) -> None:
        self.workers.finished(chunk)
        for sent in self.sent.values():
            sent.pop(chunk, None)

    @rule(name=st.sampled_from(NAMES), device_s=st.sampled_from((0.5, 4.0, 40.0)))
    def measure(self, name, device_s) -> None:
        self.workers.measured(name, device_s, 4.0)

    @rule(chunk=st.sampled_from(CHUNKS))
    def ask(self, chunk) -> None:
        held = [n for n in self.heard if chunk in self._held(n) and not self.workers._workers[n].stalled]
        assert self.workers.holds(chunk) == bool(held)
        assert set(self.workers.warm("cpu")) == {m for n in NAMES if self._room(n, "cpu") for m in self._warm(n)}

    def _held(self, name) -> set[str]:
        return set(self.sent[name]) | set(self.heard[name][0].pending)

    def _warm(self, name) -> set[str]:
        ours = {"ltx"} if any(w.model == "ltx" for w in self.workers._workers[name].work.values()) else set()
        return set(self.heard[name][0].models) | ours

    def _room(self, name, pool) -> bool:
        if name not in self.heard or self.switches.drained(name):
            return False
        state, _, _ = self.heard[name]
        stalled = self.workers._workers[name].stalled
        return state.pool == pool and not stalled and len(self._held(name)) < state.capacity


def _place(state) -> tuple:
    return state.pending[:1], state.step, state.rendered, state.models


def test_workers_are_found_as_if_all_were_looked_at() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=200, stateful_step_count=40, deadline=None))


def test_a_worker_that_stands_still_gets_nothing_until_it_moves_and_what_it_holds_counts_as_lost() -> None:
    scheduler = Scheduler(WEIGHTS)
    scheduler.on_plan(plan(chunks=3, chained=False), 0)
    scheduler.on_worker(worker(), 0)
    out = tasks(scheduler.tick(0))
    held = tuple(t.chunk_id for t in out)
    assert len(held) == 2
    for ms in range(1_000, LOST_FIRST_MS + 3_000, 1_000):
        scheduler.on_worker(worker(pending=held, step=2, steps=8), ms)
        assert tasks(scheduler.tick(ms)) == []
    scheduler.on_worker(worker("w1", capacity=1), ms)
    (again,) = tasks(scheduler.tick(ms + 1_000))
    assert (again.chunk_id, again.attempt) == (held[0], 2)
    scheduler.on_worker(worker(pending=held[1:], step=1, steps=8), ms + 1_500)
    assert [t.index for t in tasks(scheduler.tick(ms + 2_000))] == [1, 2], "forgiven: it moved, and has room"


def test_loading_a_model_is_not_standing_still() -> None:
    workers = Workers(lambda _chunk: Work("wan", 10.0, load_s=60.0))
    for ms in range(0, 100_000, 1_000):
        workers.hear(worker(pending=("a",), models=("ltx",)), ms)
        assert workers.holds("a")
    for ms in range(100_000, 240_000, 1_000):
        workers.hear(worker(pending=("a",), models=("ltx",)), ms)
    assert not workers.holds("a")


def test_a_slow_worker_comes_later_and_has_less_of_the_rate() -> None:
    workers = Workers()
    for name in ("slow", "swift"):
        workers.hear(worker(name), 0)
    for _ in range(30):
        workers.measured("slow", 4.0, 1.0)
        workers.measured("swift", 1.0, 1.0)
    order = []
    for number in range(4):
        found = workers.idle("cpu")
        assert found is not None
        order.append(found.state.worker_id)
        workers.send(found, f"c{number}", Work("shapes", 1.0), 0)
    assert order == ["swift", "slow", "swift", "slow"]
    assert 1.24 < sum(1 / held.slowness for held in workers.held("cpu", 0)) < 1.27


def test_load_times_are_learnt_from_what_workers_measure_and_each_measurement_counts_once() -> None:
    workers = Workers()
    state = replace(worker(), loads=(ModelLoad("wan", 10.0),))
    for _ in range(5):
        workers.hear(state, 0)
    assert workers.load_s("cpu", "wan", 99.0) == 10.0
    workers.hear(replace(state, loads=(ModelLoad("wan", 20.0),)), 1)
    assert workers.load_s("cpu", "wan", 99.0) == 12.0
    assert workers.load_s("cuda", "wan", 99.0) == 99.0
