"""intake at work: read a cleared job, take its pictures, pass the job on."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ops import registry
from ops.bus.burial import Unusable, told
from ops.bus.pulse import beat
from ops.bus.worker import run
from ops.net.dialling import NoAnswer
from ops.net.sources import Sources, parse_places
from ops.settings import Settings
from ops.storage.open import open_store
from ops.storage.presigning import presigner
from schemas.codec import decode
from schemas.errors import JobRejected
from schemas.plan import ClearedJob
from schemas.records import Incoming, Outgoing
from schemas.registry import ModelEntry
from schemas.retries import due_at_ms, retry_headers
from schemas.topics import INPUTS_REQUESTED, INPUTS_RETRY, JOBS_CLEARED, JOBS_EVENTS, RETRY_DELAYS
from stream_processors.intake import core
from stream_processors.intake.pictures import Pictures

log = logging.getLogger(__name__)


class Intake:
    """The stage's handler; call it with a record of inputs.requested.<lane> or of a retry topic."""

    def __init__(self, pictures: Pictures, models: Mapping[str, ModelEntry], now_ms: Callable[[], int]) -> None:
        self._pictures, self._models, self._now_ms = pictures, models, now_ms

    def __call__(self, record: Incoming) -> Sequence[Outgoing]:
        cleared = decode(ClearedJob, record.value)
        attempt = core.attempt_of(dict(record.headers))
        made = []
        try:
            shape = core.shape_for(cleared, self._models)
            for picture in core.wanted(cleared):
                beat()
                try:
                    made.append(self._pictures.take(picture, cleared.request.tenant, shape))
                except NoAnswer as exc:
                    if attempt < core.MAX_ATTEMPTS:
                        return [self._again(cleared, attempt, str(exc))]
                    raise core.no_answer(picture, str(exc)) from None
        except JobRejected as refusal:
            log.info("rejected %s: %s %s", cleared.job, refusal.code, refusal.field)
            event = core.refused(cleared, refusal, self._now_ms())
            return [Outgoing(JOBS_EVENTS, cleared.job, event)]
        ready = core.with_inputs(cleared, tuple(made))
        return [Outgoing(JOBS_CLEARED[cleared.request.lane], cleared.job, ready)]

    def _again(self, cleared: ClearedJob, attempt: int, why: str) -> Outgoing:
        delay, delay_ms = list(RETRY_DELAYS.items())[attempt - 1]
        log.info("%s: no file yet (%s); try %d in %s", cleared.job, why, attempt + 1, delay)
        headers = retry_headers(attempt + 1, self._now_ms() + delay_ms)
        return Outgoing(INPUTS_RETRY[delay], cleared.job, cleared, headers)


def give_up(record: Incoming, error: Unusable) -> Sequence[Outgoing]:
    """The end of the job whose record becomes a dead letter."""
    cleared = decode(ClearedJob, record.value)
    return (Outgoing(JOBS_EVENTS, cleared.job, core.failed(cleared, told(core.SOURCE, error), record.timestamp_ms)),)


def due_ms(record: Incoming) -> int:
    """Moment before which a retry record must wait."""
    return due_at_ms(dict(record.headers))


def wall_clock_ms() -> int:
    """Now, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def main(settings: Settings) -> None:
    """Run the stage until it is told to stop."""
    scratch = Path(settings.data_dir) / "intake"
    scratch.mkdir(parents=True, exist_ok=True)
    sources = Sources(parse_places(settings.input_buckets), settings.input_allow_private)
    pictures = Pictures(open_store(settings), sources, presigner(settings.s3_endpoint_url), scratch)
    handler = Intake(pictures, registry.load(settings.registry), wall_clock_ms)
    topics = [*INPUTS_REQUESTED.values(), *INPUTS_RETRY.values()]
    run(settings, core.SOURCE, topics, handler, due_ms=due_ms, give_up=give_up)
