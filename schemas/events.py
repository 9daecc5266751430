"""What became of a job: events, state, results, replies. Pure."""

from typing import Literal

from schemas.plan import Origin
from schemas.prompts import PromptVerdict
from schemas.request import Lane, Record, Webhook
from schemas.reviews import ReviewDecision
from schemas.work import FrameVerdict, Steering

EventType = Literal[
    "job.accepted", "job.rejected", "job.planned", "job.queued", "job.started", "job.progress", "job.assembling",
    "job.published", "job.failed", "job.cancelled", "job.expired", "job.cancel-refused", "job.deleted",
    "job.steered", "job.order-refused", "job.metered", "job.review-wanted", "job.review-approved",
]  # fmt: skip
State = Literal[
    "accepted", "planned", "queued", "rendering", "assembling",
    "completed", "rejected", "failed", "cancelled", "expired", "deleted",
]  # fmt: skip
ReplyType = Literal[
    "accepted", "rejected", "started", "finished", "cancel-refused", "deleted", "steered", "order-refused",
]  # fmt: skip


class Reason(Record, frozen=True, kw_only=True):
    """Why a job ended without a video, or why a request was refused."""

    code: str
    """Machine-readable, e.g. invalid_request, prompt_refused, frames_refused, render_failed."""
    message: str
    """One sentence for a person."""
    field: str = ""
    """Path of the field at fault, e.g. shots[0].prompt."""
    retry_after_s: float | None = None
    """Seconds after which the same may be asked for again, as a new job; None: it would be refused again."""


class Progress(Record, frozen=True, kw_only=True):
    """Where a job stands in the scheduler."""

    chunks: int
    """Chunks of the plan."""
    rendered: int = 0
    """Chunks that were rendered for it."""
    reused: int = 0
    """Chunks that were there already."""
    running: int = 0
    """Chunks that are with a worker."""
    device_s: float = 0.0
    """Device-seconds spent so far."""
    queue_position: int | None = None
    """0: next in its lane. None: nothing waiting."""
    eta_s: float | None = None
    """Estimated seconds until the last chunk is rendered."""
    waited_s: float | None = None
    """Seconds from request to first chunk; None until then."""
    stopped: str = ""
    """Why it gets no further chunk for now: "held" by its caller, texts or frames that wait for a review, what the
    operator has paused, or a quota of its tenant. "" while it does."""
    resumes_at_ms: int | None = None
    """When it gets chunks again, where that is known: of one that a quota has stopped."""


class PublishedFile(Record, frozen=True, kw_only=True):
    """A file that was made for the caller."""

    uri: str
    """Where it is: s3://bucket/key, or file:///path with a directory as store."""
    key: str
    """Key in the object store."""
    sha256: str
    """Hash of the file, hex."""
    size_bytes: int
    """Length of the file."""
    content_type: str
    """Media type."""


class Provenance(Record, frozen=True, kw_only=True):
    """How the pictures came to be, and how they are marked."""

    model: str
    """Name from the model registry."""
    model_revision: str
    """Which weights and settings the name stood for."""
    seeds: tuple[int, ...]
    """Seed of every shot."""
    label: str
    """Visible mark: the text that is drawn; empty of a caller who may have it left out."""
    mark_payload: str
    """The invisible mark's 64-bit payload, hex."""
    certificate_sha256: str = ""
    """Hex SHA-256 of the certificate whose key signed the video; "none": nobody signed it. Empty: not known, because it
    was signed with another key than mux had when it said so."""
    certificate_name: str = ""
    """Common name on the certificate that the video was signed with."""


class Video(Record, frozen=True, kw_only=True):
    """A published video and its side files."""

    file: PublishedFile
    """The video."""
    thumbnail: PublishedFile
    """One picture, JPEG."""
    contact_sheet: PublishedFile
    """Pictures over the whole length, PNG."""
    frames: int
    """Frames of the video."""
    duration_s: float
    """Length of the video."""
    width_px: int
    """Width of the picture."""
    height_px: int
    """Height of the picture."""
    fps: int
    """Frames per second."""
    container: str
    """File format, e.g. mp4."""
    codec: str
    """Video codec, e.g. h264."""
    provenance: Provenance
    """Model, seeds, marks."""
    expires_at_ms: int | None = None
    """When the files may be deleted; None: kept until somebody deletes them."""


class Timeline(Record, frozen=True, kw_only=True):
    """When the job came into each state, ms since the epoch; 0: never."""

    requested_at_ms: int = 0
    """Broker timestamp of the request."""
    accepted_at_ms: int = 0
    """Validated and let through by moderation."""
    planned_at_ms: int = 0
    """Cut into chunks."""
    queued_at_ms: int = 0
    """Known to the scheduler."""
    started_at_ms: int = 0
    """First chunk handed out."""
    assembling_at_ms: int = 0
    """All chunks rendered and allowed."""
    finished_at_ms: int = 0
    """Terminal state."""


class Cost(Record, frozen=True, kw_only=True):
    """What a job used."""

    device_s: float
    """Device-seconds."""
    chunks_rendered: int
    """Chunks that were rendered for it."""
    chunks_reused: int
    """Chunks that were there already, at no cost."""


class JobEvent(Record, frozen=True, kw_only=True):
    """One fact about a job (topic jobs.events). (source, id) names it; a duplicate changes nothing."""

    id: str
    """Made from the fact itself: a redelivered fact has the same."""
    source: str
    """The stage that says so."""
    type: EventType
    """What happened."""
    job: str
    """tenant/job_id."""
    at_ms: int
    """When it happened."""
    lane: Lane = "standard"
    """Class of service."""
    model: str = ""
    """Name from the model registry."""
    metadata: dict[str, str] = {}
    """The caller's."""
    webhook: Webhook | None = None
    """Address to be told of the end."""
    reply_topic: str = ""
    """The caller's reply topic."""
    batch_id: str = ""
    """Batch that the job belongs to."""
    fingerprint: str = ""
    """Hex SHA-256 of the meaning of the request that it speaks of, so that what comes of another request under the same
    id changes nothing. "" when the request could not be read, and for what is said of whatever lies under the id."""
    requested_at_ms: int = 0
    """Broker timestamp of the request record."""
    deadline_ms: int | None = None
    """When the job must be done by, if the request says so."""
    reason: Reason | None = None
    """Why, when it did not go well."""
    progress: Progress | None = None
    """Where the job stands in the scheduler."""
    prompts: PromptVerdict | None = None
    """On job.accepted, when prompts were refused, and when a person is to look at them. On job.queued: by what it was
    let on."""
    frames: FrameVerdict | None = None
    """On job.published, when frames were refused, and when a person is to look at them."""
    video: Video | None = None
    """On job.published."""
    origin: Origin = Origin()
    """How the request came in."""
    steering: Steering | None = None
    """What the orders of the caller have made of the job, on job.steered."""
    late_device_s: float = 0.0
    """On job.metered: device-seconds that workers reported too late for the job's progress, in all so far."""
    review: ReviewDecision | None = None
    """What a person decided: on job.review-approved, and when texts or frames were refused by one."""
    by: str = ""
    """On job.deleted: who gave the command."""


class JobState(Record, frozen=True, kw_only=True):
    """Where a job stands (topic jobs.state, compacted; key = job)."""

    job: str
    """tenant/job_id."""
    state: State
    """See schemas/lifecycle.py."""
    sequence: int
    """Grows by one with every change."""
    lane: Lane
    """Class of service."""
    model: str
    """Name from the model registry."""
    requested_at_ms: int
    """Broker timestamp of the request record."""
    updated_at_ms: int
    """When it last changed."""
    deadline_ms: int | None = None
    """When the job must be done by, if the request says so."""
    metadata: dict[str, str] = {}
    """The caller's."""
    webhook: Webhook | None = None
    """Address to be told of the end."""
    reply_topic: str = ""
    """The caller's reply topic."""
    batch_id: str = ""
    """Batch that the job belongs to."""
    fingerprint: str = ""
    """Hex SHA-256 of the request's meaning; another request under the same id is refused."""
    reason: Reason | None = None
    """Why, when it did not go well."""
    progress: Progress | None = None
    """Where the job stands in the scheduler."""
    prompts: PromptVerdict | None = None
    """What prompt moderation said."""
    frames: FrameVerdict | None = None
    """What frame moderation said."""
    video: Video | None = None
    """What was published."""
    timeline: Timeline = Timeline()
    """When it came into each state."""
    origin: Origin = Origin()
    """How the request came in."""
    seen: tuple[str, ...] = ()
    """Ids of the last events folded in, newest last: duplicates change nothing."""
    steering: Steering | None = None
    """What the orders of the caller have made of the job; None: there were none."""
    late_device_s: float = 0.0
    """Device-seconds metered beside `progress`, in all: what workers reported when the job's account was closed."""


class JobFinished(Record, frozen=True, kw_only=True):
    """The terminal record: exactly one per job, with all that a consumer needs (topic jobs.finished; key = job)."""

    id: str
    """Names this record."""
    job: str
    """tenant/job_id."""
    job_id: str
    """As the caller chose it."""
    tenant: str
    """Whose job it is."""
    state: State
    """completed, rejected, failed, cancelled or expired."""
    lane: Lane
    """Class of service."""
    model: str
    """Name from the model registry."""
    requested_at_ms: int
    """Broker timestamp of the request record."""
    finished_at_ms: int
    """When it ended."""
    sequence: int
    """That of the job's last state."""
    metadata: dict[str, str] = {}
    """The caller's."""
    webhook: Webhook | None = None
    """Address to be told."""
    reply_topic: str = ""
    """The caller's reply topic."""
    batch_id: str = ""
    """Batch that the job belongs to."""
    reason: Reason | None = None
    """Why there is no video."""
    cost: Cost | None = None
    """What the job used; None when it never reached the scheduler."""
    prompts: PromptVerdict | None = None
    """What prompt moderation said."""
    frames: FrameVerdict | None = None
    """What frame moderation said."""
    video: Video | None = None
    """What was published; set when completed."""
    timeline: Timeline = Timeline()
    """When the job came into each state."""
    origin: Origin = Origin()
    """How the request came in."""


class JobReply(Record, frozen=True, kw_only=True):
    """What the caller of a job is told (topics jobs.replies, and replies.<tenant> in the format of the request).

    A rejected reply whose `state` is not rejected is about a second request with the id of a job that goes on."""

    id: str
    """Names this reply: a repeated one has the same."""
    type: ReplyType
    """What happened."""
    tenant: str
    """Whose job it is."""
    job_id: str
    """As the caller chose it; the record key."""
    job: str
    """tenant/job_id."""
    sequence: int
    """Sequence of the job's state: replies of one job come in this order."""
    at_ms: int
    """When it happened."""
    state: State
    """Where the job stands."""
    batch_id: str = ""
    """Batch that the job belongs to."""
    metadata: dict[str, str] = {}
    """The caller's."""
    reason: Reason | None = None
    """Why, when it did not go well."""
    result: JobFinished | None = None
    """The whole result, when finished."""
    reply_topic: str = ""
    """Where this reply goes."""
    origin: Origin = Origin()
    """How the request came in."""
    steering: Steering | None = None
    """What the orders of the caller have made of the job, when steered."""


class UsageMetered(Record, frozen=True, kw_only=True):
    """What a job used (topic usage.metered): one record together with its terminal record, and one more for whatever
    workers report later, such as a chunk that was on the device when the job was cancelled. Their sum is what was
    spent."""

    id: str
    """Names this record: a repeated one has the same."""
    job: str
    """tenant/job_id."""
    tenant: str
    """Who pays."""
    model: str
    """Name from the model registry."""
    device_s: float
    """Device-seconds."""
    chunks_rendered: int
    """Chunks that were rendered for it; 0 in a later record."""
    chunks_reused: int
    """Chunks that were there already; 0 in a later record."""
    at_ms: int
    """When the job ended, or the later report came."""


class WebhookDelivery(Record, frozen=True, kw_only=True):
    """One try to deliver a webhook (topic notify.log)."""

    id: str
    """The webhook-id: constant over all tries of one message."""
    job: str
    """tenant/job_id."""
    attempt: int
    """1 for the first try."""
    outcome: Literal["delivered", "retry", "given-up", "refused"]
    """refused: the address may not be called."""
    status: int = 0
    """HTTP status, 0 when there was no answer."""
    error: str = ""
    """One sentence."""
    at_ms: int = 0
    """When it was tried."""
