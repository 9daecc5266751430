"""Which job gets the next chunk of a pool, without looking at all that wait. Pure.

Lanes by deficit round robin; in a lane, tenants and their accounts by virtual time; in an account, jobs by their order
(`line`). A job whose model no worker with room has warm may be passed by others of its lane for a while, rather than
have a worker change its model: delay scheduling (M. Zaharia et al., "Delay Scheduling: A Simple Technique for Achieving
Locality and Fairness in Cluster Scheduling", 2010). What passes it is bounded by what the change would cost.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import NamedTuple

from schemas.chunks import BatchKey
from schemas.request import Lane
from stream_processors.dispatch.fairness import LaneShares
from stream_processors.dispatch.job import Job
from stream_processors.dispatch.line import Found, LaneTable, Line

AHEAD = 2
"""Chunks that express may have got before its turn; paid back like all else."""
Wants = Callable[[Job, BatchKey | None], int | None]
"""The chunk that this job wants rendered now, of this kind or of any; None when it is over or has none."""
LoadTime = Callable[[Job], float]
"""Seconds that a worker needs to have a job's model warm."""


class Turn(NamedTuple):
    """Whose chunk is next."""

    job: Job
    chunk: int
    in_turn: bool
    """False: it goes before others of its lane, because its model is warm or because it fits into a batch."""
    aged: bool
    """It goes because of its age."""


class Queue:
    """Jobs of one pool."""

    def __init__(
        self,
        lane_weights: Mapping[Lane, float],
        wants: Wants,
        load_s: LoadTime,
        blocked: Set[str] = frozenset(),
    ) -> None:
        """blocked: tenants that get no chunk now; who takes one out of it says so (`readmit`)."""
        self.shares = LaneShares(dict(lane_weights))
        self.lanes = {lane: LaneQueue(lane, wants, load_s, blocked) for lane in lane_weights}

    def readmit(self, tenant: str) -> None:
        """A tenant that was blocked is not any more."""
        for lane_queue in self.lanes.values():
            lane_queue.readmit(tenant)

    def put(self, job: Job) -> None:
        """A job that is new, or that changed: it may want a chunk, or has another place in the order. A job that
        `pick` found to want none is not looked at again before."""
        self.lanes[job.lane].put(job)

    def pick(self, now_ms: int, warm: Iterable[str] | None = None) -> Turn | None:
        """The job to serve next; None when no job wants a chunk. warm: models that workers with room have warm, looked
        at only when that decides; None: it does not matter."""
        while True:
            costs_s: dict[Lane, float] = {}
            for lane, lane_queue in self.lanes.items():
                if (found := lane_queue.head(now_ms)) is not None:
                    costs_s[lane] = found.job.chunk_cost_s
            if not costs_s:
                return None
            queue = self.lanes[self.shares.pick(costs_s)]
            if (head := queue.confirmed()) is not None:
                return queue.turn(head, now_ms, warm)

    def look_again(self) -> None:
        """Jobs may have come to want nothing without having been put: they ended, or another has their chunk out."""
        for queue in self.lanes.values():
            queue.look_again()

    def express(self, now_ms: int) -> Turn | None:
        """The first express job, while its lane is at most AHEAD chunks beyond its share."""
        queue = self.lanes["express"]
        while (found := queue.head(now_ms)) is not None:
            if self.shares.credit_s("express") + AHEAD * found.job.chunk_cost_s < 0:
                return None
            if (head := queue.confirmed()) is not None:
                return queue.turn(head, now_ms, None)
        return None

    def companion(self, kind: BatchKey, lane: Lane, now_ms: int) -> Turn | None:
        """Another chunk for a batch of this kind: of the same lane first, then of the faster ones."""
        for queue in (self.lanes[lane], *(queue for other, queue in self.lanes.items() if other != lane)):
            if (found := queue.companion(kind, now_ms)) is not None:
                return found
        return None

    def charge(self, turn: Turn, load_s: float = 0.0) -> None:
        """Book one chunk, and the loading of its model where a worker has to change it."""
        cost_s, lane = turn.job.chunk_cost_s + load_s, turn.job.lane
        self.shares.charge(lane, cost_s)
        self.lanes[lane].charge(turn, cost_s)


class LaneQueue:
    """Jobs of one lane: in one line, in a line per model, and in one per kind of chunk that is batched."""

    def __init__(self, lane: Lane, wants: Wants, load_s: LoadTime, blocked: Set[str] = frozenset()) -> None:
        self._lane = lane
        self._wants = wants
        self._load_s = load_s
        self.table = LaneTable(blocked)
        self._all = Line(self.table, self._any, whole=True)
        self._models: dict[str, Line] = {}
        self._kinds: dict[BatchKey, Line] = {}
        self._head: Found | None = None
        """The head of the line as of `_head_at_ms`, as long as nothing can have come before it."""
        self._head_at_ms = 0
        self._fresh = False
        """It was found by the last look."""
        self._passed_s: dict[str, float] = {}
        """Device-seconds that have gone past a model's jobs since one was served."""
        self._passing: Job | None = None
        """The job whose turn it was when another one passed it."""

    def _any(self, job: Job) -> int | None:
        return self._wants(job, None) if job.lane == self._lane else None

    def _of_kind(self, kind: BatchKey) -> Callable[[Job], int | None]:
        return lambda job: self._wants(job, kind) if job.lane == self._lane else None

    def put(self, job: Job) -> None:
        self._head = None
        key, order, model = job.key, job.order(), job.model
        self.table.jobs[key] = job
        self._all.put(job, key, order)
        if (line := self._line_of(model)) is not self._all:
            line.put(job, key, order)
        for kind in job.kinds:
            if kind not in self._kinds:
                self._kinds[kind] = Line(self.table, self._of_kind(kind))
            self._kinds[kind].put(job, key, order)

    def readmit(self, tenant: str) -> None:
        self._head = None
        for line in (self._all, *self._models.values(), *self._kinds.values()):
            line.readmit(tenant)

    def _line_of(self, model: str) -> Line:
        """The line of a model's jobs. As long as there is one model, that is the line of all."""
        if model not in self._models:
            for other, line in self._models.items():
                if line is self._all:
                    self._models[other] = self._filled(other)
            self._models[model] = Line(self.table, self._any) if self._models else self._all
        return self._models[model]

    def _filled(self, model: str) -> Line:
        line = Line(self.table, self._any)
        for job in [job for job in self.table.jobs.values() if job.model == model]:
            line.put(job, job.key, job.order())
        return line

    def head(self, now_ms: int) -> Found | None:
        """The job whose turn it is."""
        self._fresh = self._head is None or self._head_at_ms != now_ms
        if self._fresh:
            self._head, self._head_at_ms = self._all.first(now_ms), now_ms
        return self._head

    def confirmed(self) -> Found | None:
        """The head, if it still wants its chunk."""
        if not self._fresh and self._head is not None and self._any(self._head.job) != self._head.chunk:
            self._head = None
        return self._head

    def look_again(self) -> None:
        self._head = None

    def turn(self, head: Found, now_ms: int, warm: Iterable[str] | None) -> Turn:
        """The job to serve: the head, or the first whose model is warm, within the window."""
        self._passing = None
        own = Turn(head.job, head.chunk, True, head.aged)
        if warm is None or head.job.model in (models := set(warm)):
            return own
        lines = (self._models[model] for model in models if model in self._models)
        able = [found for line in lines if (found := line.first(now_ms)) is not None]
        other = min(able, key=self.table.place, default=None)
        if other is None or not self._may_pass(head.job, other.job, now_ms):
            return own
        self._passing = head.job
        return Turn(other.job, other.chunk, False, other.aged)

    def _may_pass(self, head: Job, other: Job, now_ms: int) -> bool:
        """Waiting costs the head no more than changing a worker's model would, and it keeps its deadline."""
        load_s = self._load_s(head)
        if self._passed_s.get(head.model, 0.0) + other.chunk_cost_s > load_s:
            return False
        needs_s = head.remaining_s + 2 * load_s
        return head.deadline_ms is None or now_ms + 1_000 * needs_s <= head.deadline_ms

    def companion(self, kind: BatchKey, now_ms: int) -> Turn | None:
        """The first job with a chunk of this kind, unless that would keep a passed one waiting for too long."""
        line = self._kinds.get(kind)
        found = line.first(now_ms) if line is not None else None
        if found is None:
            return None
        if self._passing is not None and not self._may_pass(self._passing, found.job, now_ms):
            return None
        return Turn(found.job, found.chunk, False, found.aged)

    def charge(self, turn: Turn, cost_s: float) -> None:
        job = turn.job
        self._passed_s.pop(job.model, None)
        if self._passing is not None and (model := self._passing.model) != job.model:
            self._passed_s[model] = self._passed_s.get(model, 0.0) + cost_s
        self.table.charge(job, cost_s, turn.in_turn, turn.aged)
        self._head = None
