"""moderate on Faust: read a request, judge it, say so."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ops import limits, registry
from ops.bus import faust_app
from ops.settings import Settings
from schemas.errors import Fatal
from schemas.events import LANES, Lane
from schemas.records import Incoming, Outgoing
from schemas.topics import JOBS_CLEARED, JOBS_EVENTS, JOBS_REQUESTED
from stream_processors.moderate import policy
from stream_processors.moderate.checks import Offer
from stream_processors.moderate.core import SOURCE, Rejected, Rules, judge

log = logging.getLogger(__name__)


def load_rules(settings: Settings) -> Rules:
    """The files that the settings name. Raises Fatal when one is missing or wrong."""
    try:
        compiled = policy.parse(Path(settings.policy).read_text())
    except (OSError, UnicodeDecodeError) as exc:
        raise Fatal(f"cannot read prompt policy {settings.policy}: {exc}") from None
    offer = Offer(
        models=registry.load(settings.registry),
        limits=limits.load(settings.limits).jobs,
        webhooks=bool(settings.webhook_secret_file),
    )
    return Rules(offer, compiled)


def decide(lane: Lane, rules: Rules) -> Callable[[Incoming], Sequence[Outgoing]]:
    """The stage's step for one lane: a request record to the records that answer it."""

    def step(record: Incoming) -> Sequence[Outgoing]:
        verdict = judge(record.value, record.key, lane, record.timestamp_ms, rules)
        event = Outgoing(JOBS_EVENTS, verdict.event.job, verdict.event)
        if isinstance(verdict, Rejected):
            reason = verdict.event.reason
            log.info("rejected %s: %s %s", verdict.event.job, reason and reason.code, reason and reason.field)
            return (event,)
        return event, Outgoing(JOBS_CLEARED[lane], verdict.job.job, verdict.job)

    return step


def main(settings: Settings) -> None:
    """Run the stage until SIGTERM or SIGINT."""
    rules = load_rules(settings)
    log.info("policy %s, models %s", rules.policy.version, ", ".join(sorted(rules.offer.models)))
    app = faust_app.build_app(settings, SOURCE)
    for lane in LANES:
        faust_app.attach(app, settings, SOURCE, JOBS_REQUESTED[lane], decide(lane, rules))
    faust_app.run(app)
