"""Whatever callers write as names, object keys are made of our own hashes: 10,000 tries (reliability.md, B9)."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.storage.store import check_key
from schemas.chunks import chunk_keys, chunk_specs, given_object_key
from schemas.errors import InvalidMessage, JobRejected
from schemas.ids import chunk_object_key, input_id, input_object_key, job_key, video_object_key
from schemas.plan import ChunkSpan, Plan, RenderSettings, ShotInput
from schemas.request import JobRequest, Output, Shot
from stream_processors.moderate.reading import read

OURS = re.compile(r"(chunks|inputs)/[0-9a-f]{16}/[0-9a-f]{64}\.mkv|videos/[0-9a-f]{32}/video\.mp4")
KEY = re.compile(r"[a-z0-9/_.-]{1,200}")
NASTY = (
    "../../etc/passwd", "..\\..\\x", "%2e%2e%2f", "a\0b", "CON", "nul.txt", "x" * 4096, "\u202egnp.exe", "😀", "ﬀ", "é",
    "a/b", "/", ".", "..", "~", "$(id)", "`id`", "';--", "{tenant}", "s3://x", "\r\nX: y", "\ufeff", "İ", "\u2028",
)  # fmt: skip
NAMES = st.text(max_size=60) | st.sampled_from(NASTY) | st.builds("".join, st.lists(st.sampled_from(NASTY), max_size=3))
RENDER = RenderSettings(
    model="m", model_revision="r", steps=1, guidance=1.0, width_px=64, height_px=64, clip_frames=17, given_frames=5
)


@settings(max_examples=10_000, deadline=None)
@given(NAMES, NAMES, NAMES)
def test_keys_are_ours_whatever_the_names_are(tenant: str, job_id: str, title: str) -> None:
    request = JobRequest(
        job_id=job_id, tenant=tenant, shots=(Shot(prompt=title, duration_s=1.0),), metadata={title: title},
        output=Output(fps=12), model=title, batch_id=title, reply_topic=title,
    )  # fmt: skip
    made = input_id(title, name=title)
    plan = Plan(
        job=job_key(tenant, job_id), request=request, fingerprint="f", requested_at_ms=1,
        chunks=(ChunkSpan(0, 0, 12, -1),), render=replace(RENDER, model=title), inputs=(ShotInput(0, made),),
    )  # fmt: skip
    keys = [*chunk_keys(plan), video_object_key(plan.job, "video.mp4"), input_object_key(tenant, made)]
    for key in keys:
        assert KEY.fullmatch(check_key(key))
        assert OURS.fullmatch(key)
    assert tenant == "" or not keys[0].startswith(chunk_object_key("", "x").rpartition("/")[0])


@pytest.mark.parametrize("field", ["job_id", "tenant"])
@pytest.mark.parametrize("name", NASTY)
def test_the_door_takes_none_of_them_as_an_id(field: str, name: str) -> None:
    value = json.dumps({"job_id": "a", "shots": [{"prompt": "x", "duration_s": 1}], field: name}).encode()
    if field == "job_id" and name in ("CON", "nul.txt"):
        assert read(value).job_id == name, "harmless: it enters keys as a hash"
        return
    with pytest.raises((JobRejected, InvalidMessage)):
        read(value)


def test_a_chunks_given_object_is_an_input_only_for_the_first_of_its_shot() -> None:
    request = JobRequest(job_id="a", shots=(Shot(prompt="x", duration_s=2.0),), output=Output(fps=12))
    spans = (ChunkSpan(0, 0, 12, -1), ChunkSpan(0, 12, 12, 0))
    plan = Plan(job="default/a", request=request, fingerprint="f", requested_at_ms=1, chunks=spans, render=RENDER)
    pictured = chunk_specs(replace(plan, inputs=(ShotInput(0, "e" * 64),)))
    assert given_object_key(pictured[0]) == input_object_key("default", "e" * 64)
    assert given_object_key(pictured[1]).startswith("chunks/")
    plain = chunk_specs(plan)
    assert [spec.given_frames for spec in plain] == [0, 5]
    assert [spec.given_frames for spec in pictured] == [5, 5]
