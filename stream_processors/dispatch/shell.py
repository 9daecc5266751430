"""Runs the scheduler: leads alone, reads, decides, writes in transactions."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from ops.bus import clients, table
from ops.bus.burial import Unusable, told
from ops.bus.fold import Fold
from ops.bus.levels import Levels, Put
from ops.bus.process import stop_event
from ops.bus.pulse import PULSE, beat
from ops.bus.sending import read
from ops.bus.transaction import Transactions
from ops.crash_points import reached
from ops.limits import load as load_limits
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import Fatal, InvalidMessage
from schemas.events import Reason
from schemas.plan import Plan
from schemas.quotas import EVERYBODY, Account, Quota
from schemas.records import Incoming, Outgoing
from schemas.request import LANES
from schemas.reviews import ReviewDecision
from schemas.topics import (
    CHUNKS_INSPECTED,
    COSTS_LEARNT,
    DISPATCH_LEADER,
    DISPATCH_STATE,
    HOUR_MS,
    JOBS_CONTROL,
    PLANS_PARKED,
    PLANS_READY,
    REVIEWS_DECIDED,
    SCHEDULER_SWITCHES,
    TENANTS_QUOTAS,
    WORKERS_STATE,
    Topic,
)
from schemas.work import ChunkInspected, Command, LearntCost, ParkedLine, SchedulerRow, Switch, WorkerState
from stream_processors.dispatch.core import Scheduler
from stream_processors.dispatch.parked import Parked
from stream_processors.dispatch.quotas import Quotas

log = logging.getLogger(__name__)

READ_AT_ONCE = 100
POLL_S = 0.02
PACE_S = 0.03
FAILOVER: dict[str, Any] = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_500}
"""A dead leader is missed after 6 s, the least that brokers allow by default."""
Take = Callable[[Incoming, int], list[Outgoing]]


class Leadership:
    """One process leads: the one that owns the only partition of dispatch.leader."""

    def __init__(self, settings: Settings) -> None:
        self._topic = DISPATCH_LEADER.name(settings.prefix)
        PULSE.joining(clients.group_id(settings, "dispatch-leader"))
        self._consumer = clients.consumer(settings, clients.group_id(settings, "dispatch-leader"), **FAILOVER)
        self._consumer.subscribe([self._topic], on_assign=self._won, on_revoke=self._gone, on_lost=self._expelled)
        self.leads = False
        self.lost = False

    def _won(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.leads = self.leads or bool(partitions)
        PULSE.assigned(())

    def _gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.lost = self.leads and bool(partitions)

    def _expelled(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions)
        PULSE.revoked((), lost=True)

    def poll(self, timeout_s: float) -> None:
        """Keep the membership alive. Raises Fatal when leadership was lost: the process must end."""
        self._consumer.poll(timeout_s)
        if self.lost:
            raise Fatal("another scheduler leads now")

    def resign(self) -> None:
        self.leads = False
        self._consumer.close()


class Shell:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        weights = load_limits(settings.limits).lane_weights()
        self.transactions = Transactions(settings, "dispatch", "leader", PACE_S)
        self.consumer = clients.consumer(settings, clients.group_id(settings, "dispatch"))
        buckets = table.partition_count(self.consumer, PLANS_PARKED.name(settings.prefix))
        quotas = Quotas(Quota(tenant=EVERYBODY))
        self.scheduler = Scheduler(weights, round(settings.job_timeout_h * HOUR_MS), buckets, quotas=quotas)
        self._restore()
        self.levels = Levels(settings, self.consumer, self._levels())
        self.takers = self._takers()
        self.topics = {topic.name(settings.prefix): topic for topic in self.takers}
        self.fold = Fold(settings, "dispatch", self.consumer, self.topics, self._end, passing=(WORKERS_STATE,))
        self._assign()
        self.parked = Parked(self.consumer, PLANS_PARKED.name(settings.prefix), self.scheduler.backlog)

    def _takers(self) -> dict[Topic, Take]:
        scheduler = self.scheduler
        plans: dict[Topic, Take] = {
            PLANS_READY[lane]: lambda r, now_ms: scheduler.on_plan(decode(Plan, r.value), now_ms) for lane in LANES
        }

        def hear(record: Incoming, now_ms: int) -> list[Outgoing]:
            scheduler.on_worker(decode(WorkerState, record.value), now_ms)
            return []

        return {
            **plans,
            PLANS_PARKED: lambda r, now_ms: scheduler.on_parked(decode(Plan, r.value), now_ms),
            CHUNKS_INSPECTED: lambda r, now_ms: scheduler.on_inspected(decode(ChunkInspected, r.value), now_ms),
            JOBS_CONTROL: lambda r, now_ms: scheduler.on_control(decode(Command, r.value), now_ms),
            REVIEWS_DECIDED: lambda r, now_ms: scheduler.on_review(decode(ReviewDecision, r.value), now_ms),
            WORKERS_STATE: hear,
        }

    def _levels(self) -> dict[Topic, Put]:
        scheduler = self.scheduler
        return {
            SCHEDULER_SWITCHES: lambda key, raw: scheduler.on_switch(
                key, decode(Switch, raw) if raw is not None else None
            ),
            TENANTS_QUOTAS: lambda key, raw: scheduler.on_quota(key, decode(Quota, raw) if raw is not None else None),
        }

    def _restore(self) -> None:
        learnt = table.load(self.settings, COSTS_LEARNT).values()
        self.scheduler.restore_costs(kind for raw in learnt if (kind := _learnt(raw)) is not None)
        rows = table.load(self.settings, DISPATCH_STATE)
        self.scheduler.restore(
            [decode(Plan, raw) for key, raw in rows.items() if key.endswith("#plan")],
            [decode(SchedulerRow, raw) for key, raw in rows.items() if key.endswith(("#progress", "#orders"))],
            [decode(ParkedLine, raw) for key, raw in rows.items() if key.endswith("#parked")],
            [decode(Account, raw) for key, raw in rows.items() if key.endswith("#account")],
        )
        reached("dispatch", "restored")
        log.info("restored %d live jobs, %d finished", len(self.scheduler.jobs), len(self.scheduler.finished))

    def _assign(self) -> None:
        places = {
            topic: [TopicPartition(name, p) for p in range(table.partition_count(self.consumer, name))]
            for name, topic in self.topics.items()
        }
        resumed = [p for topic, ps in places.items() if topic is not WORKERS_STATE for p in ps]
        live = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in places[WORKERS_STATE]]
        self.consumer.assign(self.consumer.committed(resumed, timeout=30) + live + self.levels.places)
        self.fold.assigned(resumed)
        PULSE.group = clients.group_id(self.settings, "dispatch")
        PULSE.assigned(resumed)

    def step(self) -> None:
        """One round: read a little, decide, write it all in one transaction."""
        if self.fold.careful:
            self._round([])  # what is due anyway: if that goes wrong, no record is to blame
        most = 1 if self.fold.careful else READ_AT_ONCE
        records = self.levels.take(read(self.consumer, most, POLL_S, self.transactions.next_s))
        self._round(self.parked.admit(records))
        self.parked.resume()

    def _round(self, records: Sequence[Incoming]) -> None:
        now_ms = time.time_ns() // 1_000_000
        out, dead = self.fold.take(records, lambda r: self.takers[self.topics[r.topic]](r, now_ms))
        with self.fold.after(records) as offsets:
            out += self.scheduler.tick(now_ms)
            if out or dead or offsets:
                self.transactions.commit(out, dead, offsets, self.consumer)

    def _end(self, record: Incoming, error: Unusable) -> list[Outgoing]:
        """The end of the job whose record cannot be used."""
        topic, now_ms = self.topics[record.topic], time.time_ns() // 1_000_000
        reason = Reason(code="internal_error", message=told("dispatch", error))
        if topic is PLANS_PARKED or topic in PLANS_READY.values():
            return self.scheduler.refuse(decode(Plan, record.value), reason, now_ms)
        if topic is CHUNKS_INSPECTED:
            return self.scheduler.abandon(decode(ChunkInspected, record.value).rendered.job, reason, now_ms)
        if topic is JOBS_CONTROL:
            return self.scheduler.abandon(decode(Command, record.value).job, reason, now_ms)
        return []


def _learnt(raw: bytes) -> LearntCost | None:
    """None for what cannot be read: it is learnt anew."""
    try:
        return decode(LearntCost, raw)
    except InvalidMessage as exc:
        log.warning("costs.learnt: left out a row: %s", exc)
        return None


def main(settings: Settings) -> None:
    """Run until SIGTERM; stands by until it leads."""
    stop = stop_event()
    PULSE.loop("scheduler's loop")
    leadership = Leadership(settings)
    PULSE.role = "standing by"
    log.info("standing by")
    while not leadership.leads and not stop.is_set():
        beat()
        leadership.poll(0.2)
    if not stop.is_set():
        PULSE.role = "taking over"
        PULSE.lacks("state", "it reads the scheduler's rows")
        log.info("leading")
        reached("dispatch", "leading")
        shell = Shell(settings)
        PULSE.role = "leading"
        PULSE.has("state")
        try:
            while not stop.is_set():
                beat()
                leadership.poll(0)
                shell.step()
        except Fatal:
            leadership.resign()  # or the next one waits for the end of our session
            raise
        shell.consumer.close()
    leadership.resign()
