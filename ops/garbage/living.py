"""What jobs need at this moment, read from the topics that say so. An answer that is not certain is an error."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ops import deletion
from ops.bus import clients, table
from ops.garbage.core import ORPHAN_AGE_MS, Living
from ops.settings import Settings
from schemas.chunks import chunk_ids
from schemas.codec import decode
from schemas.errors import Fatal, InvalidMessage, Transient
from schemas.events import JobState, State
from schemas.ids import job_uid
from schemas.plan import ClearedJob, Plan
from schemas.topics import (
    DISPATCH_STATE,
    JOBS_CLEARED,
    JOBS_EVENTS,
    JOBS_STATE,
    PLANS_DRAFTED,
    PLANS_PARKED,
    PLANS_READY,
    Topic,
)

ANSWER_S = 30.0
SILENT_POLLS = 600
_MOVING = (
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)  # fmt: skip
_WAITING: tuple[tuple[str, Sequence[Topic]], ...] = (
    ("split", tuple(JOBS_CLEARED.values())),
    ("prioritise", tuple(PLANS_DRAFTED.values())),
    ("dispatch", (*PLANS_READY.values(), PLANS_PARKED)),
)
"""Where a job waits before the scheduler has it, and whose reading takes it out. In the direction of flow: a job that
moves on while this is read is then seen at least once."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """What `jobs.state` says: state by job uid, and the jobs whose files are past the time that was promised."""

    states: dict[str, State | None]
    overdue: dict[str, JobState]


def jobs(settings: Settings, now_ms: int) -> Jobs:
    """All jobs. A row that cannot be read counts as a job that needs its files."""
    found = Jobs({}, {})
    for key, raw in table.scan(settings, JOBS_STATE):
        uid = job_uid(key)
        found.overdue.pop(uid, None)
        try:
            state = None if raw is None else decode(JobState, raw)
        except InvalidMessage:
            state = None
        found.states[uid] = None if state is None else state.state
        if state is not None and any(deletion.due([state], now_ms)):
            found.overdue[uid] = state
    return found


def needed(settings: Settings, known: Jobs, all_told: bool) -> Living:
    """What live jobs need now. Raises Fatal when a plan cannot be read: then nobody knows what it needs."""
    names = _waiting_inputs(settings)
    scheduled = set()
    for key, raw in table.load(settings, DISPATCH_STATE).items():
        job, _, what = key.rpartition("#")
        if what in ("plan", "progress"):
            scheduled.add(job_uid(job))
        if what == "plan":
            plan = _read(Plan, raw, key)
            names |= {*chunk_ids(plan), *(given.chunk for given in plan.inputs)}
    return Living(frozenset(names), known.states, frozenset(scheduled), all_told)


def all_told(settings: Settings, now_ms: int) -> bool:
    """Whether track has folded every event that is older than half of ORPHAN_AGE_MS."""
    consumer = _consumer(settings, "track")
    name = JOBS_EVENTS.name(settings.prefix)
    try:
        places = [TopicPartition(name, p) for p in range(table.partition_count(consumer, name))]
        folded = _committed(consumer, places)
        asked = [TopicPartition(name, p.partition, now_ms - ORPHAN_AGE_MS // 2) for p in places]
        for found in consumer.offsets_for_times(asked, timeout=ANSWER_S):
            low, high = consumer.get_watermark_offsets(found, timeout=ANSWER_S)
            first_young = found.offset if found.offset >= 0 else high
            if max(folded[found.partition], low) < first_young:
                return False
        return True
    except KafkaException as exc:
        raise Transient(f"cannot ask how far track is: {exc.args[0].str()}") from None
    finally:
        consumer.close()


def _waiting_inputs(settings: Settings) -> set[str]:
    """Inputs of jobs that no scheduler has yet. Such jobs count on no chunk."""
    names: set[str] = set()
    for stage, topics in _WAITING:
        for topic in topics:
            kind: type[ClearedJob | Plan] = ClearedJob if topic.record is ClearedJob else Plan
            for raw in _unread(settings, stage, topic):
                try:
                    names |= {given.chunk for given in decode(kind, raw).inputs}
                except InvalidMessage:
                    continue  # its stage buries it as well
    return names


def _unread(settings: Settings, stage: str, topic: Topic) -> Iterator[bytes]:
    """Values of the records that a stage has not finished reading."""
    consumer = _consumer(settings, stage)
    name = topic.name(settings.prefix)
    try:
        places = [TopicPartition(name, p) for p in range(table.partition_count(consumer, name))]
        starts = {p: max(offset, 0) for p, offset in _committed(consumer, places).items()}
        ends = {}
        for place in places:
            low, ends[place.partition] = consumer.get_watermark_offsets(place, timeout=ANSWER_S)
            starts[place.partition] = max(starts[place.partition], low)
        left = {p for p, end in ends.items() if end > starts[p]}
        consumer.assign([TopicPartition(name, p, starts[p]) for p in left])
        silent = 0
        while left:
            messages = [m for m in consumer.consume(500, 0.1) if m.error() is None]
            yield from (value for m in messages if (value := m.value()) is not None)
            left = {p.partition for p in consumer.position(consumer.assignment()) if p.offset < ends[p.partition]}
            silent = 0 if messages else silent + 1
            if left and silent > SILENT_POLLS:
                raise Transient(f"{name} could not be read to its end")
    except KafkaException as exc:
        raise Transient(f"cannot read {name}: {exc.args[0].str()}") from None
    finally:
        consumer.close()


def _consumer(settings: Settings, stage: str) -> Consumer:
    """Asks for offsets of a stage's group and joins it not, as it only assigns."""
    return clients.consumer(settings, clients.group_id(settings, stage), fetch_wait_max_ms=10)


def _committed(consumer: Consumer, places: list[TopicPartition]) -> dict[int, int]:
    """Offset by partition, negative where a group has none. A coordinator that has just moved is waited for."""
    give_up_s = time.monotonic() + ANSWER_S
    while True:
        try:
            return {p.partition: p.offset for p in consumer.committed(places, timeout=ANSWER_S)}
        except KafkaException as exc:
            if exc.args[0].code() not in _MOVING or time.monotonic() > give_up_s:
                raise
            time.sleep(0.2)


def _read(kind: type[Plan], raw: bytes, key: str) -> Plan:
    try:
        return decode(kind, raw)
    except InvalidMessage as exc:
        raise Fatal(f"the plan at {key!r} of dispatch.state cannot be read, so nothing is deleted: {exc}") from None
