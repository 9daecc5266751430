"""What is sent: mutations of good records, known again by their number. The same seed makes the same records."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ops.stages import FOLLOWED, STAGES
from schemas.chunks import frames_of
from schemas.codec import decode, encode
from schemas.errors import InvalidMessage
from schemas.plan import ChunkSpan, ClearedJob, Plan
from schemas.request import JobRequest, Output, Shot
from schemas.topics import CHUNKS, JOBS_REQUESTED, WORKERS_STATE, Topic
from tests.bad_input.mutations import mutated, seeds_of

REGRESSIONS = Path(__file__).parent / "regressions"
"""<topic>/<anything>.bin: records that have once found a fault, sent first in every run."""
NUMBER = "ce_id"
"""Header that carries the record's number: dead letters keep it, rejections give it back."""
GOOD_EVERY = 20
JOB_EVERY = 1000
LONG_AGO_MS = 1_600_000_000_000
Headers = list[tuple[str, bytes]]


NOBODYS = "https://127.0.0.1/picture.png"
"""Refused at once, with nobody asked."""


def topics() -> tuple[Topic, ...]:
    """Topics that a running stage reads record by record. Left out: tables that only their own stage writes and reads
    (jobs.state, dispatch.state), topics without records, those that are followed without a group, and the pool that no
    worker of the run serves."""
    read = {topic for stage in STAGES.values() for topic in stage.reads} - FOLLOWED
    found = [t for t in read if t.record is not None and not t.compacted and t is not CHUNKS["cuda"]]
    return tuple(sorted(found, key=lambda topic: topic.entity))


@dataclass(frozen=True, slots=True)
class Sent:
    """One record. bad: the codec refuses it, so it must become a dead letter, or a rejection where callers write."""

    number: int
    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: Headers
    bad: bool


def records(seed: int, count: int) -> Iterator[Sent]:
    """`count` records: what has found a fault before, then topics in turn; one in GOOD_EVERY is not mutated."""
    rng = random.Random(seed)
    number = 0
    for topic in topics():
        yield _sent(number, topic, None, None, [])  # ended moderate for ever
        number += 1
        for file in sorted((REGRESSIONS / topic.entity).glob("*.bin")):
            yield _sent(number, topic, b"regression", file.read_bytes(), [])
            number += 1
    for turn in range(count - number):
        topic = topics()[turn % len(topics())]
        good = rng.choice(seeds(topic))
        value: bytes | None = good if rng.random() < 1 / GOOD_EVERY else mutated(rng, good)
        while _asks_somebody(topic, value):
            value = mutated(rng, good)
        if rng.random() < 0.005:
            value = None
        yield _sent(number + turn, topic, _key(rng), value, _headers(rng))


def job(number: int) -> tuple[Topic, JobRequest]:
    """A good job to be found finished at the end."""
    lane = tuple(JOBS_REQUESTED)[number % len(JOBS_REQUESTED)]
    shot = Shot(prompt="a red ball rising on a white background", duration_s=0.5, seed=number)
    output = Output(width_px=128, height_px=128, fps=24)
    return JOBS_REQUESTED[lane], JobRequest(
        job_id=f"marker-{number}", lane=lane, model="shapes", shots=(shot,), output=output
    )


@cache
def seeds(topic: Topic) -> tuple[bytes, ...]:
    """The golden examples, made small: what a mutation leaves valid is really done. Nine in ten jobs are late, so that
    the run is not spent on making videos."""
    small = []
    for raw in seeds_of(topic):
        record: Any = decode(topic.record, raw)  # type: ignore[type-var]
        for late in (True,) * 9 + (False,):
            form = "json" if raw[:1] == b"{" else "avro"
            small.append(encode(_shrunk(record, late), form))  # type: ignore[arg-type]
    return tuple(dict.fromkeys(small))


def _small(request: JobRequest, late: bool = False) -> JobRequest:
    shot = replace(request.shots[0], duration_s=0.5)
    if (picture := shot.first_keyframe) is not None:
        shot = replace(shot, first_keyframe=replace(picture, uri=NOBODYS))
    output = replace(request.output, width_px=128, height_px=128, fps=24)
    deadline_ms = LONG_AGO_MS if late else None
    return replace(
        request, shots=(shot,), transitions=(), output=output, deadline_ms=deadline_ms, webhook=None, reply_topic=None
    )


def _shrunk(record: Any, late: bool) -> Any:
    match record:
        case JobRequest():
            return _small(record, late)
        case ClearedJob():
            return replace(record, request=_small(record.request, late))
        case Plan():
            request = _small(record.request, late)
            span = ChunkSpan(0, 0, frames_of(0.5, request.output.fps), -1)
            return replace(record, request=request, chunks=(span,))
        case _:
            return record


def _sent(number: int, topic: Topic, key: bytes | None, value: bytes | None, headers: Headers) -> Sent:
    return Sent(number, topic, key, value, [(NUMBER, str(number).encode()), *headers], _bad(topic, value))


def _bad(topic: Topic, value: bytes | None) -> bool:
    assert topic.record is not None
    try:
        decode(topic.record, value)
    except InvalidMessage:
        return True
    return False


def _asks_somebody(topic: Topic, value: bytes | None) -> bool:
    """Whether it names a picture at a host that may exist. A host that does not answer is asked again in ten minutes,
    and what lies behind that record waits, as it should."""
    if topic.record not in (JobRequest, ClearedJob):
        return False
    try:
        record: Any = decode(topic.record, value)
    except InvalidMessage:
        return False
    request: JobRequest = getattr(record, "request", record)
    return any(s.first_keyframe is not None and s.first_keyframe.uri != NOBODYS for s in request.shots)


def _key(rng: random.Random) -> bytes | None:
    if rng.random() < 0.9:
        return b"default/fuzz-%d" % rng.randrange(1000)
    return rng.choice((None, b"", rng.randbytes(rng.randrange(1, 40)), b"a" * 4000))


def _headers(rng: random.Random) -> Headers:
    if rng.random() < 0.95:
        return []
    return rng.choice(
        (
            [(f"h{n}", rng.randbytes(5)) for n in range(60)],
            [("traceparent", rng.randbytes(60)), ("ce_type", b"\xff\xfe"), ("content-type", b"x/" * 500)],
            [("Faust-Ag-ReplyTo", b"stolen"), ("Faust-Ag-CorrelationId", b"1")],
            [("reelbus-attempt", rng.randbytes(3)), ("reelbus-due-ms", b"9" * 40), ("__dlq.errors.topic", b"x")],
        )
    )


COMMITTED = tuple(topic for topic in topics() if topic is not WORKERS_STATE)
"""dispatch reads workers.state from its end and commits nothing of it."""
