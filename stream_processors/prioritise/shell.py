"""prioritise on Faust: read a drafted plan, place it, pass it on."""

import logging
from collections.abc import Callable, Mapping, Sequence

from ops import limits as limits_file
from ops import registry
from ops.bus import faust_app
from ops.bus.burial import Unusable, told
from ops.settings import Settings
from schemas.codec import decode
from schemas.errors import Fatal
from schemas.events import Reason
from schemas.limits import Limits
from schemas.plan import Plan
from schemas.records import Incoming, Outgoing
from schemas.registry import ModelEntry
from schemas.request import LANES, Lane
from schemas.topics import JOBS_EVENTS, PLANS_DRAFTED, PLANS_READY, POOLS
from stream_processors.prioritise.core import SOURCE, ended, failed, place

log = logging.getLogger(__name__)


def decide(
    lane: Lane, models: Mapping[str, ModelEntry], limits: Limits, local_pool: str
) -> Callable[[Incoming], Sequence[Outgoing]]:
    """The stage's step for one lane: a drafted plan to a plan that the scheduler can take."""

    def step(record: Incoming) -> Sequence[Outgoing]:
        plan = decode(Plan, record.value)
        model = models.get(plan.request.model)
        if model is None:
            log.warning("failed %s: model_unknown", plan.job)
            return (Outgoing(JOBS_EVENTS, plan.job, failed(plan, record.timestamp_ms)),)
        return (Outgoing(PLANS_READY[lane], plan.job, place(plan, model, limits, local_pool)),)

    return step


def give_up(record: Incoming, error: Unusable) -> Sequence[Outgoing]:
    """The end of the job whose plan becomes a dead letter."""
    plan = decode(Plan, record.value)
    reason = Reason(code="internal_error", message=told(SOURCE, error))
    return (Outgoing(JOBS_EVENTS, plan.job, ended(plan, reason, record.timestamp_ms)),)


def main(settings: Settings) -> None:
    """Run the stage until SIGTERM or SIGINT."""
    models = registry.load(settings.registry)
    for model in models.values():
        unknown = [pool for pool in model.pools if pool not in POOLS]
        if unknown or not model.pools:
            raise Fatal(f"model {model.name}: pools {list(model.pools)}; give at least one of {', '.join(POOLS)}")
    limits = limits_file.load(settings.limits)
    app = faust_app.build_app(settings, SOURCE)
    for lane in LANES:
        step = decide(lane, models, limits, settings.pool)
        faust_app.attach(app, settings, SOURCE, PLANS_DRAFTED[lane], step, give_up)
    faust_app.run(app)
