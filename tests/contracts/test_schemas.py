"""Records are refused by name, and the topic table is sound. (Golden examples: test_examples.py.)"""

import re

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from schemas import codec, ids, topics
from schemas.errors import InvalidMessage
from schemas.request import JobRequest


def test_topic_names_follow_the_rule_and_are_unique():
    names = [topic.name("reelbus") for topic in topics.LIVE_TOPICS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"reelbus(\.[a-z0-9-]+)+\.v1", name) for name in names)
    assert all(topics.DeadLetters(t).name("reelbus") == f"dlq.{t.name('reelbus')}" for t in topics.LIVE_TOPICS)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b'{"job_id":"a","shots":[{"prompt":"x","duration_s":-1}]}', "duration_s"),
        (b'{"job_id":"a","shots":[{"prompt":"x","duration_s":NaN}]}', "JSON"),
        (b'{"job_id":"a","shots":[{"prompt":"x","duration_s":1}],"style":"noir"}', "style"),
        (b'{"job_id":"a","shots":[]}', "shots"),
        (b'{"job_id":"a b","shots":[{"prompt":"x","duration_s":1}]}', "job_id"),
        (b'{"job_id":"a","shots":[{"prompt":"x","duration_s":1}],"output":{"width_px":16384}}', "width_px"),
        (b'{"job_id":"a","shots":[{"prompt":"x","duration_s":1}],"output":{"width_px":641}}', "width_px"),
        (b"\xff\x00\x01", "JSON"),
        (b"[" * 60000, "JobRequest"),
        (b'{"job_id":"' + b"a" * 70_000 + b'"}', "limit"),
        (None, "tombstone"),
    ],
)
def test_bad_requests_are_refused_by_name(raw, word):
    with pytest.raises(InvalidMessage, match=word):
        codec.decode(JobRequest, raw)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_not_crashed_on(raw):
    with pytest.raises(InvalidMessage):
        codec.decode(JobRequest, raw)


@given(st.text(max_size=50), st.text(max_size=200))
def test_object_keys_are_made_by_us_alone(tenant, name):
    for key in (ids.chunk_object_key(tenant, ids.chunk_id({"prompt": name})), ids.video_object_key(name, "video.mp4")):
        assert re.fullmatch(r"[a-z0-9/_.-]{1,200}", key)
        assert ".." not in key


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_ids_do_not_confuse_where_one_part_ends(a, b, c, d):
    assert (ids.event_id(a, b) == ids.event_id(c, d)) == ((a, b) == (c, d))


def test_records_are_immutable():
    request = codec.decode(JobRequest, b'{"job_id":"a","shots":[{"prompt":"x","duration_s":1}]}')
    with pytest.raises(AttributeError):
        request.lane = "bulk"
    assert msgspec.structs.fields(JobRequest)
