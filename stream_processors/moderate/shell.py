"""moderate on Faust: read a request, judge it, say so."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ops import limits, registry
from ops import tenants as tenants_file
from ops.bus import faust_app
from ops.bus.follow import follow
from ops.media.lettering import Lettering
from ops.net.sources import Sources, parse_places
from ops.prompt_policy.loading import load_policy
from ops.prompt_policy.own_rules import TenantsPrompts
from ops.settings import Settings
from schemas.records import Incoming, Outgoing
from schemas.request import LANES, Lane
from schemas.topics import (
    INPUTS_REQUESTED,
    JOBS_CLEARED,
    JOBS_CONTROL,
    JOBS_EVENTS,
    JOBS_REQUESTED,
    ORDERS_REQUESTED,
    TENANTS_PROMPTS,
)
from schemas.work import Command
from stream_processors.moderate import tenant_keys
from stream_processors.moderate.checks import Offer
from stream_processors.moderate.core import SOURCE, Rejected, Rules, judge, order
from stream_processors.moderate.identity import Tenants

log = logging.getLogger(__name__)


def load_rules(settings: Settings, *, semantic: bool = True) -> Rules:
    """The files that the settings name. Raises Fatal when one is missing or wrong.

    semantic: False leaves the model out, as those do who only ask what the stage would say
    """
    return Rules(load_offer(settings), load_policy(Path(settings.policy), semantic=semantic), load_tenants(settings))


def load_offer(settings: Settings) -> Offer:
    """What this installation can do. Raises Fatal when a file is missing or wrong."""
    return Offer(
        models=registry.load(settings.registry),
        limits=limits.load(settings.limits).jobs,
        webhooks=bool(settings.webhook_secret_file),
        sources=Sources(parse_places(settings.input_buckets), settings.input_allow_private),
        undrawable=Lettering(settings.label_font).undrawable,
    )


def load_tenants(settings: Settings) -> Tenants:
    """Who may send. Raises Fatal when the tenants file or a key in it is missing or wrong."""
    if not settings.tenants:
        return Tenants(settings.prefix)
    return tenant_keys.build(*tenants_file.load(settings.tenants), settings.prefix)


def decide(lane: Lane, rules: Rules) -> Callable[[Incoming], Sequence[Outgoing]]:
    """The stage's step for one lane: a request record to the records that answer it."""

    def step(record: Incoming) -> Sequence[Outgoing]:
        verdict = judge(record, lane, rules)
        event = Outgoing(JOBS_EVENTS, verdict.event.job, verdict.event)
        if isinstance(verdict, Rejected):
            reason = verdict.event.reason
            log.info("rejected %s: %s %s", verdict.event.job, reason and reason.code, reason and reason.field)
            return (event,)
        files = any(shot.first_keyframe is not None for shot in verdict.job.request.shots)
        onwards = INPUTS_REQUESTED[lane] if files else JOBS_CLEARED[lane]
        return event, Outgoing(onwards, verdict.job.job, verdict.job)

    return step


def command(tenants: Tenants) -> Callable[[Incoming], Sequence[Outgoing]]:
    """The step for orders: an order to the command that it becomes, or to the answer why it becomes none."""

    def step(record: Incoming) -> Sequence[Outgoing]:
        made = order(record, tenants)
        return (Outgoing(JOBS_CONTROL if isinstance(made, Command) else JOBS_EVENTS, made.job, made),)

    return step


def main(settings: Settings) -> None:
    """Run the stage until SIGTERM or SIGINT."""
    rules = load_rules(settings)
    prompts = TenantsPrompts(rules.policy.bounds)
    follow(settings, TENANTS_PROMPTS, prompts.put)
    rules = replace(rules, prompts=prompts)
    who = "any (open mode)" if rules.tenants.members is None else str(len(rules.tenants.members))
    log.info("policy %s, models %s, tenants %s", rules.policy.version, ", ".join(sorted(rules.offer.models)), who)
    app = faust_app.build_app(settings, SOURCE)
    for lane in LANES:
        faust_app.attach(app, settings, SOURCE, JOBS_REQUESTED[lane], decide(lane, rules))
    faust_app.attach(app, settings, SOURCE, ORDERS_REQUESTED, command(rules.tenants))
    faust_app.run(app)
