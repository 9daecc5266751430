"""An express chunk waits for what a worker renders, not for what waits there. Express gets no more than its share."""

from collections import Counter

from msgspec.structs import replace

from schemas.records import Outgoing
from schemas.work import ChunkTask, WorkerState
from stream_processors.dispatch.core import Scheduler
from tests.core.plans import plan, result, worker
from tests.core.scheduled import WEIGHTS, tasks

PLACES = {"w0": (0, 1), "w1": (4, 5)}


def says(name: str, *pending: str, step: int = 0, models: tuple[str, ...] = ("shapes",)) -> WorkerState:
    state = worker(name, pending=pending, step=step, steps=8 if step else 0, models=models)
    return replace(state, partitions=PLACES[name])


def sent(out: list[Outgoing]) -> list[tuple[str, str]]:
    """(worker, job) of every chunk that was handed out."""
    where = {place: name for name, places in PLACES.items() for place in places}
    return [(where[o.partition or 0], o.record.job) for o in out if isinstance(o.record, ChunkTask)]


def full(*names: str, models: tuple[str, ...] = ("shapes",)) -> tuple[Scheduler, dict[str, list[str]]]:
    """A scheduler whose workers hold two bulk chunks each, with more waiting; and what each holds."""
    scheduler, held = Scheduler(WEIGHTS), {name: [] for name in names}
    for number in range(4 * len(names)):
        scheduler.on_plan(plan(f"bulk-{number}", chunks=1, lane="bulk", requested_at_ms=number, cost_s=8.0), 0)
    for name in names:
        scheduler.on_worker(says(name, models=models), 0)
    out = scheduler.tick(0)
    for (name, _), task in zip(sent(out), tasks(out), strict=True):
        held[name].append(task.chunk_id)
    return scheduler, held


def test_an_express_chunk_goes_to_the_full_worker_that_is_done_first() -> None:
    scheduler, held = full("w0", "w1")
    scheduler.on_worker(says("w0", *held["w0"], step=1), 1)
    scheduler.on_worker(says("w1", *held["w1"], step=4), 1)
    scheduler.on_plan(plan("now", chunks=1, lane="express"), 2)
    assert sent(scheduler.tick(2)) == [("w1", "default/now")]


def test_a_worker_that_has_decided_already_is_not_asked_if_another_has_not() -> None:
    scheduler, held = full("w0", "w1")
    scheduler.on_worker(says("w0", *held["w0"], step=1), 1)
    scheduler.on_worker(says("w1", *held["w1"], step=7), 1)
    scheduler.on_plan(plan("now", chunks=1, lane="express"), 2)
    assert sent(scheduler.tick(2)) == [("w0", "default/now")]


def test_a_worker_gets_one_chunk_beyond_what_it_wants_and_only_express() -> None:
    scheduler, _ = full("w0", "w1")
    scheduler.on_plan(plan("patient", chunks=1, lane="standard", deadline_ms=60_000, priority=10), 1)
    assert sent(scheduler.tick(1)) == []
    for number in range(4):
        scheduler.on_plan(plan(f"now-{number}", chunks=1, lane="express", cost_s=0.001), 2)
    assert Counter(name for name, _ in sent(scheduler.tick(2))) == {"w0": 1, "w1": 1}
    assert sent(scheduler.tick(3)) == []


def test_a_cold_worker_is_not_asked() -> None:
    scheduler, _ = full("w0", models=())
    scheduler.on_plan(plan("now", chunks=1, lane="express"), 2)
    assert sent(scheduler.tick(2)) == []


def test_express_has_no_more_than_its_share_while_others_wait() -> None:
    scheduler = Scheduler(WEIGHTS)
    for number in range(400):
        scheduler.on_plan(plan(f"b{number}", chunks=1, lane="bulk", tenant=f"t{number % 2}"), 0)
        scheduler.on_plan(plan(f"e{number}", chunks=1, lane="express", tenant=f"t{number % 2}"), 0)
    held: list[ChunkTask] = []
    served: Counter[str] = Counter()
    for now_ms in range(1, 180):
        scheduler.on_worker(says("w0", *(t.chunk_id for t in held), step=4 if held else 0), now_ms)
        held += tasks(scheduler.tick(now_ms))
        held.sort(key=lambda t: t.lane != "express")  # as the worker does
        done = held.pop(0)
        served[done.lane] += 1
        scheduler.on_inspected(result(done), now_ms)
    weight = WEIGHTS["bulk"] / (WEIGHTS["bulk"] + WEIGHTS["express"])
    assert served["bulk"] >= 0.8 * weight * served.total()
