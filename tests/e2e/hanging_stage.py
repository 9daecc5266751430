"""A watched stage for the watchdog's tests: `hanging_stage HOW`; what a record's reason says is what happens to it.

HOW: worker, or faust; with "deaf" the consumer is paused behind the loop's back.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from ops import settings as settings_module
from ops.bus import faust_app, worker
from ops.bus.lanes import Lanes
from ops.bus.pulse import beat
from ops.cli.logs import set_up
from ops.cli.stage import watched
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_CONTROL, NOTIFY_LOG
from schemas.work import Command

log = logging.getLogger(__name__)

LONG_S = 12.0


def hang_here() -> None:
    threading.Event().wait()


def handle(record: Incoming) -> Sequence[Outgoing]:
    """Hangs, or takes LONG_S with or without steps, or is done at once; writes one record."""
    order = decode(Command, record.value)
    log.info("at a record")
    match order.reason:
        case "hang":
            hang_here()
        case "long":
            log.info("at the long one")
            until_s = time.monotonic() + LONG_S
            while time.monotonic() < until_s:
                time.sleep(0.1)
                beat()
    return [
        Outgoing(NOTIFY_LOG, order.job, WebhookDelivery(id=order.job, job=order.job, attempt=1, outcome="delivered"))
    ]


def hang_in_the_loop(record: Incoming) -> int:
    """Called by the poll loop."""
    if decode(Command, record.value).reason == "loop":
        hang_here()
    return 0


def deafen() -> None:
    """From its assignment on the consumer gets nothing: what a client library that stands still looks like."""
    assigned = Lanes._assigned

    def paused(self: Lanes, consumer: Any, partitions: Any) -> None:
        assigned(self, consumer, partitions)
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)

    Lanes._assigned = paused  # type: ignore[method-assign]


def never_acknowledge() -> None:
    """A broker's acknowledgement that does not come."""

    async def wait(*_: object) -> None:
        await asyncio.Event().wait()

    faust_app._Agent._send = wait  # type: ignore[method-assign]


def main(how: str, settings: Settings) -> None:
    with watched(settings, "odd"):
        if how == "faust":
            app = faust_app.build_app(settings, "odd")
            faust_app.attach(app, settings, "odd", JOBS_CONTROL, handle)
            faust_app.run(app)
        worker.run(settings, "odd", [JOBS_CONTROL], handle, due_ms=hang_in_the_loop)


if __name__ == "__main__":
    set_up("info")
    if "deaf" in sys.argv:
        deafen()
    if "unacknowledged" in sys.argv:
        never_acknowledge()
    main(sys.argv[1], settings_module.load())
