"""Every topic, in one typed table. Creation, drift report, documentation and tests read it."""

from dataclasses import dataclass
from typing import Any

from schemas.events import (
    LANES,
    ChunkInspected,
    ChunkRendered,
    ChunkTask,
    ClearedJob,
    Control,
    JobEvent,
    JobFinished,
    JobRequest,
    JobState,
    Lane,
    MuxTask,
    Plan,
    SchedulerRow,
    UsageMetered,
    WebhookDelivery,
    WorkerState,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
POOLS: tuple[str, ...] = ("cpu", "cuda")
NOTIFY_DELAYS: tuple[tuple[str, int], ...] = (
    ("5s", 5_000), ("1m", 60_000), ("10m", 600_000), ("1h", HOUR_MS), ("6h", 6 * HOUR_MS), ("1d", DAY_MS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic.

    entity:       its name without prefix and version, e.g. "jobs.requested.express"
    record:       struct carried as value, or None where any bytes may be (dead letters)
    partitions:   default count; every topic of one key family has the same
    retention_ms: how long records stay; None for compacted topics, which keep the last record per key
    """

    entity: str
    record: type[Any] | None
    partitions: int = 4
    retention_ms: int | None = 7 * DAY_MS
    key: str = "job"

    @property
    def compacted(self) -> bool:
        return self.retention_ms is None

    def name(self, prefix: str) -> str:
        """Full name under a prefix: reelbus.jobs.requested.express.v1"""
        return f"{prefix}.{self.entity}.v1"


def _by_lane(entity: str, record: type[Any]) -> dict[Lane, Topic]:
    return {lane: Topic(f"{entity}.{lane}", record) for lane in LANES}


JOBS_REQUESTED = _by_lane("jobs.requested", JobRequest)
JOBS_CLEARED = _by_lane("jobs.cleared", ClearedJob)
PLANS_DRAFTED = _by_lane("plans.drafted", Plan)
PLANS_READY = _by_lane("plans.ready", Plan)
CHUNKS = {pool: Topic(f"chunks.{pool}", ChunkTask, partitions=8, retention_ms=DAY_MS) for pool in POOLS}
CHUNKS_RENDERED = Topic("chunks.rendered", ChunkRendered, retention_ms=DAY_MS)
CHUNKS_INSPECTED = Topic("chunks.inspected", ChunkInspected, retention_ms=DAY_MS)
MUX_TASKS = Topic("mux.tasks", MuxTask, retention_ms=2 * DAY_MS)
JOBS_CONTROL = Topic("jobs.control", Control)
JOBS_EVENTS = Topic("jobs.events", JobEvent)
JOBS_STATE = Topic("jobs.state", JobState, retention_ms=None)
JOBS_FINISHED = Topic("jobs.finished", JobFinished, retention_ms=30 * DAY_MS)
JOBS_FINISHED_RETRY = {
    delay: Topic(f"jobs.finished.retry.{delay}", JobFinished, partitions=1) for delay, _ in NOTIFY_DELAYS
}
USAGE_METERED = Topic("usage.metered", UsageMetered, retention_ms=90 * DAY_MS)
WORKERS_STATE = Topic("workers.state", WorkerState, partitions=1, retention_ms=HOUR_MS, key="worker_id")
DISPATCH_STATE = Topic("dispatch.state", SchedulerRow, partitions=1, retention_ms=None)
DISPATCH_LEADER = Topic("dispatch.leader", None, partitions=1, retention_ms=HOUR_MS)
NOTIFY_LOG = Topic("notify.log", WebhookDelivery, retention_ms=30 * DAY_MS)

LIVE_TOPICS: tuple[Topic, ...] = (
    *JOBS_REQUESTED.values(), *JOBS_CLEARED.values(), *PLANS_DRAFTED.values(), *PLANS_READY.values(),
    *CHUNKS.values(), CHUNKS_RENDERED, CHUNKS_INSPECTED, MUX_TASKS, JOBS_CONTROL, JOBS_EVENTS, JOBS_STATE,
    JOBS_FINISHED, *JOBS_FINISHED_RETRY.values(), USAGE_METERED, WORKERS_STATE, DISPATCH_STATE, DISPATCH_LEADER,
    NOTIFY_LOG,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letter topic of one live topic. Its name starts with `dlq.`, as Kafka's own dead letters do."""

    of: Topic

    def name(self, prefix: str) -> str:
        return f"dlq.{self.of.name(prefix)}"
