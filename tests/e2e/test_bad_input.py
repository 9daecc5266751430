"""The cases of docs/reference/bad-input.md through the running stage on the real broker."""

import base64
import time
from pathlib import Path

import pytest

from ops.settings import Settings
from producers.client.signing import Signer
from schemas.codec import decode
from schemas.events import JobEvent
from schemas.records import Headers
from schemas.topics import (
    JOBS_CLEARED,
    JOBS_CONTROL,
    JOBS_EVENTS,
    JOBS_REQUESTED,
    ORDERS_REQUESTED,
    TENANTS_PROMPTS,
    DeadLetters,
)
from tests.bad_input.cases import CASES, TENANT, Case, text, unproven
from tests.bad_input.table import TENANTS, answer, rules
from tests.conftest import MakeSettings
from tests.e2e.reading import read_all
from tests.e2e.test_faust_stages import jobs, publish, running, until

pytestmark = pytest.mark.kafka

REQUESTED = JOBS_REQUESTED["standard"]
TOPICS = (
    *JOBS_REQUESTED.values(),
    *JOBS_CLEARED.values(),
    JOBS_EVENTS,
    JOBS_CONTROL,
    ORDERS_REQUESTED,
    TENANTS_PROMPTS,
)
BROKER_TAKES_BYTES = 1_000_000


def answered(
    settings: Settings, cases: list[Case], good: tuple[bytes, Headers]
) -> tuple[dict[int, JobEvent], list[int]]:
    """Send the cases and a good record behind them; what was said to which, and which became dead letters.

    A case is known again by its ce_id, which rejections give back and dead letters keep.
    """
    records = [(c.key, c.value, [("ce_id", str(n).encode()), *c.headers]) for n, c in enumerate(cases)]
    with running(settings, "moderate"):
        publish(settings, REQUESTED, [*records, (b"good", good[0], list(good[1]))])
        until(lambda: jobs(read_all(settings, JOBS_CLEARED["standard"])) == {"default/good"}, "the good job")
    events = [decode(JobEvent, record.value) for record in read_all(settings, JOBS_EVENTS)]
    said = {int(e.origin.ce_id): e for e in events if e.type == "job.rejected"}
    letters = [int(dict(letter.headers)["ce_id"]) for letter in read_all(settings, DeadLetters(REQUESTED))]
    return said, letters


def test_every_unsigned_case_gets_the_documented_answer(make_settings: MakeSettings) -> None:
    settings = make_settings(topics=TOPICS, prefix="reelbus")
    cases = [c for c in CASES if not c.signed and len(c.value or b"") < BROKER_TAKES_BYTES]
    said, letters = answered(settings, cases, (text(job_id="good"), ()))
    expected = [answer(case, rules(signed=False)) for case in cases]
    assert letters == [n for n, answer in enumerate(expected) if not answer.code]
    reasons = {n: (e.reason.code, e.reason.field, e.reason.message) for n, e in said.items() if e.reason}
    assert reasons == {n: (a.code, a.field, a.message) for n, a in enumerate(expected) if a.code}


def test_nobody_is_taken_for_a_tenant_without_proof(make_settings: MakeSettings, tmp_path: Path) -> None:
    secret = base64.b64encode(b"s" * 32).decode()
    (tmp_path / "k").write_text(f"hmac:{secret}\n")
    (tmp_path / "tenants.toml").write_text(TENANTS)
    settings = make_settings(topics=TOPICS, tenants=str(tmp_path / "tenants.toml"))
    topic = REQUESTED.name(settings.prefix)
    cases = list(unproven(settings.prefix, time.time_ns() // 1_000_000))
    value = text(job_id="good")
    signed = Signer.from_file(tmp_path / "k").sign(topic, TENANT, "good", value)
    said, letters = answered(settings, cases, (value, (signed,)))
    assert said == {}
    assert letters == list(range(len(cases)))
    codes = [dict(r.headers)["reelbus.error.code"].decode() for r in read_all(settings, DeadLetters(REQUESTED))]
    assert set(codes) >= {
        "signature_missing",
        "signature_wrong",
        "signature_stale",
        "signature_early",
        "tenant_unknown",
    }
