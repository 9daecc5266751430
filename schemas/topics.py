"""Every topic, in one typed table. Creation, drift report, documentation and tests read it."""

from dataclasses import dataclass, replace
from typing import Any

from schemas.audit import AuditEntry
from schemas.events import JobEvent, JobFinished, JobReply, JobState, UsageMetered, WebhookDelivery
from schemas.plan import ClearedJob, Plan
from schemas.prompt_rules import PromptRules
from schemas.quotas import Account, LedgerEntry, Quota
from schemas.request import LANES, JobOrder, JobRequest, Lane
from schemas.reviews import ReviewCase, ReviewDecision
from schemas.work import (
    ChunkInspected,
    ChunkRendered,
    ChunkTask,
    ChunkWithdrawn,
    Command,
    LearntCost,
    MuxTask,
    ParkedLine,
    SchedulerRow,
    Switch,
    WorkerState,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
POOLS: tuple[str, ...] = ("cpu", "cuda")
NOTIFY_DELAYS: tuple[tuple[str, int], ...] = (
    ("5s", 5_000), ("1m", 60_000), ("10m", 600_000), ("1h", HOUR_MS), ("6h", 6 * HOUR_MS), ("1d", DAY_MS),
)  # fmt: skip
RETRY_DELAYS: dict[str, int] = {"10s": 10_000, "1m": 60_000, "10m": 600_000}
"""The steps of a record that fails while others get through, by name of the topic, in order: ms to wait."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic.

    entity:       its name without prefix and version, e.g. "jobs.requested.express"
    record:       struct carried as value, or None where any bytes may be (dead letters)
    about:        what it carries, in one sentence
    partitions:   default count; every topic of one key family has the same
    retention_ms: how long records stay; None for compacted topics, which keep the last record per key
    key:          what the record key is
    also:         further records that it carries
    broker_time:  record timestamps are the broker's (LogAppendTime), not the sender's
    """

    entity: str
    record: type[Any] | None
    about: str
    partitions: int = 4
    retention_ms: int | None = 7 * DAY_MS
    key: str = "job"
    broker_time: bool = False
    also: tuple[type[Any], ...] = ()

    @property
    def compacted(self) -> bool:
        return self.retention_ms is None

    def name(self, prefix: str) -> str:
        """Full name under a prefix: reelbus.jobs.requested.express.v1"""
        return f"{prefix}.{self.entity}.v1"


def _by_lane(entity: str, record: type[Any], about: str, **more: Any) -> dict[Lane, Topic]:
    return {lane: Topic(f"{entity}.{lane}", record, f"{about}, lane {lane}.", **more) for lane in LANES}


def _retries_of(topic: Topic) -> dict[str, Topic]:
    """Where records of `topic` wait that fail by themselves, by delay (RETRY_DELAYS)."""
    about = f"Records of {topic.entity} to try again after"
    return {
        delay: replace(topic, entity=f"{topic.entity}.retry.{delay}", about=f"{about} {delay}.", partitions=1)
        for delay in RETRY_DELAYS
    }


# Deadlines, waiting times and the age of signatures count from the broker's clock, not from that of whoever asks.
_ASKED: dict[str, Any] = {"key": "job_id", "broker_time": True}

JOBS_REQUESTED = _by_lane("jobs.requested", JobRequest, "Job requests as callers send them", **_ASKED)
ORDERS_REQUESTED = Topic("orders.requested", JobOrder, "What callers want done with jobs they sent.", **_ASKED)
INPUTS_REQUESTED = _by_lane("inputs.requested", ClearedJob, "Cleared jobs whose files are to be fetched")
INPUTS_RETRY = {
    delay: Topic(f"inputs.retry.{delay}", ClearedJob, f"Files to fetch again after {delay}.", partitions=1)
    for delay in RETRY_DELAYS
}
JOBS_CLEARED = _by_lane("jobs.cleared", ClearedJob, "Requests that moderation let through")
PLANS_DRAFTED = _by_lane("plans.drafted", Plan, "Jobs cut into chunks")
PLANS_READY = _by_lane("plans.ready", Plan, "Plans with pool, weight and cost")
PLANS_PARKED = Topic(
    "plans.parked", Plan, "Plans whose line has its window of live jobs full, by line.",
    partitions=16, retention_ms=30 * DAY_MS,
)  # fmt: skip
PLANS_WAIT_MS = max((t.retention_ms or DAY_MS) for t in PLANS_DRAFTED.values()) + max(
    (t.retention_ms or DAY_MS) for t in PLANS_READY.values()
)
"""The longest that a job can wait between being planned and being read by dispatch: two topics' retention."""
CHUNKS = {
    pool: Topic(f"chunks.{pool}", ChunkTask, f"Chunks to render, pool {pool}.", partitions=8, retention_ms=DAY_MS)
    for pool in POOLS
}
CHUNKS_WITHDRAWN = Topic(
    "chunks.withdrawn", ChunkWithdrawn, "Chunks that nobody wants any more, for the workers that have them.",
    partitions=1, retention_ms=HOUR_MS, key="chunk_id",
)  # fmt: skip
CHUNKS_RENDERED = Topic("chunks.rendered", ChunkRendered, "What workers did with their tasks.", retention_ms=DAY_MS)
CHUNKS_RENDERED_RETRY = _retries_of(CHUNKS_RENDERED)
CHUNKS_INSPECTED = Topic("chunks.inspected", ChunkInspected, "Rendered chunks with a verdict.", retention_ms=DAY_MS)
MUX_TASKS = Topic("mux.tasks", MuxTask, "Jobs whose chunks are all rendered and allowed.", retention_ms=2 * DAY_MS)
MUX_TASKS_RETRY = _retries_of(MUX_TASKS)
JOBS_CONTROL = Topic("jobs.control", Command, "Orders to the scheduler.")
JOBS_EVENTS = Topic("jobs.events", JobEvent, "Facts about jobs, reported by every stage.")
JOBS_STATE = Topic("jobs.state", JobState, "Where every job stands: the last record per job.", retention_ms=None)
JOBS_FINISHED = Topic(
    "jobs.finished", JobFinished, "The terminal record of every job, exactly one.", retention_ms=30 * DAY_MS
)
JOBS_FINISHED_RETRY = {
    delay: Topic(f"jobs.finished.retry.{delay}", JobFinished, f"Webhooks to try again after {delay}.", partitions=1)
    for delay, _ in NOTIFY_DELAYS
}
JOBS_REPLIES = Topic("jobs.replies", JobReply, "What callers are told, all tenants.")
REPLIES_DEFAULT = Topic(
    "replies.default", JobReply, "What callers of tenant default are told, in the format of their request.",
    retention_ms=30 * DAY_MS, key="job_id",
)  # fmt: skip
USAGE_METERED = Topic("usage.metered", UsageMetered, "What every job used.", retention_ms=90 * DAY_MS)
USAGE_LEDGER = Topic(
    "usage.ledger", LedgerEntry, "What was reserved, spent and given back, change by change.",
    retention_ms=90 * DAY_MS,
)  # fmt: skip
WORKERS_STATE = Topic(
    "workers.state", WorkerState, "What render workers say of themselves.",
    partitions=1, retention_ms=HOUR_MS, key="worker_id",
)  # fmt: skip
DISPATCH_STATE = Topic(
    "dispatch.state", SchedulerRow,
    "The scheduler's memory: SchedulerRow at <job>#progress, Plan at <job>#plan, ParkedLine at <line>#parked, "
    "Account at <tenant>#account.",
    partitions=1, retention_ms=None, key="job#progress, job#plan, line#parked or tenant#account",
    also=(Plan, ParkedLine, Account),
)  # fmt: skip
SCHEDULER_SWITCHES = Topic(
    "scheduler.switches", Switch, "What operators have paused or drained: the last record per key.",
    partitions=1, retention_ms=None, key="kind:name",
)  # fmt: skip
TENANTS_QUOTAS = Topic(
    "tenants.quotas", Quota, "What each tenant may use: the last record per tenant.",
    partitions=1, retention_ms=None, key="tenant or *",
)  # fmt: skip
TENANTS_PROMPTS = Topic(
    "tenants.prompts", PromptRules, "What is refused in each tenant's texts: the last record per tenant.",
    partitions=1, retention_ms=None, key="tenant or *",
)  # fmt: skip
REVIEWS_OPEN = Topic(
    "reviews.open", ReviewCase, "Jobs whose texts or frames a person is to look at: the last record per job.",
    partitions=1, retention_ms=None,
)  # fmt: skip
REVIEWS_DECIDED = Topic(
    "reviews.decided", ReviewDecision, "What persons say of texts and frames that they were asked about."
)
DISPATCH_LEADER = Topic(
    "dispatch.leader", None, "Empty; owning its partition is being the scheduler.",
    partitions=1, retention_ms=HOUR_MS, key="none",
)  # fmt: skip
COSTS_LEARNT = Topic(
    "costs.learnt", LearntCost, "What chunks of each model, size and length have cost: the last record per kind.",
    partitions=1, retention_ms=None, key="kind",
)  # fmt: skip
AUDIT_TRAIL = Topic(
    "audit.trail", AuditEntry,
    "What was let in, refused, published and deleted, each entry with the hash of the one before it in its partition.",
    retention_ms=400 * DAY_MS,
)  # fmt: skip
NOTIFY_LOG = Topic("notify.log", WebhookDelivery, "Every try to deliver a webhook.", retention_ms=30 * DAY_MS)

LIVE_TOPICS: tuple[Topic, ...] = (
    *JOBS_REQUESTED.values(), ORDERS_REQUESTED, *INPUTS_REQUESTED.values(), *INPUTS_RETRY.values(),
    *JOBS_CLEARED.values(), *PLANS_DRAFTED.values(), *PLANS_READY.values(), PLANS_PARKED,
    *CHUNKS.values(), CHUNKS_WITHDRAWN, CHUNKS_RENDERED, *CHUNKS_RENDERED_RETRY.values(), CHUNKS_INSPECTED, MUX_TASKS,
    *MUX_TASKS_RETRY.values(), JOBS_CONTROL, JOBS_EVENTS, JOBS_STATE, JOBS_FINISHED, *JOBS_FINISHED_RETRY.values(),
    JOBS_REPLIES, REPLIES_DEFAULT, USAGE_METERED, USAGE_LEDGER, WORKERS_STATE,
    DISPATCH_STATE, SCHEDULER_SWITCHES, TENANTS_QUOTAS, TENANTS_PROMPTS, REVIEWS_OPEN, REVIEWS_DECIDED,
    DISPATCH_LEADER, COSTS_LEARNT, NOTIFY_LOG, AUDIT_TRAIL,
)  # fmt: skip
WRITTEN_OUTSIDE: tuple[Topic, ...] = (*JOBS_REQUESTED.values(), ORDERS_REQUESTED)
"""Topics that callers write."""
FED_BY_CALLERS: frozenset[Topic] = frozenset((*WRITTEN_OUTSIDE, JOBS_REPLIES))
"""Where it is callers who decide whether a record can be used: by what they write, or by the reply topic they name."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letter topic of one live topic. Its name starts with `dlq.`, as Kafka's own dead letters do."""

    of: Topic

    def name(self, prefix: str) -> str:
        return f"dlq.{self.of.name(prefix)}"


@dataclass(frozen=True, slots=True)
class CallersTopic:
    """A reply topic that a caller named: it is in no table, and no prefix applies."""

    full_name: str
    entity: str = "jobs.replies"
    record: type[Any] = JobReply

    def name(self, prefix: str) -> str:
        return self.full_name


def reply_topics_of(tenant: str, prefix: str) -> str:
    """What the names of a tenant's own reply topics start with."""
    return f"{prefix}.replies.{tenant}."


def reply_topic_of(tenant: str, prefix: str) -> str:
    """The reply topic that a tenant uses unless it names another: reelbus.replies.acme.v1"""
    return f"{reply_topics_of(tenant, prefix)}v1"
