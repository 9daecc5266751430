"""The state machine: what callers, operators, networks and devices do, in any order, between any two effects."""

import sys
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.request import LANES
from tests.simulation import requests
from tests.simulation.healing import replay, revive, settle
from tests.simulation.invariants import Checker
from tests.simulation.process import Trap
from tests.simulation.stages import GROUPS, STAGES
from tests.simulation.world import SLOTS, World

TENANTS = st.sampled_from(requests.TENANTS)
JOBS = st.integers(0, 2)
SHAPES = st.integers(0, len(requests.SHAPES) - 1)
STAGE = st.sampled_from(tuple(STAGES))
SLOT = st.integers(0, SLOTS - 1)
EFFECTS = st.sampled_from((1, 2, 3, 4, 6, 9, 14, 40))
PICK = st.integers(0, 63)
FAULTS = st.sampled_from(("oom", "die", "hang", "bug", "lost", "stillborn"))
POINTS = (
    "moderate.read", "moderate.produced", "moderate.commit", "split.produced", "prioritise.produced",
    "dispatch.leads", "dispatch.initialised", "dispatch.restored", "dispatch.txn produced", "dispatch.txn offsets",
    "dispatch.txn committed", "render.head", "render.put", "render.report chunks.rendered", "inspect.fetch",
    "inspect.produced", "inspect.committed", "mux.head", "mux.fetch", "mux.put", "mux.put video", "mux.produced",
    "mux.committed", "track.loaded", "track.txn produced", "track.txn offsets", "track.txn committed", "reply.produced",
    "notify.post", "notify.produced",
)  # fmt: skip
"""Effects before which a trap can be set."""
TRAPS = ("kill", "freeze", "succeed", "zombie")
DUPLICABLE = (
    "jobs.cleared", "plans.drafted", "plans.ready", "chunks.rendered", "chunks.inspected", "mux.tasks", "jobs.control",
    "reviews.decided", "jobs.events", "jobs.replies", "jobs.finished.retry",
)  # fmt: skip


class Simulation(RuleBasedStateMachine):
    """One program. `bugs`: seeded bugs, for the proof that the machine can fail."""

    bugs: ClassVar[frozenset[str]] = frozenset()
    digests: ClassVar[list[str]] = []
    """Digest of every program, newest last; only kept when `keep_digests`."""
    keep_digests: ClassVar[bool] = False
    counts: ClassVar[dict[str, int]] = {"programs": 0, "rules": 0, "effects": 0, "jobs": 0}

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.bugs)
        self.checker = Checker(self.world)
        self.pace = self.failures = 0
        self.counts["programs"] += 1

    # ---- callers ---------------------------------------------------------------------------------------------------

    @initialize(shape=SHAPES, tenant=TENANTS, pace=st.sampled_from((0, 1, 2, 3, 5, 8)))
    def first(self, shape: int, tenant: str, pace: int) -> None:
        """pace: effects that every process does after each rule, so that rules fall between any two."""
        self.pace = pace
        self.submit(shape, tenant, 0)

    @rule(shape=SHAPES, tenant=TENANTS, job=JOBS)
    def submit(self, shape: int, tenant: str, job: int) -> None:
        """Two bodies of one id may go through two lanes: the lane follows from both."""
        self.world.submit(shape, tenant, job, LANES[(job + shape // 5) % len(LANES)])

    @rule(pick=PICK)
    def send_again(self, pick: int) -> None:
        self.world.log.append(*self.world.sent[pick % len(self.world.sent)])

    @rule(tenant=TENANTS, job=JOBS)
    def cancel(self, tenant: str, job: int) -> None:
        self.world.cancel(tenant, job)

    @precondition(lambda self: bool(self.world.open_cases()))
    @rule(pick=PICK, verdict=st.sampled_from(("approve", "approve", "refuse")), chunks=st.sampled_from((1, None)))
    def review(self, pick: int, verdict: Any, chunks: int | None) -> None:
        cases = self.world.open_cases()
        self.world.review(cases[pick % len(cases)], verdict, chunks)

    # ---- going on --------------------------------------------------------------------------------------------------

    @rule(stage=STAGE, slot=SLOT, effects=EFFECTS, reverse=st.booleans())
    def run(self, stage: str, slot: int, effects: int, reverse: bool) -> None:
        process = self.world.processes[f"{stage}.{slot}"]
        process.reverse = reverse
        self.world.run(process, effects)

    @rule(effects=EFFECTS, rounds=st.integers(1, 6))
    def flow(self, effects: int, rounds: int) -> None:
        for _ in range(rounds):
            self.world.round(effects)

    @rule(ms=st.sampled_from((200, 1_000, 3_000, 11_000, 16_000, 40_000, 400_000)))
    def wait(self, ms: int) -> None:
        self.world.pass_ms(ms)

    # ---- processes -------------------------------------------------------------------------------------------------

    @rule(stage=STAGE, slot=SLOT)
    def kill(self, stage: str, slot: int) -> None:
        self.world.processes[f"{stage}.{slot}"].kill()

    @rule(stage=STAGE, slot=SLOT)
    def start(self, stage: str, slot: int) -> None:
        self.world.processes[f"{stage}.{slot}"].start()

    @rule()
    def supervise(self) -> None:
        revive(self.world)

    @rule()
    def power_cut(self) -> None:
        for process in self.world.processes.values():
            process.kill()

    @rule(stage=STAGE, slot=SLOT)
    def freeze(self, stage: str, slot: int) -> None:
        self.world.processes[f"{stage}.{slot}"].freeze()

    @rule(stage=STAGE, slot=SLOT)
    def take_over(self, stage: str, slot: int) -> None:
        """The one at work freezes wherever it is, and its successor is there."""
        self.world.processes[f"{stage}.{slot}"].freeze()
        self.world.succeed(self.world.processes[f"{stage}.{slot}"])

    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 6), action=st.sampled_from(TRAPS))
    def trap(self, point: str, nth: int, action: Any) -> None:
        """A named crash point: when a stage comes to this effect for the n-th time, it dies or freezes before it."""
        self.world.processes[f"{point.partition('.')[0]}.0"].trap = Trap(point, nth, action)

    @rule(
        stage=st.sampled_from(("dispatch", "track")),
        effect=st.sampled_from(("produced", "offsets", "committed")),
        nth=st.integers(1, 6),
        action=st.sampled_from(("kill", "zombie")),
    )
    def break_transaction(self, stage: str, effect: str, nth: int, action: Any) -> None:
        """The windows that fencing and patient readers are there for; too narrow to be hit often by chance."""
        for slot in range(SLOTS):
            self.world.processes[f"{stage}.{slot}"].trap = Trap(f"{stage}.txn {effect}", nth, action)

    @rule(stage=STAGE, slot=SLOT)
    def thaw(self, stage: str, slot: int) -> None:
        self.world.processes[f"{stage}.{slot}"].thaw()

    @rule(stage=STAGE, slot=SLOT)
    def terminate(self, stage: str, slot: int) -> None:
        self.world.processes[f"{stage}.{slot}"].stopping = True

    # ---- the broker ------------------------------------------------------------------------------------------------

    @rule(stage=STAGE, rotate=st.integers(0, 1))
    def rebalance(self, stage: str, rotate: int) -> None:
        self.world.group(GROUPS[stage]).rebalance(rotate)

    @rule(stage=STAGE)
    def reset_to_earliest(self, stage: str) -> None:
        """As an operator does it: stage stopped, offsets reset, stage started."""
        for slot in range(SLOTS):
            self.world.processes[f"{stage}.{slot}"].kill()
        self.world.pass_ms(11_000)
        for group, place in list(self.world.log.committed):
            if group == GROUPS[stage]:
                self.world.log.committed[group, place] = 0
        self.world.processes[f"{stage}.0"].start()

    @rule(topic=st.sampled_from(DUPLICABLE), pick=PICK)
    def duplicate(self, topic: str, pick: int) -> None:
        """A record that was committed comes once more, behind the others."""
        log = self.world.log
        entries = [
            (place, e) for place, es in log.partitions.items() if place[0].startswith(topic) for e in es if e.committed
        ]
        if entries:
            place, entry = entries[pick % len(entries)]
            log.append(place[0], entry.key, entry.value, entry.headers, place[1])

    # ---- store, moderator, device, clocks --------------------------------------------------------------------------

    @rule(pick=PICK, corrupt=st.booleans())
    def spoil_chunk(self, pick: int, corrupt: bool) -> None:
        store = self.world.store
        keys = [key for key in store.objects if key.startswith("chunks/")]
        if keys:
            (store.corrupt if corrupt else store.lose)(keys[pick % len(keys)])

    @rule(down=st.booleans())
    def store_outage(self, down: bool) -> None:
        self.world.store.down = down

    @rule(answers=st.integers(1, 3))
    def lose_answers(self, answers: int) -> None:
        self.world.store.answers_to_lose = answers

    @rule(down=st.booleans())
    def moderator_outage(self, down: bool) -> None:
        self.world.moderator_down = down

    @rule(
        slot=SLOT,
        faults=st.lists(st.sampled_from(("oom", "die", "hang", "bug", "lost", "stillborn")), min_size=1, max_size=4),
    )
    def break_device(self, slot: int, faults: list[str]) -> None:
        self.world.device_faults[f"render.{slot}"].extend(faults)

    @rule(statuses=st.lists(st.sampled_from((0, 500, 429)), min_size=1, max_size=2))
    def receiver_fails(self, statuses: list[int]) -> None:
        # Four at most, which the delays answer within two hours; days would make dispatch forget jobs.
        room = 4 - self.failures
        self.world.statuses.extend(statuses[:room])
        self.failures += len(statuses[:room])

    @rule(host=st.sampled_from(("broker", "stages")), minutes=st.sampled_from((-10, 10)))
    def step_clock(self, host: str, minutes: int) -> None:
        self.world.clock.step(host, minutes * 60_000)

    # ---- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.counts["rules"] += 1
        self.world.round(self.pace)
        self.world.pass_ms(50)
        self.checker.step()

    def teardown(self) -> None:
        try:
            # Not after a rule that failed, nor when hypothesis cuts a program short.
            if sys.exc_info()[0] is None:
                self._end()
        finally:
            self.counts["effects"] += self.world.effects
            self.counts["jobs"] += len(self.world.jobs)
            if self.keep_digests:
                self.digests.append(self.world.digest())

    def _end(self) -> None:
        settle(self.world, self.checker)
        self.checker.healed()
        before = self.checker.picture()
        replay(self.world)
        settle(self.world, self.checker)
        self.checker.replayed(before)
