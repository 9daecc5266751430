"""ops.bus.faust_agent: at least once, records in rounds, every answer acknowledged before the record's next.

Faust reads uncommitted records and gives up all partitions in each rebalance.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence

from schemas.codec import encode
from schemas.errors import InvalidMessage
from schemas.records import Incoming, Outgoing
from tests.simulation.groups import Consumer, Effects
from tests.simulation.log import Fenced, Place
from tests.simulation.process import IDLE, Process

Decide = Callable[[Incoming], Sequence[Outgoing]]
ROUND_RECORDS = 3
COMMIT_EVERY = 3
"""Records per commit; Faust commits every half second."""


def front(process: Process, sources: Mapping[str, Decide]) -> Effects:
    """A stage on Faust. sources: what decides, by topic."""
    world, group = process.world, process.stage
    acked: dict[Place, int] = {}

    def commit(_places: list[Place] | None = None) -> None:
        # Faust logs it and goes on; the records come again.
        with contextlib.suppress(Fenced):
            consumer.commit(acked)
        acked.clear()

    consumer = process.consumer(group, list(sources), committed_only=False, eager=True, on_revoke=commit)
    handled = 0
    left: Incoming | None = None
    while not process.stopping:
        records, left = yield from _round(consumer, left)
        if not records or handled >= COMMIT_EVERY:
            if acked:
                yield f"{group}.commit"
                commit()
            handled = 0
        if not records:
            yield IDLE
            continue
        handled += len(records)
        yield f"{group}.read"
        for record in records:
            if "auto commit" in world.bugs:
                consumer.log.committed[group, (record.topic, record.partition)] = record.offset + 1
        yield from _answer(process, records, sources)
        for record in records:
            process.done(record, group)
            acked[record.topic, record.partition] = record.offset + 1
    consumer.close()


def _round(consumer: Consumer, left: Incoming | None) -> Generator[str, None, tuple[list[Incoming], Incoming | None]]:
    """The records of the next round, each of another key, and one that was left as its key was there already: it is a
    round by itself, before there can be a rebalance, in which the real agent gives nothing away that it has read."""
    if left is not None:
        return [left], None
    records: list[Incoming] = []
    record = yield from consumer.poll()
    while record is not None and record.key not in {other.key for other in records}:
        records.append(record)
        record = consumer.take() if len(records) < ROUND_RECORDS else None
    return records, record


def _answer(process: Process, records: Sequence[Incoming], sources: Mapping[str, Decide]) -> Effects:
    broken: list[tuple[Incoming, InvalidMessage]] = []
    answers = [_decided(record, sources[record.topic], broken) for record in records]
    for out in (out for turn in itertools.zip_longest(*answers) for out in turn if out is not None):
        process.produce(out)
        yield f"{process.stage}.produced {out.topic.entity}"
    for record, error in broken:
        process.world.bury(record, error)
        yield f"{process.stage}.dead letter"


def _decided(record: Incoming, decide: Decide, broken: list[tuple[Incoming, InvalidMessage]]) -> Sequence[Outgoing]:
    value = record.value if isinstance(record.value, bytes) else encode(record.value)
    try:
        return decide(dataclasses.replace(record, value=value))
    except InvalidMessage as exc:
        broken.append((record, exc))
        return ()
