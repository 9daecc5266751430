"""Mistakes in reading, committing, transactions and retries."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

log = logging.getLogger(__name__)


def commit_before_produce(stage: str) -> None:
    """mux commits a record as soon as it has read it, so that it surely does not come twice."""
    if stage != "mux":
        return
    from ops.bus.worker import _Loop
    from ops.crash_points import reached

    begin = _Loop._begin

    def committing(self: Any, found: Any, threads: Any) -> None:
        begin(self, found, threads)
        self.lanes.done(found.lane, found.record)
        reached(stage, "committed")  # or no crash cell of this process comes to life (COUNTS_TRIES in process.py)

    _Loop._begin = committing


def auto_commit(stage: str) -> None:
    """mux leaves commits to the client, which commits what was read, not what was done."""
    if stage != "mux":
        return
    from ops.bus import clients, offsets

    build = clients._build

    def building(kind: Any, settings: Any, ours: Any, fixed: Any) -> Any:
        ours = {**ours, "auto.commit.interval.ms": 100}
        return build(kind, settings, ours, {**fixed, "enable.auto.commit": True} if "group.id" in fixed else fixed)

    clients._build = building
    offsets.Offsets.commit = lambda self, *place, **how: None


def faust_concurrency(stage: str) -> None:
    """moderate handles eight records at a time; Faust then commits past one that is still at work (faust #606)."""
    if stage != "moderate":
        return
    import faust

    agent = faust.App.agent

    def wide(self: Any, *what: Any, **how: Any) -> Any:
        return agent(self, *what, **{**how, "concurrency": 8})

    faust.App.agent = wide


def uncaught_exception(stage: str) -> None:
    """split does with an exception what Faust does with one that an agent lets out: it logs it, acknowledges the
    records and goes on."""
    if stage != "split":
        return
    from ops.bus.faust_agent import Agent, incoming

    async def trusting(self: Any, events: Any) -> None:
        try:
            await self._answer([incoming(event.message) for event in events])
        except Exception:
            log.exception("split: cannot handle %d records", len(events))
        for event in events:
            event.ack()

    Agent.handle = trusting


def read_uncommitted(stage: str) -> None:
    """dispatch and track read their state back with isolation.level=read_uncommitted, so that of an aborted transaction
    as well."""
    if stage not in ("dispatch", "track"):
        return
    from ops.bus import clients

    build = clients._build

    def building(kind: Any, settings: Any, ours: Any, fixed: Any) -> Any:
        weak = {**fixed, "isolation.level": "read_uncommitted"}
        return build(kind, settings, ours, weak if "isolation.level" in fixed else fixed)

    clients._build = building


def dedupe_on_offset(stage: str) -> None:
    """track takes an event whose offset it has had for a repeated one, whatever the partition."""
    if stage != "track":
        return
    from ops.bus.fold import Fold

    fold, had = Fold.take, set()

    def taking(self: Any, records: Any, take: Any) -> Any:
        fresh = []
        for record in records:
            if record.offset not in had:
                had.add(record.offset)
                fresh.append(record)
        return fold(self, fresh, take)

    Fold.take = taking


def exactly_once_alone(stage: str) -> None:
    """track trusts that its transactions make it exactly once, and takes every event that comes for a new one."""
    if stage != "track":
        return
    from msgspec.structs import replace

    from schemas.lifecycle import TERMINAL
    from stream_processors.track import shell

    take = shell.take

    def taking(state: Any, event: Any, partition: int) -> Any:
        if state is not None:
            live = "assembling" if state.state in TERMINAL else state.state
            state = replace(state, state=live, seen=())
        return take(state, event, partition)

    shell.take = taking


def long_transaction(stage: str) -> None:
    """mux opens a transaction, puts its offset into it, works, and commits: longer than a transaction may last."""
    if stage != "mux":
        return
    from ops.bus import clients
    from ops.bus.sending import Outbox
    from ops.bus.worker import _Loop

    clients.TRANSACTION_TIMEOUT_MS = 5_000
    begin, settled, init = _Loop._begin, _Loop._settled, _Loop.__init__

    def making(self: Any, settings: Any, stage: str, *more: Any) -> None:
        init(self, settings, stage, *more)
        slot = settings.worker_id or "0"
        self.outbox = Outbox(clients.transactional_producer(settings, f"{stage}-{slot}"), settings.prefix, stage)

    def beginning(self: Any, found: Any, threads: Any) -> None:
        record, group = found.record, self.lanes.consumer.consumer_group_metadata()
        place = TopicPartition(record.topic, record.partition, record.offset + 1)
        self.outbox.producer.begin_transaction()
        self.outbox.producer.send_offsets_to_transaction([place], group)
        begin(self, found, threads)

    def committing(self: Any, lane: Any, record: Any) -> None:
        self.outbox.producer.commit_transaction()
        settled(self, lane, record)

    _Loop.__init__, _Loop._begin, _Loop._settled = making, beginning, committing


def naive_poll(stage: str) -> None:
    """mux polls, works, produces, commits in one thread, and the work takes longer than max.poll.interval.ms."""
    if stage != "mux":
        return
    from ops.bus import clients, worker
    from ops.bus.process import stop_event
    from ops.bus.sending import Outbox, incoming

    def loop(settings: Any, stage: str, topics: Any, handle: Any, **_: Any) -> None:
        timing: dict[str, object] = {"session_timeout_ms": 6_000, "max_poll_interval_ms": 6_000}
        consumer = clients.consumer(settings, clients.group_id(settings, stage), **timing)
        consumer.subscribe([topic.name(settings.prefix) for topic in topics])
        outbox, stop = Outbox(clients.producer(settings), settings.prefix, stage), stop_event()
        while not stop.is_set():
            message = consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            outbox.send(handle(incoming(message)))
            outbox.producer.flush()
            try:
                consumer.commit(message=message, asynchronous=False)
            except KafkaException as exc:
                log.warning("commit failed: %s", exc)

    worker.run = loop


def retry_without_cap(stage: str) -> None:
    """A chunk that fails is tried again, for ever: the device may be better next time."""
    if stage == "render":
        from gpu_consumers.render import core as rendering

        rendering.MAX_ATTEMPTS = 10**9
    elif stage == "dispatch":
        from stream_processors.dispatch import results

        results.MAX_FAILURES = 10**9


def row_not_saved(stage: str) -> None:
    """dispatch takes a plan in and forgets to write it down."""
    if stage != "dispatch":
        return
    from stream_processors.dispatch.core import Scheduler

    on_plan = Scheduler.on_plan

    def forgetting(self: Any, plan: Any, now_ms: int) -> list[Any]:
        return [out for out in on_plan(self, plan, now_ms) if out.topic.entity != "dispatch.state"]

    Scheduler.on_plan = forgetting


MISTAKES: Mapping[str, Callable[[str], None]] = {
    "commit-before-produce": commit_before_produce,
    "auto-commit": auto_commit,
    "faust-concurrency": faust_concurrency,
    "uncaught-exception": uncaught_exception,
    "read-uncommitted": read_uncommitted,
    "dedupe-on-offset": dedupe_on_offset,
    "exactly-once-alone": exactly_once_alone,
    "long-transaction": long_transaction,
    "naive-poll": naive_poll,
    "retry-without-cap": retry_without_cap,
    "row-not-saved": row_not_saved,
}
