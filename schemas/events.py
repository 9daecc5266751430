"""Every record on every topic, as typed structs. Pure; imports nothing of ours.

Conventions: the unit is in the name (`duration_s`, `width_px`, `at_ms` = milliseconds since the Unix epoch, UTC).
`job` is the key made by `schemas.ids.job_key` ("tenant/job_id"). Decoding is strict: unknown fields are errors.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.ids import JOB_ID_PATTERN, TENANT_PATTERN

Lane = Literal["express", "standard", "bulk"]
LANES: tuple[Lane, ...] = ("express", "standard", "bulk")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parent of every record: immutable, strict, defaults left out on the wire."""


# ---- the request: what a user sends -------------------------------------------------------------------------------


class Shot(Record, frozen=True, kw_only=True):
    prompt: Annotated[str, Meta(min_length=1, max_length=2000)]
    duration_s: Annotated[float, Meta(gt=0, le=600)]
    negative_prompt: Annotated[str, Meta(max_length=2000)] = ""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """None: derived from the job id, so a redelivered job renders the same pixels."""
    continuity: Literal["chained", "independent"] = "chained"
    """chained: each chunk starts from the last frames of the one before. independent: chunks render side by side."""


class Transition(Record, frozen=True, kw_only=True):
    """How shot `after` gives way to the next one. Shots without one are joined by a cut."""

    after: Annotated[int, Meta(ge=0)]
    """0-based index of the shot before the transition."""
    kind: Literal["crossfade"] = "crossfade"
    duration_s: Annotated[float, Meta(gt=0, le=10)]
    """The two shots overlap for this long, so the video is this much shorter than the sum of its shots."""


class Output(Record, frozen=True, kw_only=True):
    width_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=2)] = 640
    height_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=2)] = 360
    fps: Annotated[int, Meta(ge=1, le=60)] = 24
    fit: Literal["contain", "cover"] = "contain"
    """How a picture of another shape is scaled: contain adds bars, cover crops."""


class Webhook(Record, frozen=True, kw_only=True):
    url: Annotated[str, Meta(min_length=8, max_length=2048, pattern=r"^https?://")]


class JobRequest(Record, frozen=True, kw_only=True):
    """A job is a storyboard. One prompt is a storyboard of one shot."""

    job_id: Annotated[str, Meta(pattern=JOB_ID_PATTERN)]
    """Chosen by the sender, unique per tenant, and the record key: sending it again changes nothing."""
    shots: Annotated[tuple[Shot, ...], Meta(min_length=1, max_length=50)]
    tenant: Annotated[str, Meta(pattern=TENANT_PATTERN)] = "default"
    lane: Lane = "standard"
    """Class of service; must be the lane of the topic that carries the request."""
    model: Annotated[str, Meta(min_length=1, max_length=64)] = "shapes"
    transitions: Annotated[tuple[Transition, ...], Meta(max_length=49)] = ()
    output: Output = Output()
    deadline_ms: Annotated[int, Meta(ge=0)] | None = None
    """Moment (ms since the epoch) after which the video is of no use; the job then ends as `expired`."""
    webhook: Webhook | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=32)] = {}
    """Given back unchanged on every result. At most 32 entries, 4 KiB in all."""


# ---- the plan ------------------------------------------------------------------------------------------------------


class ClearedJob(Record, frozen=True, kw_only=True):
    """A request that moderation let through."""

    job: str
    request: JobRequest
    fingerprint: str
    requested_at_ms: int
    """Broker timestamp of the request record."""


class ChunkSpan(msgspec.Struct, frozen=True, array_like=True):
    """A span of frames of one shot. On the wire an array, to keep plans small."""

    shot: int
    first_frame: int
    """Position of the first new frame within the shot."""
    frames: int
    """New frames that this chunk adds (frames given by its predecessor are not counted)."""
    after: int
    """Index of the chunk whose last frames it starts from, or -1."""


class RenderSettings(Record, frozen=True, kw_only=True):
    """What the model registry decides for a job, fixed when it is split."""

    model: str
    model_revision: str
    steps: int
    guidance: float
    width_px: int
    height_px: int
    clip_frames: int
    """Most frames that one call of the model yields."""
    given_frames: int
    """Frames a chained chunk is conditioned on."""


class Placement(Record, frozen=True, kw_only=True):
    """What the scheduler needs to know, by policy."""

    pool: str
    weight: float
    """Share of the tenant within its lane; 1.0 is normal."""
    chunk_cost_s: float
    """Estimated device-seconds of one chunk."""


class Plan(Record, frozen=True, kw_only=True):
    """A job cut into chunks. `schemas.chunks` derives every chunk's spec and object key from it."""

    job: str
    request: JobRequest
    fingerprint: str
    requested_at_ms: int
    render: RenderSettings
    chunks: tuple[ChunkSpan, ...]
    placement: Placement | None = None
    """Set by prioritise; a plan without it never reaches the scheduler."""


class ChunkSpec(Record, frozen=True, kw_only=True):
    """Everything that decides the pixels of a chunk. Its hash is the chunk's name; never add a field that does not."""

    tenant: str
    model: str
    model_revision: str
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    width_px: int
    height_px: int
    fps: int
    first_frame: int
    frames: int
    given_frames: int
    """0, or how many of the predecessor's last frames it starts from."""
    given_chunk: str
    """Chunk id of the predecessor, or ""."""


# ---- dispatch, render, inspect, mux --------------------------------------------------------------------------------


class ObjectRef(Record, frozen=True, kw_only=True):
    """Claim check: pixels live in the store, records carry this."""

    key: str
    sha256: str
    size_bytes: int


class ChunkTask(Record, frozen=True, kw_only=True):
    """One chunk to render (topic chunks.<pool>)."""

    job: str
    index: int
    """Position of the chunk in the plan."""
    attempt: int
    """1 for the first try."""
    chunk_id: str
    spec: ChunkSpec
    lane: Lane
    pool: str
    dispatched_at_ms: int


class ChunkRendered(Record, frozen=True, kw_only=True):
    """What a worker did with a task (topic chunks.rendered)."""

    job: str
    index: int
    attempt: int
    chunk_id: str
    pool: str
    worker_id: str
    status: Literal["rendered", "reused", "failed"]
    object: ObjectRef | None = None
    """None only when failed."""
    frames: int = 0
    device_s: float = 0.0
    """Device-seconds spent; 0 when reused."""
    error: str = ""
    """One sentence, set when failed."""


class FrameVerdict(Record, frozen=True, kw_only=True):
    verdict: Literal["allow", "block"]
    provider: str
    """Name and version of the moderation provider."""
    frames_checked: int
    category: str = ""
    score: float = 0.0
    """Highest score seen, 0..1."""


class ChunkInspected(Record, frozen=True, kw_only=True):
    """A rendered chunk with its verdict (topic chunks.inspected). A failed chunk passes with verdict None."""

    rendered: ChunkRendered
    verdict: FrameVerdict | None = None


class WorkerState(Record, frozen=True, kw_only=True):
    """A render worker's picture of itself, sent on every change and at least every second."""

    worker_id: str
    pool: str
    device: str
    partitions: tuple[int, ...]
    """Partitions of chunks.<pool> that it owns."""
    models: tuple[str, ...]
    """Models that are warm."""
    pending: tuple[str, ...]
    """Chunk ids taken and not yet reported, the running one first."""
    capacity: int
    """Most chunks it wants pending (running and waiting)."""
    step: int = 0
    steps: int = 0
    """Denoise step of the running chunk, of how many."""
    rendered: int = 0
    """Chunks rendered since it started."""
    leaving: bool = False
    """True in the last record of a worker that stops."""
    at_ms: int = 0


class Control(Record, frozen=True, kw_only=True):
    """An order to the scheduler (topic jobs.control)."""

    job: str
    action: Literal["cancel", "redo_chunk", "release"]
    """cancel: by the user. redo_chunk: mux found a chunk missing or corrupt. release: mux is done with the job."""
    chunk: int = -1
    """For redo_chunk: which one."""
    mux_attempt: int = 0
    """For redo_chunk and release: the attempt of the mux task that says so; others are stale and ignored."""
    reason: str = ""
    requested_at_ms: int = 0


class ReadyChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk as the muxer needs it; key and spec follow from the plan. On the wire an array."""

    sha256: str
    size_bytes: int


class MuxTask(Record, frozen=True, kw_only=True):
    """All chunks of a job are rendered and allowed: assemble it (topic mux.tasks)."""

    plan: Plan
    ready: tuple[ReadyChunk, ...]
    """One per chunk of the plan, in its order."""
    attempt: int


# ---- what became of it ---------------------------------------------------------------------------------------------

EventType = Literal[
    "job.accepted", "job.rejected", "job.planned", "job.queued", "job.started", "job.progress", "job.assembling",
    "job.published", "job.failed", "job.cancelled", "job.expired", "job.cancel-refused",
]  # fmt: skip
State = Literal[
    "accepted", "planned", "queued", "rendering", "assembling",
    "completed", "rejected", "failed", "cancelled", "expired",
]  # fmt: skip


class Reason(Record, frozen=True, kw_only=True):
    code: str
    """Machine-readable, e.g. invalid_request, prompt_refused, frames_refused, render_failed."""
    message: str
    """One sentence for a person."""
    field: str = ""
    """Path of the field at fault, e.g. shots[0].prompt."""


class Progress(Record, frozen=True, kw_only=True):
    """Where a job stands in the scheduler."""

    chunks: int
    rendered: int = 0
    reused: int = 0
    running: int = 0
    device_s: float = 0.0
    queue_position: int | None = None
    """0: next in its lane. None: nothing waiting."""
    eta_s: float | None = None
    """Estimated seconds until the last chunk is rendered."""
    waited_s: float | None = None
    """Seconds from request to first chunk; None until then."""


class Video(Record, frozen=True, kw_only=True):
    """A published video and its side files."""

    video: ObjectRef
    thumbnail: ObjectRef
    contact_sheet: ObjectRef
    frames: int
    duration_s: float
    width_px: int
    height_px: int
    fps: int
    container: str
    codec: str
    mark_payload: str
    """The invisible mark's 64-bit payload, hex."""


class JobEvent(Record, frozen=True, kw_only=True):
    """One fact about a job (topic jobs.events). (source, id) names it; a duplicate changes nothing."""

    id: str
    source: str
    """The stage that says so."""
    type: EventType
    job: str
    at_ms: int
    lane: Lane = "standard"
    model: str = ""
    metadata: dict[str, str] = {}
    webhook: Webhook | None = None
    requested_at_ms: int = 0
    reason: Reason | None = None
    progress: Progress | None = None
    video: Video | None = None


class JobState(Record, frozen=True, kw_only=True):
    """Where a job stands (topic jobs.state, compacted; key = job)."""

    job: str
    state: State
    sequence: int
    """Grows by one with every change."""
    lane: Lane
    model: str
    requested_at_ms: int
    updated_at_ms: int
    metadata: dict[str, str] = {}
    webhook: Webhook | None = None
    reason: Reason | None = None
    progress: Progress | None = None
    video: Video | None = None
    seen: tuple[str, ...] = ()
    """Ids of the last events folded in, newest last: duplicates change nothing."""


class JobFinished(Record, frozen=True, kw_only=True):
    """The terminal record: exactly one per job (topic jobs.finished)."""

    id: str
    job: str
    job_id: str
    tenant: str
    state: State
    lane: Lane
    model: str
    requested_at_ms: int
    finished_at_ms: int
    sequence: int
    metadata: dict[str, str] = {}
    webhook: Webhook | None = None
    reason: Reason | None = None
    progress: Progress | None = None
    video: Video | None = None


class UsageMetered(Record, frozen=True, kw_only=True):
    """What a finished job used, written together with its terminal record (topic usage.metered)."""

    id: str
    job: str
    tenant: str
    model: str
    device_s: float
    chunks_rendered: int
    chunks_reused: int
    at_ms: int


class WebhookDelivery(Record, frozen=True, kw_only=True):
    """One try to deliver a webhook (topic notify.log)."""

    id: str
    """The webhook-id: constant over all tries of one message."""
    job: str
    attempt: int
    outcome: Literal["delivered", "retry", "given-up", "refused"]
    status: int = 0
    """HTTP status, 0 when there was no answer."""
    error: str = ""
    at_ms: int = 0


class SchedulerRow(Record, frozen=True, kw_only=True):
    """Progress of one live job in the scheduler (topic dispatch.state, key "<job>#progress"; its plan is at
    "<job>#plan"). Cancelled and finished jobs keep a short row without chunks, so that a late plan changes nothing."""

    job: str
    phase: Literal["active", "assembling", "done", "cancelled"]
    fingerprint: str
    at_ms: int
    """When the row last changed phase."""
    chunks: tuple["ChunkProgress", ...] = ()
    mux_attempt: int = 0
    started_at_ms: int = 0


class ChunkProgress(msgspec.Struct, frozen=True, array_like=True):
    """State of one chunk within a SchedulerRow. On the wire an array."""

    state: Literal["w", "d", "r"]
    """w waiting, d dispatched, r ready (rendered and allowed)."""
    attempt: int = 0
    """Times it was dispatched."""
    failures: int = 0
    """Times that a worker reported it as failed."""
    at_ms: int = 0
    """When it was dispatched."""
    sha256: str = ""
    size_bytes: int = 0
    device_s: float = 0.0
    reused: bool = False
