"""Bad records of every kind get the documented answer, at bounded cost, and mutated bytes crash nobody."""

import os
import random
import re
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode, encode
from schemas.errors import InvalidMessage
from schemas.ids import chunk_object_key, job_key, video_object_key
from schemas.topics import JOBS_REQUESTED, LIVE_TOPICS, Topic
from stream_processors.moderate.core import Cleared, judge
from tests.bad_input import table
from tests.bad_input.cases import CASES, Case
from tests.bad_input.mutations import mutated, seeds_of

RULES = {signed: table.rules(signed) for signed in (False, True)}
TOPICS = [topic for topic in LIVE_TOPICS if topic.record is not None]
MUTATIONS = int(os.environ.get("REELBUS_TEST_MUTATIONS", "20000"))
MIB = 2**20


def test_the_page_shows_what_is_answered() -> None:
    assert table.PAGE.read_text() == table.page(), "run make generated"


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}-{case.what}" for case in CASES])
def test_every_case_is_refused_and_memory_is_bounded(case: Case) -> None:
    """At most 50 MiB above the record itself, whatever the record says of its size."""
    table.answer(case, RULES[case.signed])
    tracemalloc.start()
    said = table.answer(case, RULES[case.signed])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bool(said.code) == case.names_job
    assert said.message.isprintable()
    assert peak < 50 * MIB + 2 * len(case.value or b"")


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_request_gets_an_answer_that_can_be_written(seed: int) -> None:
    """What is let through fits into the records of the stages after it."""
    rng = random.Random(seed)
    good = [raw for lane in JOBS_REQUESTED.values() for raw in seeds_of(lane)]
    for _ in range(MUTATIONS // 40):
        record = replace(CASES[0].record(), value=mutated(rng, rng.choice(good)), key=b"bad")
        try:
            verdict = judge(record, "standard", RULES[False])
        except InvalidMessage:
            continue
        encode(verdict.event)
        if isinstance(verdict, Cleared):
            encode(verdict.job)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.entity)
def test_mutated_records_are_understood_or_refused(topic: Topic) -> None:
    """Cut, bit-flipped, spliced and random bytes on every topic: InvalidMessage or a record, never anything else."""
    assert topic.record is not None
    rng = random.Random(topic.entity)
    good = seeds_of(topic)
    refused = 0
    for _ in range(MUTATIONS // len(TOPICS)):
        raw = mutated(rng, rng.choice(good))
        try:
            record = decode(topic.record, raw)
        except InvalidMessage:
            refused += 1
        else:
            encode(record)
    assert refused > 0


KEYS = re.compile(r"^[a-z0-9/_.-]{1,200}\Z")


@given(st.text(max_size=300), st.text(max_size=300))
def test_object_keys_are_made_of_ids_of_ours(tenant: str, job_id: str) -> None:
    """Whatever the names are, also such as no request could carry."""
    surrogates = any(0xD800 <= ord(c) <= 0xDFFF for c in tenant + job_id)
    if surrogates:
        return
    for key in (video_object_key(job_key(tenant, job_id), "video.mp4"), chunk_object_key(tenant, "0" * 64)):
        assert KEYS.match(key)
        assert ".." not in key
        assert "//" not in key
