"""One job in the scheduler: its plan, its chunks, and what may be rendered next. Pure."""

from dataclasses import dataclass
from functools import cached_property

from msgspec.structs import replace

from schemas.chunks import chunk_ids, chunk_specs
from schemas.events import Progress
from schemas.plan import ChunkSpec, Placement, Plan
from schemas.work import ChunkProgress, FrameVerdict, SchedulerRow


@dataclass
class Job:
    """A live job. `row` is what is persisted; `plan` never changes."""

    plan: Plan
    row: SchedulerRow
    reported: Progress | None = None
    """Last progress told to the world."""
    reported_at_ms: int = 0

    @property
    def key(self) -> str:
        return self.plan.job

    @cached_property
    def specs(self) -> tuple[ChunkSpec, ...]:
        return chunk_specs(self.plan)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return chunk_ids(self.plan)

    @property
    def placement(self) -> Placement:
        assert self.plan.placement is not None
        return self.plan.placement

    def chunk(self, index: int) -> ChunkProgress:
        return self.row.chunks[index]

    def set_chunk(self, index: int, **changes: object) -> None:
        """Change one chunk's progress."""
        chunks = list(self.row.chunks)
        chunks[index] = replace(chunks[index], **changes)
        self.row = replace(self.row, chunks=tuple(chunks))

    def waiting(self) -> list[int]:
        """Chunks that may be rendered now, in order: waiting, and their predecessor is ready."""
        chunks = self.row.chunks
        return [
            i
            for i, span in enumerate(self.plan.chunks)
            if chunks[i].state == "w" and (span.after < 0 or chunks[span.after].state == "r")
        ]

    @property
    def remaining_s(self) -> float:
        """Estimated device-seconds of all chunks not yet ready."""
        return sum(c.state != "r" for c in self.row.chunks) * self.placement.chunk_cost_s

    @property
    def complete(self) -> bool:
        return all(c.state == "r" for c in self.row.chunks)

    def frame_verdict(self) -> FrameVerdict:
        """What moderation said of all chunks together, once all are allowed."""
        chunks = self.row.chunks
        return FrameVerdict(
            verdict="allow",
            provider=self.row.moderator,
            frames_checked=sum(c.frames_checked for c in chunks),
            score=max((c.score for c in chunks), default=0.0),
        )

    def order(self) -> tuple[bool, float, int, str]:
        """Place among the jobs of one tenant: begun ones first, then earliest deadline, then age."""
        deadline_ms = self.plan.request.deadline_ms
        return (
            self.row.started_at_ms == 0,
            float("inf") if deadline_ms is None else deadline_ms,
            self.plan.requested_at_ms,
            self.key,
        )

    def progress(self, queue_position: int | None = None, eta_s: float | None = None) -> Progress:
        chunks = self.row.chunks
        started_ms = self.row.started_at_ms
        return Progress(
            chunks=len(chunks),
            rendered=sum(c.state == "r" and not c.reused for c in chunks),
            reused=sum(c.state == "r" and c.reused for c in chunks),
            running=sum(c.state == "d" for c in chunks),
            device_s=round(sum(c.device_s for c in chunks), 3),
            queue_position=queue_position,
            eta_s=eta_s,
            waited_s=round((started_ms - self.plan.requested_at_ms) / 1000, 3) if started_ms else None,
        )


def new_job(plan: Plan, now_ms: int) -> Job:
    """A job whose chunks all wait."""
    row = SchedulerRow(
        job=plan.job,
        phase="active",
        fingerprint=plan.fingerprint,
        at_ms=now_ms,
        chunks=tuple(ChunkProgress("w") for _ in plan.chunks),
    )
    return Job(plan, row)
