"""Requests, plans and records for tests of the cores."""

from msgspec.structs import replace

from schemas.chunks import chunk_ids
from schemas.ids import chunk_object_key, fingerprint, job_key
from schemas.plan import ChunkSpan, Placement, Plan, RenderSettings
from schemas.request import JobRequest, Lane, Output, Shot
from schemas.work import ChunkInspected, ChunkRendered, ChunkTask, FrameVerdict, ObjectRef, WorkerState

RENDER = RenderSettings(
    model="shapes",
    model_revision="r1",
    steps=8,
    guidance=2.0,
    width_px=64,
    height_px=64,
    clip_frames=17,
    given_frames=5,
)


def plan(
    job_id: str = "a",
    *,
    chunks: int = 2,
    chained: bool = True,
    lane: Lane = "standard",
    tenant: str = "default",
    seed: int | None = None,
    requested_at_ms: int = 1_000,
    deadline_ms: int | None = None,
    cost_s: float = 1.0,
    pool: str = "cpu",
    weight: float = 1.0,
    priority: int = 0,
    project: str | None = None,
    account_weight: float = 1.0,
    model: str = RENDER.model,
    load_s: float = 0.0,
    max_batch: int = 1,
) -> Plan:
    """A job of one shot in `chunks` chunks."""
    frames = 17 + 12 * (chunks - 1)
    request = JobRequest(
        job_id=job_id,
        tenant=tenant,
        lane=lane,
        shots=(Shot(prompt="a red ball", duration_s=frames / 24, seed=seed),),
        output=Output(width_px=256, height_px=256, fps=24),
        deadline_ms=deadline_ms,
        priority=priority,
        project=project,
    )
    spans = [ChunkSpan(0, 0, 17, -1)]
    spans += [ChunkSpan(0, 17 + 12 * (i - 1), 12, i - 1 if chained else -1) for i in range(1, chunks)]
    return Plan(
        job=job_key(tenant, job_id),
        request=request,
        fingerprint=fingerprint(request),
        requested_at_ms=requested_at_ms,
        render=replace(RENDER, model=model),
        chunks=tuple(spans),
        placement=Placement(
            pool=pool,
            weight=weight,
            chunk_cost_s=cost_s,
            load_s=load_s,
            max_batch=max_batch,
            account_weight=account_weight,
        ),
    )


def worker(
    worker_id: str = "w0",
    *,
    pending: tuple[str, ...] = (),
    capacity: int = 2,
    pool: str = "cpu",
    models: tuple[str, ...] = ("shapes",),
    step: int = 0,
    steps: int = 0,
) -> WorkerState:
    return WorkerState(
        worker_id=worker_id,
        pool=pool,
        device="cpu",
        partitions=(0, 1),
        models=models,
        pending=pending,
        capacity=capacity,
        step=step,
        steps=steps,
    )


def result(
    task: ChunkTask, *, verdict: str = "allow", status: str = "rendered", sha256: str = "5" * 64
) -> ChunkInspected:
    """What inspect says of a task that a worker did."""
    rendered = ChunkRendered(
        job=task.job,
        index=task.index,
        attempt=task.attempt,
        chunk_id=task.chunk_id,
        pool=task.pool,
        worker_id="w0",
        status=status,
        object=ObjectRef(key=chunk_object_key(task.spec.tenant, task.chunk_id), sha256=sha256, size_bytes=10),
        frames=task.spec.frames,
        device_s=0.5 if status == "rendered" else 0.0,
        dispatched_at_ms=task.dispatched_at_ms,
    )
    if status == "withdrawn":
        return ChunkInspected(rendered=replace(rendered, object=None, frames=0, device_s=0.25))
    if status == "failed":
        return ChunkInspected(rendered=replace(rendered, object=None, error="out of memory"))
    judged = FrameVerdict(
        verdict=verdict, provider="test", frames_checked=2, category="" if verdict == "allow" else "sexual"
    )
    return ChunkInspected(rendered=rendered, verdict=judged)


def ids(of: Plan) -> tuple[str, ...]:
    return chunk_ids(of)
