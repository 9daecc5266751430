"""reply's and notify's shells: copy replies to callers' topics, deliver webhooks. What to say is the cores'."""

from schemas import retries
from schemas.events import JobFinished, WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_FINISHED_RETRY, NOTIFY_LOG
from stream_processors.notify import core
from stream_processors.reply.core import answer
from tests.simulation.process import Process
from tests.simulation.worker import Handling


class Replier:
    def __init__(self, process: Process) -> None:
        self._process = process

    def handle(self, record: Incoming) -> Handling:
        yield "reply.look up"
        out = answer(record.value)
        return () if out is None else (out,)


class Notifier:
    def __init__(self, process: Process) -> None:
        self._world = process.world

    @staticmethod
    def due_ms(record: Incoming) -> int:
        return retries.due_at_ms(dict(record.headers))

    def handle(self, record: Incoming) -> Handling:
        finished: JobFinished = record.value
        attempt = core.check_headers(dict(record.headers))
        if finished.webhook is None:
            return ()
        yield "notify.post"
        name = core.message_id(finished.job)
        if "webhook id per attempt" in self._world.bugs:
            name = core.message_id(f"{finished.job} {attempt}")
        status = self._world.post(name, finished)
        now_ms = self._world.clock.wall_ms()
        match core.next_step(attempt, status, {}, now_ms):
            case core.Delivered():
                return [_logged(finished, attempt, "delivered", status, now_ms)]
            case core.GiveUp(_):
                return [_logged(finished, attempt, "given-up", status, now_ms)]
            case core.Retry(delay, delay_ms):
                again = retries.retry_headers(attempt + 1, now_ms + delay_ms)
                log = _logged(finished, attempt, "retry", status, now_ms)
                return [log, Outgoing(JOBS_FINISHED_RETRY[delay], finished.job, finished, again)]


def _logged(finished: JobFinished, attempt: int, outcome: core.Outcome, status: int, at_ms: int) -> Outgoing:
    delivery = WebhookDelivery(
        id=core.message_id(finished.job), job=finished.job, attempt=attempt, outcome=outcome, status=status, at_ms=at_ms
    )
    return Outgoing(NOTIFY_LOG, finished.job, delivery)
