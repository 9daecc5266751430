"""The tasks that a worker holds: where each stands, what may be looked up next, what goes to the device together. Pure.

A task's way is drawn in core.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gpu_consumers.pipelines.renderer import compatible
from schemas.registry import ModelEntry
from schemas.request import LANES
from schemas.work import ChunkRendered, ChunkTask, ObjectRef

BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.5, 30.0


@dataclass(slots=True)
class Work:
    """One task. offset: of its record in the partition."""

    ticket: int
    partition: int
    offset: int
    task: ChunkTask
    stage: Literal["waiting", "preparing", "ready", "device", "storing", "reporting"] = "waiting"
    owned: bool = True
    """Its partition has been ours ever since it came, so its offset may be committed."""
    given: str = ""
    frames: str = ""
    device_s: float = 0.0
    attempts: int = 0
    alone: bool = False
    """Its last batch failed: it is tried by itself, to find the one at fault."""
    not_before_s: float = 0.0
    store_tries: int = 0
    withdrawn: bool = False
    """Nobody waits for it any more."""

    def back_off(self, now_s: float) -> None:
        """The store gave no answer: wait longer each time."""
        self.store_tries += 1
        self.not_before_s = now_s + min(BACKOFF_FIRST_S * 2 ** min(self.store_tries - 1, 10), BACKOFF_LAST_S)

    @property
    def lane_rank(self) -> int:
        """0: the fastest lane."""
        return LANES.index(self.task.lane)

    def report(
        self,
        pool: str,
        worker_id: str,
        status: Literal["rendered", "reused", "failed", "withdrawn"],
        ref: ObjectRef | None = None,
        error: str = "",
        given_lost: bool = False,
    ) -> ChunkRendered:
        """What is told of it. given_lost: the store has lost what its chunk begins with."""
        task = self.task
        return ChunkRendered(
            job=task.job,
            index=task.index,
            attempt=task.attempt,
            chunk_id=task.chunk_id,
            pool=pool,
            worker_id=worker_id,
            status=status,
            object=ref,
            frames=task.spec.frames if ref else 0,
            device_s=round(self.device_s, 3),
            error=error,
            dispatched_at_ms=task.dispatched_at_ms,
            given_lost=given_lost,
        )


def to_prepare(works: Iterable[Work], capacity: int, now_s: float) -> list[Work]:
    """Waiting tasks to be looked up now, in the order of arrival: at most `capacity` ahead, those of slower lanes not
    counted. A chunk that came twice waits for itself: then it can be reused."""
    held = list(works)
    ahead = [work.lane_rank for work in held if work.stage in ("preparing", "ready")]
    earlier: set[str] = set()
    found = []
    for work in held:
        twice = work.task.chunk_id in earlier
        earlier.add(work.task.chunk_id)
        if work.stage != "waiting" or twice or work.not_before_s > now_s:
            continue
        if sum(rank <= work.lane_rank for rank in ahead) < capacity:
            ahead.append(work.lane_rank)
            found.append(work)
    return found


def to_send(works: Iterable[Work], entries: Mapping[str, ModelEntry]) -> Sequence[Work]:
    """The next batch of what is ready, the fastest lane first; empty when nothing is. Nobody waits for company."""
    ready = sorted((work for work in works if work.stage == "ready"), key=lambda work: work.lane_rank)
    if not ready:
        return ()
    first = ready[0]
    most = 1 if first.alone else entries[first.task.spec.model].max_batch
    fit = [work for work in ready[1:] if not work.alone and compatible(first.task.spec, work.task.spec)]
    return [first, *fit[: most - 1]]
