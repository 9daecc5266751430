"""notify at work: sign, send, log what happened, and put the next try on its retry topic."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ops.bus.burial import Unusable, told
from ops.bus.worker import run
from ops.crash_points import reached
from ops.net.addresses import Refused, Target, parse_url
from ops.net.dialling import NoAnswer
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import JobFinished, WebhookDelivery
from schemas.records import Incoming, Outgoing
from schemas.retries import due_at_ms, retry_headers
from schemas.topics import JOBS_FINISHED, JOBS_FINISHED_RETRY, NOTIFY_LOG
from stream_processors.notify import core
from stream_processors.notify.fetch import Fetcher
from stream_processors.notify.outages import Outages
from stream_processors.notify.signing import Signer, load_signer

log = logging.getLogger(__name__)

USER_AGENT = "reelbus-notify/1"


class Notifier:
    """The stage's handler; call it with a record of jobs.finished or of one of its retry topics.

    signer: None means that no secret is configured; nothing is sent unsigned, the log says refused.
    """

    def __init__(self, signer: Signer | None, fetcher: Fetcher, now_ms: Callable[[], int]) -> None:
        self._signer = signer
        self._fetcher = fetcher
        self._now_ms = now_ms
        self._outages = Outages()

    def __call__(self, record: Incoming) -> Sequence[Outgoing]:
        finished = decode(JobFinished, record.value)
        attempt = core.check_headers(dict(record.headers))
        if finished.webhook is None:
            return []
        try:
            if self._signer is None:
                raise Refused("no webhook secret is configured, and nothing is sent unsigned")
            target = parse_url(finished.webhook.url)
            status, headers, problem = self._try(self._signer, finished, target)
        except Refused as exc:
            return [_logged(finished, attempt, "refused", 0, str(exc), self._now_ms())]
        return self._follow_up(finished, attempt, status, headers, problem)

    def give_up(self, record: Incoming, error: Unusable) -> Sequence[Outgoing]:
        """A webhook that nobody will send any more is in the log as such."""
        finished = decode(JobFinished, record.value)
        if finished.webhook is None:
            return []
        attempt = core.check_headers(dict(record.headers))
        return [_logged(finished, attempt, "given-up", 0, told("notify", error), self._now_ms())]

    def _try(self, signer: Signer, finished: JobFinished, target: Target) -> tuple[int, Mapping[str, str], str]:
        """Status (0: no answer), headers, and what went wrong in one sentence."""
        receiver = (finished.tenant, target.host, target.port)
        if self._outages.resting(receiver, self._now_ms()):
            return 0, {}, "not sent: the receiver gave no answer several times just now"
        body = core.message_body(finished)
        signed = signer.headers(core.message_id(finished.job), core.moment(self._now_ms()), body)
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **signed}
        try:
            answer = self._fetcher.post(target, headers, body)
        except NoAnswer as exc:
            self._outages.note(receiver, False, self._now_ms())
            return 0, {}, str(exc)
        reached("notify", "delivered")
        self._outages.note(receiver, True, self._now_ms())
        return answer.status, answer.headers, "" if answer.status < 300 else f"status {answer.status}"

    def _follow_up(
        self, finished: JobFinished, attempt: int, status: int, headers: Mapping[str, str], problem: str
    ) -> list[Outgoing]:
        now_ms = self._now_ms()
        match core.next_step(attempt, status, headers, now_ms):
            case core.Delivered():
                return [_logged(finished, attempt, "delivered", status, "", now_ms)]
            case core.GiveUp(reason):
                said = f"{reason}; {problem}" if status == 0 else reason
                return [_logged(finished, attempt, "given-up", status, said, now_ms)]
            case core.Retry(delay, delay_ms):
                again = retry_headers(attempt + 1, now_ms + delay_ms)
                return [
                    _logged(finished, attempt, "retry", status, f"{problem}; next try in {delay}", now_ms),
                    Outgoing(JOBS_FINISHED_RETRY[delay], finished.job, finished, again),
                ]


def _logged(
    finished: JobFinished, attempt: int, outcome: core.Outcome, status: int, error: str, at_ms: int
) -> Outgoing:
    log.info("webhook of %s, try %d: %s%s", finished.job, attempt, outcome, f": {error}" if error else "")
    delivery = WebhookDelivery(
        id=core.message_id(finished.job),
        job=finished.job,
        attempt=attempt,
        outcome=outcome,
        status=status,
        error=error,
        at_ms=at_ms,
    )
    return Outgoing(NOTIFY_LOG, finished.job, delivery)


def due_ms(record: Incoming) -> int:
    """Moment before which a retry record must wait."""
    return due_at_ms(dict(record.headers))


def wall_clock_ms() -> int:
    """Now, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def main(settings: Settings) -> None:
    """Run the stage until it is told to stop."""
    signer = load_signer(Path(settings.webhook_secret_file)) if settings.webhook_secret_file else None
    fetcher = Fetcher(allow_private=settings.webhook_allow_private)
    notifier = Notifier(signer, fetcher, wall_clock_ms)
    topics = [JOBS_FINISHED, *JOBS_FINISHED_RETRY.values()]
    run(settings, "notify", topics, notifier, due_ms=due_ms, give_up=notifier.give_up)
