"""ops.bus.faust_app: at least once, one record at a time, every answer acknowledged before the next.

Faust reads uncommitted records and gives up all partitions in each rebalance.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from schemas.codec import encode
from schemas.errors import InvalidMessage
from schemas.records import Incoming, Outgoing
from tests.simulation.groups import Effects
from tests.simulation.log import Fenced, Place
from tests.simulation.process import IDLE, Process

Decide = Callable[[Incoming], Sequence[Outgoing]]
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
    while not process.stopping:
        record = yield from consumer.poll()
        if record is None or handled >= COMMIT_EVERY:
            if acked:
                yield f"{group}.commit"
                commit()
            handled = 0
        if record is None:
            yield IDLE
            continue
        handled += 1
        yield f"{group}.read"
        if "auto commit" in world.bugs:
            consumer.log.committed[group, (record.topic, record.partition)] = record.offset + 1
        yield from _answer(process, record, sources[record.topic])
        process.done(record, group)
        acked[record.topic, record.partition] = record.offset + 1
    consumer.close()


def _answer(process: Process, record: Incoming, decide: Decide) -> Effects:
    value = record.value if isinstance(record.value, bytes) else encode(record.value)
    raw = dataclasses.replace(record, value=value)
    try:
        answers = decide(raw)
    except InvalidMessage as exc:
        process.world.bury(record, exc)
        yield f"{process.stage}.dead letter"
        return
    for out in answers:
        process.produce(out)
        yield f"{process.stage}.produced {out.topic.entity}"
