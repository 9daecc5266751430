"""Records between the scheduler, the workers and the muxer. Pure."""

from typing import Literal

from schemas.plan import ChunkSpec, Plan
from schemas.request import Lane, Record


class ObjectRef(Record, frozen=True, kw_only=True):
    """Claim check: pixels live in the store, records carry this."""

    key: str
    """Key in the object store."""
    sha256: str
    """Hash of the object, hex."""
    size_bytes: int
    """Length of the object."""


class ChunkTask(Record, frozen=True, kw_only=True):
    """One chunk to render (topic chunks.<pool>)."""

    job: str
    """tenant/job_id."""
    index: int
    """Position of the chunk in the plan."""
    attempt: int
    """1 for the first try."""
    chunk_id: str
    """Hash of the spec: the name of the chunk."""
    spec: ChunkSpec
    """What to render."""
    lane: Lane
    """Class of service of the job."""
    pool: str
    """Pool of workers."""
    dispatched_at_ms: int
    """When the scheduler handed it out."""


class ChunkRendered(Record, frozen=True, kw_only=True):
    """What a worker did with a task (topic chunks.rendered)."""

    job: str
    """tenant/job_id."""
    index: int
    """Position of the chunk in the plan."""
    attempt: int
    """That of the task."""
    chunk_id: str
    """Hash of the spec."""
    pool: str
    """Pool of workers."""
    worker_id: str
    """Who did it."""
    status: Literal["rendered", "reused", "failed", "withdrawn"]
    """reused: the object was there already. withdrawn: nobody wants the chunk any more, and it was not finished."""
    object: ObjectRef | None = None
    """None when failed or withdrawn."""
    frames: int = 0
    """New frames in the object."""
    device_s: float = 0.0
    """Device-seconds spent; 0 when reused."""
    error: str = ""
    """One sentence, set when failed."""
    dispatched_at_ms: int = 0
    """That of the task."""
    given_lost: bool = False
    """It failed because the object of the chunk that it starts from was missing or broken."""


class ChunkWithdrawn(Record, frozen=True, kw_only=True):
    """Nobody wants this chunk any more: its job has ended (topic chunks.withdrawn). A worker drops the tasks that it
    names, also one that is on the device, and no other: the same chunk may be wanted again by another job. A worker
    that never hears of it finishes the chunk, which costs device time and nothing else."""

    chunk_id: str
    """Hash of the spec; the record key."""
    job: str
    """tenant/job_id: tasks of other jobs for the same chunk go on."""
    pool: str
    """Pool of workers."""
    dispatched_at_ms: int
    """Tasks handed out up to then are meant."""
    at_ms: int
    """When it was withdrawn."""


class FrameVerdict(Record, frozen=True, kw_only=True):
    """What frame moderation says, of a chunk or of all of them."""

    verdict: Literal["allow", "review", "block"]
    """Only allowed frames leave. review: a person decides."""
    provider: str
    """Name and version of the moderation provider."""
    frames_checked: int
    """How many frames it looked at."""
    category: str = ""
    """What it found, when blocked, or suspects, when a person is to look."""
    score: float = 0.0
    """Highest score seen, 0..1."""


class ChunkInspected(Record, frozen=True, kw_only=True):
    """A rendered chunk with its verdict (topic chunks.inspected). A failed or withdrawn chunk passes with verdict
    None."""

    rendered: ChunkRendered
    """As the worker reported it."""
    verdict: FrameVerdict | None = None
    """What moderation says of its frames."""
    lost: bool = False
    """It is a failed chunk because its object was missing, broken or another one when it was to be looked at."""


class ModelLoad(Record, frozen=True, kw_only=False):
    """What it took a worker to have a model warm, the last time that it loaded it."""

    model: str
    """Name from the model registry."""
    load_s: float
    """Seconds."""


class WorkerState(Record, frozen=True, kw_only=True):
    """A render worker's picture of itself, sent on every change and at least every second (topic workers.state)."""

    worker_id: str
    """Name of the process; the record key."""
    pool: str
    """Pool that it serves."""
    device: str
    """Device in words, e.g. cpu or NVIDIA H100."""
    partitions: tuple[int, ...]
    """Partitions of chunks.<pool> that it owns."""
    models: tuple[str, ...]
    """Models that are warm."""
    pending: tuple[str, ...]
    """Chunk ids taken and not yet reported, the running one first."""
    capacity: int
    """Most chunks it wants pending (running and waiting)."""
    step: int = 0
    """Denoise step of the running chunk."""
    steps: int = 0
    """Of how many."""
    rendered: int = 0
    """Chunks rendered since it started."""
    leaving: bool = False
    """True in the last record of a worker that stops."""
    at_ms: int = 0
    """When it said so."""
    loads: tuple[ModelLoad, ...] = ()
    """What loading took, of every model that it has loaded since it started."""


class Switch(Record, frozen=True, kw_only=True):
    """What an operator has switched off, or on again (topic scheduler.switches, compacted; the key is kind:name, e.g.
    lane:bulk). The last record of a key holds; a tombstone means on."""

    kind: Literal["lane", "tenant", "pool", "worker"]
    """A lane, tenant or pool is paused: its jobs get no further chunk. A worker is drained: it gets none."""
    name: str
    """Which one."""
    state: Literal["off", "on"]
    """off: paused or drained."""
    reason: str = ""
    """Why, for other operators."""
    by: str = ""
    """Who did it."""
    at_ms: int = 0
    """When, by the clock of who did it."""


class Command(Record, frozen=True, kw_only=True):
    """An order to the scheduler (topic jobs.control)."""

    job: str
    """tenant/job_id."""
    action: Literal[
        "cancel", "hold", "resume", "reprioritise", "move_lane", "change_deadline",
        "redo_chunk", "release", "expire", "admit", "withdraw",
    ]  # fmt: skip
    """cancel, and what follows it up to change_deadline: by the user, as in JobOrder. redo_chunk: mux found a chunk
    missing or corrupt. release: mux is done with the job. expire: track says that its deadline passed. admit: track
    says that the request of this fingerprint is the one that owns the id; withdraw: that it is not."""
    fingerprint: str = ""
    """For admit and withdraw: which of the requests under this id."""
    chunk: int = -1
    """For redo_chunk: which one."""
    mux_attempt: int = 0
    """For redo_chunk and release: the attempt of the mux task that says so; others are stale and ignored."""
    reason: str = ""
    """One sentence, kept with the job's result."""
    requested_at_ms: int = 0
    """When it was ordered."""
    priority: int | None = None
    """For reprioritise: -10..10, higher goes first."""
    lane: Lane | None = None
    """For move_lane: where to."""
    deadline_ms: int | None = None
    """For change_deadline: the new one, or none any more."""


class ReadyChunk(Record, frozen=True, kw_only=False):
    """A chunk as the muxer needs it; key and spec follow from the plan."""

    sha256: str
    """Hash of the object, hex."""
    size_bytes: int
    """Length of the object."""


class MuxTask(Record, frozen=True, kw_only=True):
    """All chunks of a job are rendered and allowed: assemble it (topic mux.tasks)."""

    plan: Plan
    """The whole plan: the muxer needs nothing else."""
    ready: tuple[ReadyChunk, ...]
    """One per chunk of the plan, in its order."""
    attempt: int
    """1 for the first; grows when chunks had to be rendered again."""
    frames: FrameVerdict | None = None
    """What moderation said of all chunks together."""


# gc: it refers to nothing that could refer back, and dispatch keeps hundreds of thousands.
class ChunkProgress(Record, frozen=True, kw_only=False, gc=False):
    """State of one chunk within a SchedulerRow."""

    state: Literal["w", "d", "v", "r"]
    """w waiting, d dispatched, v in review (rendered, and a person is to look at it), r ready (rendered and
    allowed)."""
    attempt: int = 0
    """Times it was dispatched."""
    failures: int = 0
    """Times that rendering it failed."""
    at_ms: int = 0
    """When it was dispatched."""
    sha256: str = ""
    """Hash of its object, once ready."""
    size_bytes: int = 0
    """Length of its object, once ready."""
    device_s: float = 0.0
    """Device-seconds spent on it."""
    reused: bool = False
    """The object was there before."""
    frames_checked: int = 0
    """Frames that moderation looked at."""
    score: float = 0.0
    """Highest moderation score seen, 0..1."""
    losses: int = 0
    """Times that its object, or that of the chunk that it starts from, was missing or broken."""
    category: str = ""
    """What moderation suspects, while it is in review."""
    approved: bool = False
    """A person has let these bytes through: the same ones are not looked at twice."""


class Steering(Record, frozen=True, kw_only=True):
    """What the orders of its caller have made of a job. Each setting carries the broker's timestamp of the order that
    made it, 0: none has. Of two orders the one that was asked for later holds, in whatever order they come."""

    held: bool = False
    """No further chunk is handed out until it is resumed; those that render are finished."""
    held_at_ms: int = 0
    """When it was asked to be held, or to be resumed."""
    held_reason: str = ""
    """Why it is held, as given with the order."""
    priority: int = 0
    """Instead of the request's, where priority_at_ms is not 0."""
    priority_at_ms: int = 0
    """When priority was asked for."""
    lane: Lane = "standard"
    """Instead of the request's, where lane_at_ms is not 0."""
    lane_at_ms: int = 0
    """When lane was asked for."""
    deadline_ms: int | None = None
    """Instead of the request's, where deadline_at_ms is not 0; None: it has none any more."""
    deadline_at_ms: int = 0
    """When deadline_ms was asked for."""


class SchedulerRow(Record, frozen=True, kw_only=True):
    """Progress of one live job in the scheduler (topic dispatch.state, key "<job>#progress"; its plan is at
    "<job>#plan"; plans of other requests under the id wait at "<job>#<fingerprint>#plan"). Cancelled and finished jobs
    keep a short row without chunks, so that a late plan changes nothing. What was ordered of a job that is not here yet
    waits for it in a row of its own, at "<job>#orders"."""

    job: str
    """tenant/job_id."""
    phase: Literal["active", "assembling", "done", "cancelled", "awaited"]
    """Where the job stands. awaited: orders came before its plan."""
    fingerprint: str
    """Hex SHA-256 of the request's meaning."""
    at_ms: int
    """When the row last changed phase."""
    chunks: tuple[ChunkProgress, ...] = ()
    """One per chunk of the plan, in its order."""
    mux_attempt: int = 0
    """How often the job was handed to the muxer."""
    started_at_ms: int = 0
    """When the first chunk was handed out."""
    moderator: str = ""
    """Provider of the frame verdicts."""
    reason_code: str = ""
    """Why a job ended that was not here yet when it was told to; as in Reason."""
    reason: str = ""
    """The same as a sentence."""
    admitted: bool = False
    """track has said that the request of this fingerprint owns the id. Before that nothing goes to the muxer."""
    steering: Steering = Steering()
    """What the orders of the caller have made of it."""
    counted: tuple[int, ...] = ()
    """Marks of the workers' reports whose device time is accounted for: one that comes twice is counted once."""
    late_device_s: float = 0.0
    """Device-seconds that were told beside the job's progress (job.metered), in all."""
    reserved_s: float = 0.0
    """Device-seconds that were set aside when it was let in, as in LedgerEntry."""
    not_before_ms: int = 0
    """No chunk of it is handed out before, at the rate of its tenant or because objects were lost; 0: at once."""
    refunded: bool = False
    """Its device time is not charged, nor what is reported later."""
    review_at_ms: int = 0
    """Since when its texts or chunks of it are in review; 0: none is. It gets no further chunk meanwhile."""
    texts_approved: bool = False
    """A person has let its texts through; of a plan without doubts it says nothing."""


class ParkedLine(Record, frozen=True, kw_only=True):
    """How many plans of one line wait in plans.parked (topic dispatch.state, key "<line>#parked")."""

    line: str
    """pool/lane/urgent or plain/tenant/account."""
    parked: int
    """Plans that were parked and not yet read again."""


class LearntCost(Record, frozen=True, kw_only=True):
    """What chunks of one kind have cost (topic costs.learnt, compacted)."""

    pool: str
    """Pool of workers that rendered them."""
    model: str
    """Name from the model registry."""
    model_revision: str
    """Which weights and settings the name stood for."""
    width_px: int
    """Width that the model renders."""
    height_px: int
    """Height that the model renders."""
    steps: int
    """Denoise steps."""
    frames: int
    """Frames of one call of the model, given ones counted."""
    chunk_s: float = 0.0
    """Mean of the device-seconds of a chunk, the newer ones counting more."""
    chunks: int = 0
    """Chunks that were seen."""
    at_ms: int = 0
    """When the last one was seen."""
