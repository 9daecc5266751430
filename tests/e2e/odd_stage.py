"""A stage on `ops.bus.worker` for its tests: what a record's reason says is what it does."""

import sys
from collections import Counter
from collections.abc import Sequence

from ops import settings
from ops.bus.worker import run
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.events import WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_CONTROL, NOTIFY_LOG
from schemas.work import Command

tries: Counter[str] = Counter()


def handle(record: Incoming) -> Sequence[Outgoing]:
    """Writes one delivery record per order, with the number of tries that it took."""
    order = decode(Command, record.value)
    tries[order.job] += 1
    if order.reason == "transient" and tries[order.job] < 3:
        raise Transient("not yet")
    if order.reason == "invalid":
        raise InvalidMessage("reason: 'invalid' is not a reason")
    if order.reason == "bug" and len(sys.argv) < 2:
        raise KeyError("a bug")
    done = WebhookDelivery(id=order.job, job=order.job, attempt=tries[order.job], outcome="delivered")
    return [Outgoing(NOTIFY_LOG, order.job, done)]


def due_ms(record: Incoming) -> int:
    """Orders may say when they are due."""
    return decode(Command, record.value).requested_at_ms if record.value and record.value[:1] == b"\x00" else 0


if __name__ == "__main__":
    run(settings.load(), "odd", [JOBS_CONTROL], handle, due_ms=due_ms)
