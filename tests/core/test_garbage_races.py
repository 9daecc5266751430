"""A collection beside the real scheduler, step by step in any order: jobs reuse old chunks while these are deleted.

The store is a dictionary, worker, inspect and mux do what theirs do about a missing object. What must hold: what the
scheduler named when its state was read is not deleted; and what is deleted under a job that came a moment later is
rendered again, and every job ends with its video.
"""

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import example, given, settings
from msgspec.structs import replace

from ops.garbage.core import Doomed, Limits, Living, doomed
from ops.storage.store import Listed
from schemas.chunks import chunk_ids, chunk_keys
from schemas.events import JobEvent
from schemas.ids import chunk_object_key
from schemas.plan import Plan
from schemas.records import Outgoing
from schemas.topics import HOUR_MS
from schemas.work import ChunkInspected, ChunkRendered, ChunkTask, Command, MuxTask, ObjectRef
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import answer

LIMITS = Limits(chunk_ms=48 * HOUR_MS, input_ms=24 * HOUR_MS)
START_MS = 1_000 * HOUR_MS
JOBS = 3
STEPS = ("join", "tick", "render", "inspect", "mux", "list", "read", "delete", "hours")


@dataclass
class World:
    now_ms: int = START_MS
    store: dict[str, tuple[int, str]] = field(default_factory=dict)
    """key -> (made at, hash)"""
    scheduler: Scheduler = field(default_factory=lambda: Scheduler({"express": 8.0, "standard": 3.0, "bulk": 1.0}))
    plans: list[Plan] = field(default_factory=list)
    tasks: list[ChunkTask] = field(default_factory=list)
    rendered: list[ChunkInspected] = field(default_factory=list)
    to_mux: list[MuxTask] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    going: list[Doomed] = field(default_factory=list)
    made: int = 0

    def take(self, out: list[Outgoing]) -> None:
        for one in out:
            match one.record:
                case ChunkTask():
                    self.tasks.append(one.record)
                case MuxTask():
                    self.to_mux.append(one.record)
                case JobEvent(type="job.failed" | "job.expired" | "job.cancelled"):
                    self.ended[one.record.job] = one.record.type

    def join(self) -> None:
        number = len(self.plans)
        if number < JOBS:
            self.plans.append(plan(str(number), chunks=3, seed=7, chained=number != 1))
            self.take(self.scheduler.on_plan(self.plans[-1], self.now_ms))
            self.take(self.scheduler.on_control(answer("admit", self.plans[-1]), self.now_ms))

    def tick(self) -> None:
        self.scheduler.on_worker(worker(capacity=4), self.now_ms)
        self.take(self.scheduler.tick(self.now_ms))

    def render(self) -> None:
        if not self.tasks:
            return
        task = self.tasks.pop(0)
        key = chunk_object_key(task.spec.tenant, task.chunk_id)
        given = task.spec.given_chunk
        if key not in self.store:
            if given and chunk_object_key(task.spec.tenant, given) not in self.store:
                self.rendered.append(failed(result(task), "given chunk missing: there is no such object", given=True))
                return
            self.made += 1
            self.store[key] = (self.now_ms, f"{self.made:064x}")
        self.rendered.append(result(task, sha256=self.store[key][1]))

    def inspect(self) -> None:
        if not self.rendered:
            return
        one = self.rendered.pop(0)
        ref: ObjectRef | None = one.rendered.object
        if ref is not None and ref.key not in self.store:
            one = failed(one, "chunk object is missing")
        elif ref is not None and self.store[ref.key][1] != ref.sha256:
            one = failed(one, "chunk object was replaced by another")
        self.take(self.scheduler.on_inspected(one, self.now_ms))

    def mux(self) -> None:
        if not self.to_mux:
            return
        task = self.to_mux.pop(0)
        found = [self.store.get(key, (0, ""))[1] for key in chunk_keys(task.plan)]
        faults = [i for i, (sha, ready) in enumerate(zip(found, task.ready, strict=True)) if sha != ready.sha256]
        orders = [order(task, "redo_chunk", chunk) for chunk in faults] or [order(task, "release", -1)]
        if not faults:
            self.ended.setdefault(task.plan.job, "published")
        for one in orders:
            self.take(self.scheduler.on_control(one, self.now_ms))

    def list(self) -> None:
        self.listed = [Listed(key, 1, at_ms) for key, (at_ms, _) in self.store.items()]
        self.going = []

    def read(self) -> None:
        names = frozenset(name for job in self.scheduler.jobs.values() for name in chunk_ids(job.plan))
        self.going = list(doomed(self.listed, Living(names, {}), LIMITS, self.now_ms))
        assert not names & {one.key.rpartition("/")[2].removesuffix(".mkv") for one in self.going}
        self.listed = []

    def delete(self) -> None:
        if self.going:
            self.store.pop(self.going.pop().key, None)

    def hours(self) -> None:
        self.now_ms += 25 * HOUR_MS

    def finish(self) -> None:
        """Nothing else happens to the store; time goes on."""
        while len(self.plans) < JOBS:
            self.join()
        for _ in range(200):
            for step in (self.tick, self.render, self.inspect, self.mux):
                step()
            self.now_ms += 2_000


def failed(one: ChunkInspected, error: str, given: bool = False) -> ChunkInspected:
    rendered: ChunkRendered = replace(one.rendered, status="failed", object=None, error=error, given_lost=given)
    return ChunkInspected(rendered=rendered, lost=not given)


def order(task: MuxTask, action: str, chunk: int) -> Command:
    return Command(job=task.plan.job, action=action, chunk=chunk, mux_attempt=task.attempt)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(STEPS), max_size=120))
# Listed and judged before the job comes; the job finds all three chunks; then they go, one by one, before mux has them.
@example(
    ["list", "read", "join", "tick", "render", "inspect", *["tick", "render", "inspect"] * 2, *["delete"] * 3, "mux"]
)
# They go between the worker's look and the verdict.
@example(["list", "read", "join", "tick", "render", *["delete"] * 3, "inspect"])
@settings(max_examples=300, deadline=None)
def test_no_interleaving_costs_a_job_its_video(steps: list[str]) -> None:
    world = World()
    for name in chunk_ids(plan("before", chunks=3, seed=7)):
        world.store[chunk_object_key("default", name)] = (0, "e" * 64)
    for step in steps:
        getattr(world, step)()
    world.finish()
    assert world.ended == {one.job: "published" for one in world.plans}


def test_the_race_is_really_there() -> None:
    """The example above does lose chunks, and the job renders them again."""
    world = World()
    for name in chunk_ids(plan("before", chunks=3, seed=7)):
        world.store[chunk_object_key("default", name)] = (0, "e" * 64)
    for step in ["list", "read", "join", *["tick", "render", "inspect"] * 3, *["delete"] * 3]:
        getattr(world, step)()
    assert world.store == {}
    assert len(world.to_mux) == 1
    world.finish()
    assert world.made >= 3
    assert world.ended["default/0"] == "published"
