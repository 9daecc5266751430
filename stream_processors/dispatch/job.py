"""One job in the scheduler: its plan, its chunks, and what may be rendered next. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from msgspec.structs import replace

from schemas.chunks import BatchKey, batch_key, chunk_ids, chunk_specs
from schemas.errors import InvalidMessage
from schemas.events import Progress
from schemas.ids import chunk_object_key
from schemas.plan import ChunkSpec, Placement, Plan
from schemas.request import Lane
from schemas.steering import NOTHING
from schemas.topics import CHUNKS
from schemas.work import ChunkProgress, ChunkRendered, FrameVerdict, SchedulerRow, Steering
from stream_processors.dispatch.quotas import Halt
from stream_processors.dispatch.switches import ALL_ON, Switches

Order = tuple[float, int, bool, int, str]
"""Place among the jobs of one account, the smallest first. Ends with the job's key, so no two are equal."""


MOST_LETTERS = 24
"""Of a category that is kept with a chunk: a row must stay a record that fits."""


@dataclass(slots=True)
class Job:
    """A live job. `row` is what is persisted; `plan` never changes."""

    plan: Plan
    row: SchedulerRow
    reported: Progress | None = None
    """Last progress told to the world."""
    reported_at_ms: int = 0
    reported_row: SchedulerRow | None = None
    """The row that this was the progress of."""
    told_finish_ms: int | None = None
    """When it was last told to be rendered; None: it was told nothing of the kind."""
    asked_at_ms: int = 0
    """When track was last asked whether this request owns the id."""
    chunk_cost_s: float = 0.0
    """Expected device-seconds of the next chunk; kept by `Book`."""
    rivals: list[Plan] = field(default_factory=list)
    """Other requests under the same id, for the case that it does not."""
    switches: Switches = ALL_ON
    """What operators have switched off."""
    halts: Mapping[str, Halt] = field(default_factory=dict)
    """Tenants that get nothing more today."""
    early: bool = False
    """It gets no chunk before `row.not_before_ms`."""
    weight: float = 0.0
    """Share of its tenant within its lane; kept by `Book`."""
    key: str = field(init=False, compare=False)
    """tenant/job_id."""
    tenant: str = field(init=False, compare=False)
    account: str = field(init=False, compare=False)
    """Who shares the tenant's turns: its project, or the key that signed it; "" of neither."""
    model: str = field(init=False, compare=False)
    placement: Placement = field(init=False, compare=False)
    _specs: tuple[ChunkSpec, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _ids: tuple[str, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _kinds: tuple[BatchKey, ...] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Every decision asks for these; the plan never changes, so they are looked up once.
        plan = self.plan
        assert plan.placement is not None
        self.key, self.tenant, self.model, self.placement = (
            plan.job,
            plan.request.tenant,
            plan.render.model,
            plan.placement,
        )
        self.account = plan.request.project or plan.origin.key_id
        self.chunk_cost_s = self.chunk_cost_s or self.placement.chunk_cost_s
        self.weight = self.weight or self.placement.weight

    @property
    def lane(self) -> Lane:
        """Lane that it is served in: the request's, or the one that it was moved to."""
        steering = self.row.steering
        return steering.lane if steering.lane_at_ms else self.plan.request.lane

    @property
    def priority(self) -> int:
        """-10..10, higher first: the request's, or what was ordered since."""
        steering = self.row.steering
        return steering.priority if steering.priority_at_ms else self.plan.request.priority

    @property
    def deadline_ms(self) -> int | None:
        """When it must be rendered by, ms since the epoch; None: no deadline."""
        steering = self.row.steering
        return steering.deadline_ms if steering.deadline_at_ms else self.plan.request.deadline_ms

    @property
    def stopped(self) -> str:
        """Why it gets no further chunk for now, in a few words; "" while it does."""
        if self.row.steering.held:
            return "held"
        if self.texts_in_review:
            return "texts wait for a review"
        if self.row.review_at_ms:
            return "frames wait for a review"
        if self.switches and (why := self.switches.stopping(self.placement.pool, self.lane, self.tenant)):
            return why
        if self.halts and (halt := self.halts.get(self.tenant)) is not None:
            return halt.why
        if not self.early:
            return ""
        # Losses are found in what has been rendered, a tenant's rate holds up what has not begun.
        return "chunks of it were lost" if self.row.started_at_ms else "its tenant sends more requests than it may"

    @property
    def resumes_at_ms(self) -> int | None:
        """When a job that a quota or lost chunks have stopped goes on; None of others."""
        if self.halts and (halt := self.halts.get(self.tenant)) is not None:
            return halt.until_ms
        return self.row.not_before_ms if self.early else None

    @property
    def kinds(self) -> tuple[BatchKey, ...]:
        """Kinds of its chunks that share forward passes with others; none for a model that renders one at a time."""
        if self.placement.max_batch <= 1:
            return ()
        if self._kinds is None:
            self._kinds = tuple(dict.fromkeys(map(batch_key, self.specs)))
        return self._kinds

    @property
    def specs(self) -> tuple[ChunkSpec, ...]:
        if self._specs is None:
            self._specs = chunk_specs(self.plan)
        return self._specs

    @property
    def ids(self) -> tuple[str, ...]:
        if self._ids is None:
            self._ids = chunk_ids(self.plan)
        return self._ids

    def chunk(self, index: int) -> ChunkProgress:
        return self.row.chunks[index]

    def set_chunk(self, index: int, **changes: object) -> None:
        """Change one chunk's progress."""
        chunks = list(self.row.chunks)
        chunks[index] = replace(chunks[index], **changes)
        self.row = replace(self.row, chunks=tuple(chunks))

    def set_rendered(self, rendered: ChunkRendered, verdict: FrameVerdict, state: Literal["v", "r"]) -> None:
        """A chunk is rendered, and allowed or to be looked at by a person; what it cost is counted."""
        assert rendered.object is not None
        self.set_chunk(
            rendered.index,
            state=state,
            approved=self.approved(rendered),
            sha256=rendered.object.sha256,
            size_bytes=rendered.object.size_bytes,
            reused=rendered.status == "reused" and self.chunk(rendered.index).device_s == 0,
            frames_checked=verdict.frames_checked,
            score=verdict.score,
            category=verdict.category[:MOST_LETTERS] if state == "v" else "",
        )
        self.row = replace(self.row, moderator=verdict.provider)

    def approved(self, rendered: ChunkRendered) -> bool:
        """Has a person let these very bytes through?"""
        ref = rendered.object
        return ref is not None and any(c.approved and c.sha256 == ref.sha256 for c in self.row.chunks)

    def wants(self, rendered: ChunkRendered) -> bool:
        """Is this about a chunk of this plan, and does the job still want chunks?"""
        fits = 0 <= rendered.index < len(self.ids) and self.ids[rendered.index] == rendered.chunk_id
        return fits and self.row.phase == "active"

    def goes_in_circles(self, since_ms: int) -> bool:
        """Has a chunk gone out more than once, with nothing having moved since then?

        Waiting in line is no circle, however long: neither behind others, nor for a pool without a worker, nor while it
        is stopped. A chunk that is ready counts from when it was handed out.
        """
        if self.stopped:
            return False
        chunks, row = self.row.chunks, self.row
        let_go_ms = max(row.steering.held_at_ms, self.switches.turned_on_ms)
        moved_ms = max(row.at_ms, row.started_at_ms, let_go_ms, *(c.at_ms for c in chunks if c.state == "r"))
        return moved_ms < since_ms and any(c.state != "r" and c.attempt > 1 for c in chunks)

    @property
    def texts_in_review(self) -> bool:
        """Is a person to look at its texts first? Until a row says that somebody has, whatever else it says."""
        return bool(self.plan.doubts) and not self.row.texts_approved

    @property
    def in_review(self) -> list[int]:
        """Chunks that a person is to look at."""
        return [i for i, c in enumerate(self.row.chunks) if c.state == "v"] if self.row.review_at_ms else []

    def object_key(self, index: int) -> str:
        """Object key of a chunk."""
        return chunk_object_key(self.tenant, self.ids[index])

    def waiting(self) -> Iterator[int]:
        """Chunks that could be rendered now, in order: waiting, and their predecessor is ready."""
        chunks, spans = self.row.chunks, self.plan.chunks
        for index, chunk in enumerate(chunks):
            if chunk.state == "w" and ((after := spans[index].after) < 0 or chunks[after].state == "r"):
                yield index

    @property
    def remaining_s(self) -> float:
        """Estimated device-seconds of all chunks not yet rendered."""
        return sum(c.state not in ("v", "r") for c in self.row.chunks) * self.chunk_cost_s

    @property
    def complete(self) -> bool:
        """Is all rendered and allowed? Chunks may come back, late, of an earlier job of the id, while texts wait."""
        return all(c.state == "r" for c in self.row.chunks) and not self.texts_in_review

    def frame_verdict(self) -> FrameVerdict:
        """What moderation said of all chunks together, once all are allowed."""
        chunks = self.row.chunks
        return FrameVerdict(
            verdict="allow",
            provider=self.row.moderator,
            frames_checked=sum(c.frames_checked for c in chunks),
            score=max((c.score for c in chunks), default=0.0),
        )

    def order(self) -> Order:
        """Earliest deadline first, then highest priority, begun before not begun, age."""
        # `deadline_ms` and `priority` written out: this is asked for at every decision.
        plan, row = self.plan, self.row
        request, steering = plan.request, row.steering
        deadline_ms = steering.deadline_ms if steering.deadline_at_ms else request.deadline_ms
        return (
            inf if deadline_ms is None else deadline_ms,
            -(steering.priority if steering.priority_at_ms else request.priority),
            row.started_at_ms == 0,
            plan.requested_at_ms,
            plan.job,
        )

    def progress(self, queue_position: int | None = None, eta_s: float | None = None) -> Progress:
        chunks = self.row.chunks
        started_ms = self.row.started_at_ms
        return Progress(
            chunks=len(chunks),
            rendered=sum(c.state in ("v", "r") and not c.reused for c in chunks),
            reused=sum(c.state in ("v", "r") and c.reused for c in chunks),
            running=sum(c.state == "d" for c in chunks),
            device_s=round(sum(c.device_s for c in chunks), 3),
            queue_position=queue_position,
            eta_s=eta_s,
            waited_s=round((started_ms - self.plan.requested_at_ms) / 1000, 3) if started_ms else None,
            stopped=self.stopped,
            resumes_at_ms=self.resumes_at_ms,
        )


def new_job(plan: Plan, now_ms: int, steering: Steering = NOTHING) -> Job:
    """A job whose chunks all wait. steering: what was ordered of it already."""
    row = SchedulerRow(
        job=plan.job,
        phase="active",
        fingerprint=plan.fingerprint,
        at_ms=now_ms,
        chunks=tuple(ChunkProgress("w") for _ in plan.chunks),
        steering=steering,
        review_at_ms=now_ms if plan.doubts else 0,
    )
    return Job(plan, row)


def check_plan(plan: Plan) -> None:
    """Raise InvalidMessage for what prioritise and split never write, and what would stop the scheduler for everybody
    if it came."""
    if plan.placement is None or plan.placement.pool not in CHUNKS:
        raise InvalidMessage(f"placement: missing or for an unknown pool; known are {', '.join(CHUNKS)}")
    if plan.placement.weight <= 0 or plan.placement.chunk_cost_s <= 0:
        raise InvalidMessage("placement: weight and chunk_cost_s must be above 0")
    if not plan.chunks:
        raise InvalidMessage("chunks: empty")
    if bool(plan.doubts) != (plan.prompts is not None and plan.prompts.verdict != "allow"):
        raise InvalidMessage("doubts: a job that is left to a person names some, any other job none")
    for index, span in enumerate(plan.chunks):
        if not 0 <= span.shot < len(plan.request.shots) or not -1 <= span.after < index:
            raise InvalidMessage(f"chunks[{index}]: shot {span.shot} or predecessor {span.after} does not exist")
