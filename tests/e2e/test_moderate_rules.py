"""Rules of tenants on a real broker: they hold in a moderate process that runs, and in one that starts after them."""

import time

import pytest
from typer.testing import CliRunner

from ops.cli.app import app
from ops.prompt_rules import all_rules
from ops.settings import Settings
from schemas.codec import decode
from schemas.events import JobEvent
from schemas.topics import JOBS_CLEARED, JOBS_CONTROL, JOBS_EVENTS, JOBS_REQUESTED, ORDERS_REQUESTED, TENANTS_PROMPTS
from tests.conftest import MakeSettings
from tests.e2e.reading import read_all
from tests.e2e.test_faust_stages import body, publish, running, until

pytestmark = pytest.mark.kafka

TOPICS = (
    *JOBS_REQUESTED.values(), *JOBS_CLEARED.values(), JOBS_EVENTS, JOBS_CONTROL, ORDERS_REQUESTED, TENANTS_PROMPTS,
)  # fmt: skip


def _verdicts(settings: Settings) -> dict[str, JobEvent]:
    return {event.job: event for r in read_all(settings, JOBS_EVENTS) if (event := decode(JobEvent, r.value))}


def _ask(settings: Settings, name: str, prompt: str) -> JobEvent:
    shots = [{"prompt": prompt, "duration_s": 1}]
    publish(settings, JOBS_REQUESTED["standard"], [(name.encode(), body(name, tenant="acme", shots=shots), [])])
    until(lambda: f"acme/{name}" in _verdicts(settings), name)
    return _verdicts(settings)[f"acme/{name}"]


def test_rules_hold_at_once_and_in_the_next_process(make_settings: MakeSettings) -> None:
    settings = make_settings(topics=TOPICS)
    place, run = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix], CliRunner()
    with running(settings, "moderate"):
        assert _ask(settings, "before", "a rival brand on a poster").type == "job.accepted"
        assert _ask(settings, "meant", "the landlord attacks a waiter with a knife in a cellar").type == "job.rejected"
        publish(settings, TENANTS_PROMPTS, [(b"acme", b"\x00junk", [])])
        done = run.invoke(app, [*place, "moderation", "set", "acme", "--term", "rival brand", "--category", "hate=low"])
        assert done.exit_code == 0, done.output
        deadline, number = time.monotonic() + 60, 0
        while (event := _ask(settings, f"after-{number}", "a rival brand on a poster")).type == "job.accepted":
            assert time.monotonic() < deadline, "the rule was never taken in"
            number += 1
    with running(settings, "moderate"):
        event = _ask(settings, "next", "a r1val brand on a poster")
    assert event.reason is not None
    assert (event.reason.code, event.reason.field) == ("prompt_refused", "shots[0].prompt")
    assert event.reason.message.endswith("category tenant")
    assert event.prompts is not None
    assert f" acme@{all_rules(settings)['acme'].at_ms}" in event.prompts.policy
    assert "acme" in run.invoke(app, [*place, "moderation", "list"]).output
    wrong = run.invoke(app, [*place, "moderation", "set", "acme", "--category", "rudeness=low"])
    assert (wrong.exit_code, "rudeness" in wrong.output) == (2, True)
    assert run.invoke(app, [*place, "moderation", "set", "acme", "--term", "..."]).exit_code == 2
    assert run.invoke(app, [*place, "moderation", "unset", "acme"]).exit_code == 0
    assert all_rules(settings) == {}
