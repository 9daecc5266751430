"""Orders of callers for jobs that are still to come, and how an order is answered. Pure."""

from collections.abc import Iterable

from msgspec.structs import replace

from schemas.events import Reason
from schemas.ids import fingerprint
from schemas.records import Outgoing
from schemas.steering import NOTHING, merged, of_command
from schemas.topics import DISPATCH_STATE, PLANS_WAIT_MS
from schemas.work import Command, SchedulerRow, Steering
from stream_processors.dispatch.ended import bare_event, event
from stream_processors.dispatch.job import Job

KEEP_MS = PLANS_WAIT_MS
"""How long an order waits for its job: no plan can lie in Kafka for longer."""
MOST = 10_000
"""Jobs that orders may wait for; orders for more are refused."""


def orders_key(job: str) -> str:
    """Key in dispatch.state of what was ordered of a job that is not here yet."""
    return f"{job}#orders"


def steered(job: Job, now_ms: int) -> Outgoing:
    """The event that says what holds for a live job after its caller's orders."""
    steering = job.row.steering
    about = f"{job.plan.fingerprint} {fingerprint(steering)}"
    return event(job.plan, "job.steered", now_ms, about=about, steering=steering, progress=job.progress())


def refused(control: Command, now_ms: int, reason: Reason) -> Outgoing:
    """The event that tells a caller that an order cannot be followed; the same order is refused once."""
    about = f"{control.action} {control.requested_at_ms}"
    named = replace(reason, message=f"{control.action}: {reason.message}")
    return bare_event("job.order-refused", control.job, now_ms, about, reason=named)


class Awaited:
    """Orders that came before the plan of their job: it may lie in Kafka for days, or never come. Oldest first."""

    def __init__(self) -> None:
        self.rows: dict[str, SchedulerRow] = {}

    def restore(self, rows: Iterable[SchedulerRow]) -> None:
        """Take over rows that a predecessor wrote, oldest first."""
        self.rows.update((row.job, row) for row in rows)

    def order(self, control: Command, now_ms: int) -> list[Outgoing]:
        """Keep what is ordered, and say so: track shows it, and goes by a deadline, before the plan is here."""
        known = self.rows.get(control.job)
        before = known.steering if known else NOTHING
        after = merged(before, of_command(control))
        if after == before:
            return []
        if known is None and len(self.rows) >= MOST:
            message = f"orders wait for {MOST} jobs already that have not come; give it again when the job is queued"
            return [refused(control, now_ms, Reason(code="too_many_orders", message=message))]
        at_ms = now_ms if known is None else known.at_ms
        row = SchedulerRow(job=control.job, phase="awaited", fingerprint="", at_ms=at_ms, steering=after)
        self.rows[control.job] = row
        told = bare_event("job.steered", control.job, now_ms, fingerprint(after), steering=after)
        return [Outgoing(DISPATCH_STATE, orders_key(control.job), row), told]

    def claim(self, job: str) -> tuple[Steering, list[Outgoing]]:
        """What waits for a job that has come or ended, and the record that takes it away."""
        row = self.rows.pop(job, None)
        return (NOTHING, []) if row is None else (row.steering, [Outgoing(DISPATCH_STATE, orders_key(job), None)])

    def forget_old(self, now_ms: int) -> list[Outgoing]:
        """Drop what no plan can come for any more."""
        out: list[Outgoing] = []
        while self.rows and (oldest := next(iter(self.rows.values()))).at_ms + KEEP_MS < now_ms:
            out += self.claim(oldest.job)[1]
        return out
