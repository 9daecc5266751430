"""What can be seen from outside: committed records, objects, pixels of the videos. Nothing of the stages' insides."""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition

from gpu_consumers.pipelines.fake import read_fake
from ops.bus import audit, clients
from ops.settings import Settings
from ops.stages import FOLLOWED, STAGES
from schemas.audit import AuditEntry, Check
from schemas.codec import decode
from schemas.errors import InvalidMessage
from schemas.events import JobEvent, JobFinished, JobReply, JobState, UsageMetered
from schemas.plan import Plan
from schemas.topics import (
    CHUNKS_RENDERED,
    JOBS_EVENTS,
    JOBS_FINISHED,
    JOBS_STATE,
    LIVE_TOPICS,
    PLANS_READY,
    USAGE_METERED,
    DeadLetters,
)
from schemas.work import ChunkRendered
from tests.e2e.reading import group_of, read_all
from tests.faults.jobs import TENANTS
from tests.faults.stack import Stack, reply_topic

Frame = tuple[str, int]
"""First 8 hex digits of the chunk's name and position in the shot, as the pixels say."""
UNREADABLE: Frame = ("", -1)
"""A blend of two frames, or damage."""
Place = tuple[str, int]
"""Topic and partition."""
READ_S = 60.0
NOT_COMMITTED = frozenset(t.entity for t in FOLLOWED) | frozenset(
    ("workers.state", "dispatch.state", "dispatch.leader", "costs.learnt", "jobs.state")
)
"""Topics that stages read without a group's offset."""


@dataclass(frozen=True, slots=True)
class VideoSeen:
    """A video object: its hash and what its pixels say. `error`: why it does not decode."""

    sha256: str
    frames: tuple[Frame, ...]
    error: str = ""


@dataclass
class Evidence:
    """Everything that the checker judges by."""

    acknowledged: set[str] = field(default_factory=set)
    """Jobs whose request the broker acknowledged."""
    finished: list[JobFinished] = field(default_factory=list)
    states: list[JobState] = field(default_factory=list)
    """In the order of each partition."""
    events: list[JobEvent] = field(default_factory=list)
    usage: list[UsageMetered] = field(default_factory=list)
    audit: dict[int, Check] = field(default_factory=dict)
    """What following the audit trail's chains says, by partition."""
    entries: list[AuditEntry] = field(default_factory=list)
    replies: list[tuple[str, JobReply]] = field(default_factory=list)
    """With the tenant of the topic that each was on."""
    plans: dict[str, Plan] = field(default_factory=dict)
    rendered: list[ChunkRendered] = field(default_factory=list)
    objects: dict[str, str] = field(default_factory=dict)
    """SHA-256 by key."""
    videos: dict[str, VideoSeen] = field(default_factory=dict)
    created: Counter[str] = field(default_factory=Counter)
    """Successful puts by key."""
    deleted: Counter[str] = field(default_factory=Counter)
    lags: dict[str, int] = field(default_factory=dict)
    """Records not committed yet, by "group topic[partition]", where there are any."""
    past_end: dict[str, int] = field(default_factory=dict)
    """Committed offsets beyond the end of their partition."""
    dead: Counter[str] = field(default_factory=Counter)
    """Dead letters by topic."""
    dead_reasons: Counter[str] = field(default_factory=Counter)
    webhooks: dict[str, list[str]] = field(default_factory=dict)
    """Ids of all tries by job."""


def collect(stack: Stack, acknowledged: Iterable[str], webhooks: dict[str, list[str]]) -> Evidence:
    """Look at everything. The pipeline may run, but what it writes meanwhile may be seen or not."""
    settings = stack.direct
    seen = Evidence(acknowledged=set(acknowledged), webhooks=webhooks)
    seen.finished = [decode(JobFinished, r.value) for r in read_all(settings, JOBS_FINISHED)]
    seen.states = [decode(JobState, r.value) for r in read_all(settings, JOBS_STATE) if r.value is not None]
    seen.events = _readable(settings)
    seen.usage = [decode(UsageMetered, r.value) for r in read_all(settings, USAGE_METERED)]
    seen.audit = audit.verify(settings, {})
    seen.entries = [entry for _, _, entry in audit.entries(settings) if entry is not None]
    for tenant in TENANTS:
        found = read_all(settings, reply_topic(settings, tenant))
        seen.replies += [(tenant, decode(JobReply, r.value)) for r in found]
    for topic in PLANS_READY.values():
        plans = [decode(Plan, r.value) for r in read_all(settings, topic)]
        seen.plans |= {plan.job: plan for plan in reversed(plans)}
    seen.rendered = [decode(ChunkRendered, r.value) for r in read_all(settings, CHUNKS_RENDERED)]
    _look_at_objects(stack, seen)
    seen.lags, seen.past_end = lags(settings)
    for live in LIVE_TOPICS:
        if live.record is None or live.entity in NOT_COMMITTED or live.entity.startswith("replies."):
            continue  # nobody who could make a dead letter of it reads it
        letters = read_all(settings, DeadLetters(live))
        if letters:
            seen.dead[live.entity] = len(letters)
        for letter in letters:
            headers = dict(letter.headers)
            text = headers.get("__dlq.errors.message", b"").decode()[:80]
            seen.dead_reasons[f"{live.entity}: {headers.get('reelbus.error.code', b'').decode()}: {text}"] += 1
    return seen


def _readable(settings: Settings) -> list[JobEvent]:
    events = []
    for record in read_all(settings, JOBS_EVENTS):
        try:
            events.append(decode(JobEvent, record.value))
        except InvalidMessage:
            continue  # rubbish that a test put there; track makes a dead letter of it
    return events


def _look_at_objects(stack: Stack, seen: Evidence) -> None:
    root = stack.objects
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        if path.is_file() and not key.startswith("."):
            seen.objects[key] = hashlib.sha256(path.read_bytes()).hexdigest()
            if key.endswith("/video.mp4"):
                seen.videos[key] = look_at_video(path)
    prefix = f"/{root.name}/"
    seen.created = Counter({path.removeprefix(prefix): n for path, n in stack.proxy.created.items()})
    seen.deleted = Counter({path.removeprefix(prefix): n for path, n in stack.proxy.deleted.items()})


def look_at_video(path: Path) -> VideoSeen:
    """Decode every frame and read what its pixels say."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    frames: list[Frame] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                try:
                    frames.append(read_fake(frame.to_ndarray(format="gray")))
                except ValueError:
                    frames.append(UNREADABLE)
    except (av.FFmpegError, IndexError) as exc:
        return VideoSeen(digest, tuple(frames), f"{type(exc).__name__}: {exc}")
    return VideoSeen(digest, tuple(frames))


def groups(settings: Settings) -> dict[str, list[str]]:
    """Topics by consumer group: what every stage must have read to the end when there is nothing left to do."""
    made: dict[str, list[str]] = defaultdict(list)
    for stage in STAGES.values():
        group = group_of(settings, stage.name)
        for topic in stage.reads:
            other_pool = stage.needs_pool and not topic.entity.endswith(f".{settings.pool}")
            if topic.entity not in NOT_COMMITTED and not other_pool:
                made[group].append(topic.name(settings.prefix))
    return dict(made)


def lags(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    """Uncommitted records per group and partition, and offsets committed past the end. Zeros are left out.

    Where nothing but transaction markers and aborted records follow, nothing is left: no consumer ever sees those.
    """
    admin = clients.admin(settings)
    reader = clients.consumer(settings, f"{settings.prefix}.lag-reader", fetch_wait_max_ms=10)
    open_: list[tuple[str, Place, int]] = []
    ends: dict[Place, int] = {}
    past = {}
    try:
        known = reader.list_topics(timeout=30).topics
        for group, names in groups(settings).items():
            places = [TopicPartition(n, p) for n in names for p in known[n].partitions]
            asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
            for found in asked[group].result().topic_partitions:
                place = found.topic, found.partition
                low, ends[place] = reader.get_watermark_offsets(TopicPartition(*place), timeout=30)
                committed = max(found.offset, low)
                if committed < ends[place]:
                    open_.append((group, place, committed))
                if committed > ends[place]:
                    past[f"{group} {found.topic}[{found.partition}]"] = committed - ends[place]
        last = _last_records(reader, [(place, committed) for _, place, committed in open_], ends)
    finally:
        reader.close()
    left = [(group, place, committed) for group, place, committed in open_ if last.get(place, -1) >= committed]
    return {f"{group} {topic}[{n}]": ends[topic, n] - committed for group, (topic, n), committed in left}, past


def _last_records(reader: Consumer, asked: Sequence[tuple[Place, int]], ends: dict[Place, int]) -> dict[Place, int]:
    """By partition, the offset of a record that stands at or behind all offsets asked for; else of the last one that
    stands behind some of them."""
    first: dict[Place, int] = {}
    latest: dict[Place, int] = {}
    for place, offset in asked:
        first[place] = min(offset, first.get(place, offset))
        latest[place] = max(offset, latest.get(place, offset))
    reader.assign([TopicPartition(*place, offset) for place, offset in first.items()])
    left, last = set(first), dict[Place, int]()
    give_up_s = time.monotonic() + READ_S
    while left and time.monotonic() < give_up_s:
        for message in reader.consume(500, 0.05):
            place = message.topic() or "", message.partition() or 0
            if message.error() is None:
                last[place] = message.offset() or 0
                if last[place] >= latest[place]:
                    left.discard(place)
        left -= {
            (p.topic, p.partition)
            for p in reader.position(list(reader.assignment()))
            if p.offset >= ends[p.topic, p.partition]
        }
    # A broker that does not answer in time proves nothing: then records count as unread.
    return last | {place: latest[place] for place in left}
