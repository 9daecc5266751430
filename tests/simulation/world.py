"""All that exists in one program: broker, store, clock, processes, callers. Rules act on it, invariants look at it."""

import hashlib
from collections import Counter, deque
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from ops import limits as limits_file
from ops.prompt_policy.loading import load_policy
from ops.settings import Settings
from ops.storage.store import ObjectInfo, PutOutcome
from schemas.ids import fingerprint, job_key
from schemas.limits import Limits
from schemas.records import Incoming, Outgoing
from schemas.registry import ModelEntry
from schemas.request import JobOrder, JobRequest, Lane
from schemas.reviews import ReviewCase, ReviewDecision
from schemas.topics import (
    CHUNKS,
    CHUNKS_WITHDRAWN,
    DISPATCH_LEADER,
    DISPATCH_STATE,
    JOBS_REQUESTED,
    LIVE_TOPICS,
    ORDERS_REQUESTED,
    REVIEWS_DECIDED,
    REVIEWS_OPEN,
)
from stream_processors.moderate.checks import Offer
from stream_processors.moderate.core import Rules
from stream_processors.moderate.identity import Tenants
from tests.simulation import requests
from tests.simulation.clock import Clock
from tests.simulation.groups import SESSION_MS, Consumer, Group
from tests.simulation.log import Log, Place, Transaction
from tests.simulation.process import IDLE, Process, topic_name
from tests.simulation.rendering import POOL
from tests.simulation.stages import STAGES
from tests.simulation.store import Store
from tests.simulation.tables import seen

MODEL = ModelEntry(
    name="shapes",
    family="fake",
    source="none",
    revision="r1",
    pools=(POOL,),
    clip_frames=17,
    given_frames=5,
    sizes=((64, 64),),
    fps_min=1,
    fps_max=60,
    steps=2,
    guidance=1.0,
    chunk_cost_s=0.4,
    max_batch=2,
)
SLOTS = 2
PARTITIONS = 2
SINGLE = ("workers.state", *(t.entity for t in (CHUNKS_WITHDRAWN, DISPATCH_STATE, DISPATCH_LEADER, REVIEWS_OPEN)))


class Violation(AssertionError):
    """An invariant does not hold."""


@cache
def _rules() -> tuple[Rules, Limits]:
    settings = Settings()
    limits = limits_file.load(settings.limits)
    offer = Offer({MODEL.name: MODEL}, limits.jobs, webhooks=True)
    return Rules(offer, load_policy(Path(settings.policy), semantic=False), Tenants("reelbus")), limits


class World:
    """bugs: names of seeded bugs that are switched on (see `bugs`)."""

    def __init__(self, bugs: frozenset[str] = frozenset()) -> None:
        self.bugs = bugs
        self.rules, self.limits = _rules()
        self.models = {MODEL.name: MODEL}
        self.lane_weights = self.limits.lane_weights()
        self.clock = Clock()
        broker_time = frozenset(topic.entity for topic in LIVE_TOPICS if topic.broker_time)
        self.log = Log(self.clock, dict.fromkeys(SINGLE, 1) | {CHUNKS[POOL].entity: 4}, PARTITIONS, broker_time)
        self.store = Store()
        self.store.overwrites = "no If-None-Match" in bugs
        self.moderator_down = False
        self.groups: dict[str, Group] = {}
        self.processes = {
            f"{stage}.{slot}": Process(self, stage, slot, STAGES[stage]) for stage in STAGES for slot in range(SLOTS)
        }
        self.device_faults: dict[str, deque[Any]] = {
            name: deque() for name in self.processes if name.startswith("render")
        }
        self._abandoned: list[tuple[Consumer, int]] = []
        self.done: dict[tuple[str, Place], set[int]] = {}
        self.buried: list[str] = []
        self.requests: dict[str, JobRequest] = {}
        """By fingerprint: everything that was ever asked for."""
        self.jobs: dict[str, None] = {}
        self.bodies: Counter[str] = Counter()
        """How many different requests were sent under an id."""
        self.sent: list[tuple[str, str, bytes]] = []
        self.statuses: deque[int] = deque()
        """What the webhook receiver answers next; 200 after that."""
        self.posts: list[tuple[str, str, int]] = []
        """(webhook id, job, status)."""
        self.video_puts: list[str] = []
        self.effects = 0
        self._trace = hashlib.sha256()
        for stage in STAGES:
            self.processes[f"{stage}.0"].start()

    # ---- what stages do --------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(name, self.log)
        return self.groups[name]

    def append(self, out: Outgoing, txn: Transaction | None = None) -> None:
        self.log.append(topic_name(out), out.key, out.record, out.headers, out.partition, txn)

    def bury(self, record: Incoming, error: Exception) -> None:
        """A dead letter. No record of a program is invalid, so each is a fault of a stage."""
        self.buried.append(f"{record.topic}[{record.partition}]@{record.offset}: {error}")

    def put(self, key: str, content: Any) -> tuple[PutOutcome, ObjectInfo]:
        known = key in self.store.objects
        try:
            return self.store.put(key, content)
        finally:
            if key.endswith("video.mp4") and not known and key in self.store.objects:
                self.video_puts.append(key)

    def post(self, webhook_id: str, finished: Any) -> int:
        status = self.statuses.popleft() if self.statuses else 200
        self.posts.append((webhook_id, finished.job, status))
        return status

    def retries_wait(self) -> bool:
        """Whether a webhook waits for its next try."""
        places = [p for p in self.log.partitions if p[0].startswith("jobs.finished.retry")]
        return any(self.log.committed.get(("notify", p), 0) < self.log.stable_end(p) for p in places)

    def abandon(self, consumers: list[Consumer], since_ms: int | None) -> None:
        """A process died: its memberships run out."""
        away_ms = self.clock.mono_ms if since_ms is None else since_ms
        self._abandoned += [(consumer, away_ms) for consumer in consumers]

    # ---- what programs do ------------------------------------------------------------------------------------------

    def submit(self, shape: int, tenant: str, job: int, lane: Lane) -> None:
        request = requests.request(shape, tenant, job, lane, self.clock.wall_ms("broker"))
        self.bodies[job_key(tenant, request.job_id)] += fingerprint(request) not in self.requests
        self.requests[fingerprint(request)] = request
        self.jobs[job_key(tenant, request.job_id)] = None
        self.sent.append((JOBS_REQUESTED[lane].entity, request.job_id, msgspec.json.encode(request)))
        self.log.append(*self.sent[-1])

    def cancel(self, tenant: str, job: int) -> None:
        order = JobOrder(job_id=f"job-{job}", tenant=tenant, action="cancel")
        self.log.append(ORDERS_REQUESTED.entity, order.job_id, msgspec.json.encode(order))

    def open_cases(self) -> list[ReviewCase]:
        """What waits for a person, by job."""
        cases: dict[str, ReviewCase] = seen(self.log, self.log.places(REVIEWS_OPEN.entity))
        return [cases[job] for job in sorted(cases)]

    def review(self, case: ReviewCase, verdict: Literal["approve", "refuse"], chunks: int | None = None) -> None:
        """A person looks at the first so many chunks of a case; None: at all."""
        objects = tuple(chunk.sha256 for chunk in case.chunks[:chunks])
        decision = ReviewDecision(job=case.job, verdict=verdict, objects=objects, reason="looked at", by="ada")
        self.log.append(REVIEWS_DECIDED.entity, case.job, decision)

    def run(self, process: Process, effects: int) -> int:
        """Up to so many effects of one process; fewer when it has nothing to do. Returns how many it did."""
        for number in range(effects):
            label = process.step()
            self._note(process.name, label)
            if label == IDLE:
                return number
        return effects

    def round(self, effects: int) -> int:
        return sum(self.run(process, effects) for process in self.processes.values() if process.state == "up")

    def pass_ms(self, ms: int) -> None:
        """Time passes: sessions and transactions of those who are away run out."""
        self.clock.pass_ms(ms)
        self.log.expire()
        now_ms = self.clock.mono_ms
        for consumer, since_ms in self._abandoned:
            if now_ms - since_ms >= SESSION_MS:
                consumer.group.leave(consumer)
        self._abandoned = [(c, since) for c, since in self._abandoned if now_ms - since < SESSION_MS]
        for process in self.processes.values():
            if process.state == "frozen" and now_ms - process.away_since_ms >= SESSION_MS:
                for consumer in process.consumers:
                    consumer.group.leave(consumer)

    def other(self, process: Process) -> Process:
        """That of the other slot of its stage."""
        return self.processes[f"{process.stage}.{1 - process.slot}"]

    def succeed(self, process: Process) -> None:
        """A frozen process is missed, and the other slot of its stage takes over."""
        self.other(process).start()
        self.pass_ms(SESSION_MS + 1_000)

    def _note(self, *what: object) -> None:
        self.effects += 1
        self._trace.update(repr((what, self.log.changes, self.store.puts, self.clock.mono_ms)).encode())

    def digest(self) -> str:
        """Hash of all that happened, in order: two runs of one program have the same."""
        whole = self._trace.copy()
        for place, entries in sorted(self.log.partitions.items()):
            whole.update(repr((place, [(e.key, e.value, e.timestamp_ms, e.committed) for e in entries])).encode())
        whole.update(repr(sorted((k, v.info.sha256, v.corrupt) for k, v in self.store.objects.items())).encode())
        return whole.hexdigest()
