"""A watched stage for the watchdog's tests: `hanging_stage HOW`; what a record's reason says is what happens to it.

HOW: worker, or faust; with "deaf" the consumer is paused behind the loop's back. Or the name of a real stage, whose
loop hangs some turns after its start.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ops import settings as settings_module
from ops import stages
from ops.bus import faust_agent, faust_app, worker
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

    faust_agent.Agent._send = wait  # type: ignore[method-assign]


def acknowledge_late() -> None:
    """Acknowledgements that take their time: the agent waits for one while the event loop turns."""
    send = faust_agent.Agent._send

    async def late(*arguments: Any) -> None:
        log.info("at the long one")
        await asyncio.sleep(LONG_S / 3)
        await send(*arguments)

    faust_agent.Agent._send = late  # type: ignore[method-assign]


def hang_after(turns: int, turn: Callable[..., None]) -> Callable[..., None]:
    left = iter(range(turns))

    def one(*arguments: object) -> None:
        if next(left, None) is None:
            hang_here()
        turn(*arguments)

    return one


def real(name: str, settings: Settings) -> None:
    """A stage of the table, hanging in its loop."""
    from gpu_consumers.render import shell as render
    from stream_processors.dispatch import shell as dispatch
    from stream_processors.track import shell as track

    if name == "render":
        render.Worker._round = hang_after(100, render.Worker._round)  # type: ignore[method-assign]
    else:
        loop: Any = {"dispatch": dispatch, "track": track}[name].Shell
        loop.step = hang_after(20, loop.step)
    with watched(settings, name):
        stages.load(stages.STAGES[name].entry)(settings)


def main(how: str, settings: Settings) -> None:
    if how in stages.STAGES:
        real(how, settings)
        return
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
    if "late" in sys.argv:
        acknowledge_late()
    main(sys.argv[1], settings_module.load())
