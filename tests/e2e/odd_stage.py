"""A stage on `ops.bus.worker` for its tests: what a record's reason says is what it does.

Arguments: "fixed" has no bug any more, "retry" uses retry topics. While the file `outage` is in the data directory,
nothing gets through. A slow order waits for the file `go`.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ops import settings
from ops.bus import lane
from ops.bus.burial import Unusable
from ops.bus.worker import run
from schemas.codec import decode
from schemas.errors import InvalidMessage, Transient
from schemas.events import WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_CONTROL, NOTIFY_LOG, RETRY_DELAYS
from schemas.work import Command

RETRY = {delay: replace(JOBS_CONTROL, entity=f"odd.retry.{delay}", partitions=1) for delay in RETRY_DELAYS}

tries: Counter[str] = Counter()
ours = settings.load()


def handle(record: Incoming) -> Sequence[Outgoing]:
    """Writes one delivery record per order, with the number of tries that it took."""
    order = decode(Command, record.value)
    tries[order.job] += 1
    if order.reason == "stuck" or (order.reason == "transient" and tries[order.job] < 3):
        raise Transient("not yet")
    if Path(ours.data_dir, "outage").exists():
        raise Transient("nothing gets through")
    if order.reason == "invalid":
        raise InvalidMessage("reason: 'invalid' is not a reason")
    if order.reason == "bug" and "fixed" not in sys.argv:
        raise KeyError("a bug")
    if order.reason == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.reason == "slow":
        Path(ours.data_dir, f"begun-{os.getpid()}").touch()
        while not Path(ours.data_dir, "go").exists():
            time.sleep(0.05)
    return [_said(order, "delivered")]


def give_up(record: Incoming, error: Unusable) -> Sequence[Outgoing]:
    """Says so; an order that is deadly to look at kills here as well."""
    order = decode(Command, record.value)
    if order.job == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return [_said(order, "given-up")]


def _said(order: Command, outcome: str) -> Outgoing:
    done = WebhookDelivery(id=order.job, job=order.job, attempt=tries[order.job], outcome=outcome)  # type: ignore[arg-type]
    return Outgoing(NOTIFY_LOG, order.job, done)


def due_ms(record: Incoming) -> int:
    """Orders may say when they are due."""
    return decode(Command, record.value).requested_at_ms if record.value and record.value[:1] == b"\x00" else 0


if __name__ == "__main__":
    if "retry" in sys.argv:
        RETRY_DELAYS.update({"10s": 300, "1m": 400, "10m": 500})
        lane.RETRY_FIRST_S, lane.RETRY_LAST_S = 0.05, 0.2
        run(ours, "odd", [JOBS_CONTROL], handle, retry=RETRY, give_up=give_up)
    else:
        run(ours, "odd", [JOBS_CONTROL], handle, due_ms=due_ms, give_up=give_up)
