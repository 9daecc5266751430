"""split on Faust: read a cleared job, cut it, pass the plan on."""

import logging
from collections.abc import Callable, Mapping, Sequence

from ops import registry
from ops.bus import faust_app
from ops.bus.burial import Unusable, told
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import JobRejected
from schemas.events import Reason
from schemas.plan import ClearedJob
from schemas.records import Incoming, Outgoing
from schemas.registry import ModelEntry
from schemas.request import LANES, Lane
from schemas.topics import JOBS_CLEARED, JOBS_EVENTS, PLANS_DRAFTED
from stream_processors.split.core import SOURCE, failed, planned, split

log = logging.getLogger(__name__)


def decide(lane: Lane, models: Mapping[str, ModelEntry]) -> Callable[[Incoming], Sequence[Outgoing]]:
    """The stage's step for one lane: a cleared job to its plan."""

    def step(record: Incoming) -> Sequence[Outgoing]:
        cleared = decode(ClearedJob, record.value)
        name = cleared.request.model
        try:
            if name not in models:
                raise JobRejected("model_unknown", f"model: {name} has left the model registry", "model")
            plan = split(cleared, models[name])
        except JobRejected as refusal:
            log.warning("failed %s: %s", cleared.job, refusal.code)
            reason = Reason(code=refusal.code, message=refusal.message, field=refusal.field)
            event = failed(cleared, reason, record.timestamp_ms)
            return (Outgoing(JOBS_EVENTS, cleared.job, event),)
        event = planned(plan, record.timestamp_ms)
        return Outgoing(JOBS_EVENTS, plan.job, event), Outgoing(PLANS_DRAFTED[lane], plan.job, plan)

    return step


def give_up(record: Incoming, error: Unusable) -> Sequence[Outgoing]:
    """The end of the job whose record becomes a dead letter."""
    cleared = decode(ClearedJob, record.value)
    reason = Reason(code="internal_error", message=told(SOURCE, error))
    return (Outgoing(JOBS_EVENTS, cleared.job, failed(cleared, reason, record.timestamp_ms)),)


def main(settings: Settings) -> None:
    """Run the stage until SIGTERM or SIGINT."""
    models = registry.load(settings.registry)
    app = faust_app.build_app(settings, SOURCE)
    for lane in LANES:
        faust_app.attach(app, settings, SOURCE, JOBS_CLEARED[lane], decide(lane, models), give_up)
    faust_app.run(app)
