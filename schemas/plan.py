"""A job cut into chunks, and how its request came in. Pure."""

from typing import Literal

from schemas.prompts import Doubts, PromptVerdict
from schemas.request import JobRequest, Record


class Origin(Record, frozen=True, kw_only=True):
    """How a request reached us: what its answers give back."""

    ce_id: str = ""
    """CloudEvents id of the request record."""
    ce_source: str = ""
    """CloudEvents source of the request record."""
    traceparent: str = ""
    """W3C trace context of the request record."""
    tracestate: str = ""
    """W3C trace state."""
    baggage: str = ""
    """W3C baggage."""
    format: Literal["json", "avro"] = "avro"
    """Encoding of the request, and so of its replies."""
    key_id: str = ""
    """Key that signed the request; empty when it was not signed."""


class ShotInput(Record, frozen=True, kw_only=False):
    """Frames that intake made of a file which the caller provided: what a shot starts from."""

    shot: int
    """0-based index of the shot."""
    chunk: str
    """Name of the object, as a chunk's name; hex SHA-256 of what it was made from and how."""
    credentials: str = ""
    """Hex SHA-256 of the object beside it with the file's content credentials; empty when the file had none."""


class ClearedJob(Record, frozen=True, kw_only=True):
    """A request that moderation let through, or leaves to a person (topic jobs.cleared.<lane>)."""

    job: str
    """Key of the job everywhere inside: tenant/job_id."""
    request: JobRequest
    """As it was sent."""
    fingerprint: str
    """Hex SHA-256 of the request's meaning."""
    requested_at_ms: int
    """Broker timestamp of the request record."""
    origin: Origin = Origin()
    """How the request came in."""
    inputs: tuple[ShotInput, ...] = ()
    """What intake made of the caller's files; at most one a shot."""
    prompts: PromptVerdict | None = None
    """What moderation said of its texts; None: an older version wrote this, or lost it on the way."""
    doubts: Doubts = ()
    """What a person is to look at before a chunk of it is rendered; empty unless that is the verdict."""


class ChunkSpan(Record, frozen=True, kw_only=False):
    """A span of frames of one shot."""

    shot: int
    """0-based index of the shot."""
    first_frame: int
    """Position of the first new frame within the shot."""
    frames: int
    """New frames that this chunk adds (frames given by its predecessor are not counted)."""
    after: int
    """Index of the chunk whose last frames it starts from, or -1."""


class RenderSettings(Record, frozen=True, kw_only=True):
    """What the model registry decides for a job, fixed when it is split."""

    model: str
    """Name from the model registry."""
    model_revision: str
    """Which weights and settings the name stood for."""
    steps: int
    """Denoise steps."""
    guidance: float
    """Classifier-free guidance."""
    width_px: int
    """Width that the model renders."""
    height_px: int
    """Height that the model renders."""
    clip_frames: int
    """Most frames that one call of the model yields."""
    given_frames: int
    """Frames a chained chunk is conditioned on."""


class Placement(Record, frozen=True, kw_only=True):
    """What the scheduler needs to know, by policy."""

    pool: str
    """Pool of workers that renders it."""
    weight: float
    """Share of the tenant within its lane; 1.0 is normal."""
    chunk_cost_s: float
    """Estimated device-seconds of one chunk."""
    load_s: float = 0.0
    """Estimated device-seconds that a worker spends on having the model warm; 0: not reckoned with."""
    max_batch: int = 1
    """Compatible chunks that a worker renders in one forward pass."""
    account_weight: float = 1.0
    """Share of the job's project, or key, within its tenant; 1.0 is normal."""


class Plan(Record, frozen=True, kw_only=True):
    """A job cut into chunks (topics plans.drafted.<lane>, plans.ready.<lane>). `schemas.chunks` derives every chunk's
    spec and object key from it."""

    job: str
    """tenant/job_id."""
    request: JobRequest
    """As it was sent."""
    fingerprint: str
    """Hex SHA-256 of the request's meaning."""
    requested_at_ms: int
    """Broker timestamp of the request record."""
    render: RenderSettings
    """What the registry decided."""
    chunks: tuple[ChunkSpan, ...]
    """In the order of the video; a chunk's predecessor comes before it."""
    placement: Placement | None = None
    """Set by prioritise; a plan without it never reaches the scheduler."""
    origin: Origin = Origin()
    """How the request came in."""
    inputs: tuple[ShotInput, ...] = ()
    """What intake made of the caller's files; at most one a shot."""
    prompts: PromptVerdict | None = None
    """What moderation said of its texts; None: an older version wrote this, or lost it on the way."""
    doubts: Doubts = ()
    """What a person is to look at before a chunk of it is rendered; empty unless that is the verdict."""


class ChunkSpec(Record, frozen=True, kw_only=True):
    """Everything that decides the pixels of a chunk. Its hash is the chunk's name; never add a field that does not."""

    tenant: str
    """Tenants never share a chunk."""
    model: str
    """Name from the model registry."""
    model_revision: str
    """Which weights and settings the name stood for."""
    prompt: str
    """What is seen."""
    negative_prompt: str
    """What is not."""
    seed: int
    """Start of the random numbers."""
    steps: int
    """Denoise steps."""
    guidance: float
    """Classifier-free guidance."""
    width_px: int
    """Width that the model renders."""
    height_px: int
    """Height that the model renders."""
    fps: int
    """Frames per second that the model is told."""
    first_frame: int
    """Position of the first new frame within the shot."""
    frames: int
    """New frames."""
    given_frames: int
    """0, or how many of the predecessor's last frames it starts from."""
    given_chunk: str
    """Chunk id of the predecessor, or ""."""
