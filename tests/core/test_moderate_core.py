"""The judgement of request records: what is refused, with which words, and who is told."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.prompt_policy.loading import load_policy
from ops.schemas_admin import SCHEMAS
from ops.settings import Settings
from schemas import availability
from schemas import limits as limits_schema
from schemas.codec import MAX_RECORD_BYTES, decode, encode
from schemas.errors import Fatal, InvalidMessage
from schemas.events import JobEvent, Reason
from schemas.ids import fingerprint
from schemas.plan import ClearedJob
from schemas.records import Headers, Incoming
from schemas.registry import ModelEntry
from schemas.request import JobOrder, JobRequest, Shot
from schemas.work import Command
from stream_processors.moderate.checks import Offer
from stream_processors.moderate.core import Cleared, Rejected, Rules, judge, order
from stream_processors.moderate.identity import Member, Tenants
from stream_processors.moderate.reading import RIGHT
from stream_processors.moderate.shell import decide

NOW_MS = 1_800_000_000_000
LIMITS_TEXT = Path(Settings().limits).read_text()
LIMITS = limits_schema.parse(LIMITS_TEXT)
MODEL = ModelEntry(
    name="shapes",
    family="ltx",
    source="shapes",
    revision="r1",
    pools=("cpu",),
    clip_frames=17,
    given_frames=5,
    sizes=((64, 64),),
    fps_min=1,
    fps_max=60,
    steps=8,
    guidance=2.0,
    chunk_cost_s=0.4,
)
TEXT_ONLY = msgspec.structs.replace(MODEL, name="text-only", given_frames=0, fps_min=16, fps_max=16, clip_frames=81)
OFFER = Offer({m.name: m for m in (MODEL, TEXT_ONLY)}, LIMITS.jobs, webhooks=True)
RULES = Rules(OFFER, load_policy(Path(Settings().policy), semantic=False), Tenants("reelbus"))
SHOT = {"prompt": "a red ball moving right on a black background", "duration_s": 1}


def request(**changes: Any) -> dict[str, Any]:
    return {"job_id": "job-1", "shots": [SHOT], **changes}


def shot(**changes: Any) -> dict[str, Any]:
    return request(shots=[{**SHOT, **changes}])


def shots(*durations_s: float, **changes: Any) -> dict[str, Any]:
    return request(shots=[{**SHOT, "duration_s": d} for d in durations_s], **changes)


def record(value: bytes | None, key: bytes | None = b"job-1", headers: Headers = ()) -> Incoming:
    return Incoming("reelbus.jobs.requested.standard.v1", 0, 7, key, value, headers, NOW_MS)


def judged(value: Any, key: bytes | None = b"job-1", rules: Rules = RULES, headers: Headers = ()) -> Cleared | Rejected:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return judge(record(raw, key, headers), "standard", rules)


def refused(value: Any, key: bytes | None = b"job-1", rules: Rules = RULES) -> tuple[str, str, str]:
    """(code, field, message) of the refusal of a job that is known by name."""
    verdict = judged(value, key, rules)
    assert isinstance(verdict, Rejected)
    event = verdict.event
    assert event.type == "job.rejected"
    assert event.job == "default/job-1"
    assert event.lane == "standard"
    assert event.requested_at_ms == NOW_MS
    assert decode(JobEvent, encode(event)) == event
    assert event.reason is not None
    return event.reason.code, event.reason.field, event.reason.message


def answer(raw: bytes, key: bytes | None) -> Reason:
    """What the sender, or the reader of the dead letter, is told; an empty code stands for a cleared job."""
    try:
        verdict = judge(record(raw, key), "standard", RULES)
    except InvalidMessage as exc:
        return Reason(code="dead_letter", message=str(exc))
    encode(verdict.event)
    return verdict.event.reason or Reason(code="", message="cleared")


def test_a_good_request_is_cleared() -> None:
    body = request(
        tenant="acme",
        lane="standard",
        metadata={"title": "demo\nline", "owner": "Zoë"},
        webhook={"url": "https://example.org/hook?x=1"},
        deadline_ms=NOW_MS + 1,
    )
    verdict = judged(body)
    assert isinstance(verdict, Cleared)
    assert verdict.job.job == verdict.event.job == "acme/job-1"
    assert verdict.job.fingerprint == fingerprint(verdict.job.request)
    assert verdict.job.requested_at_ms == NOW_MS
    assert verdict.event.type == "job.accepted"
    assert verdict.event.metadata == body["metadata"]
    assert verdict.event.webhook is not None
    assert decode(ClearedJob, encode(verdict.job)) == verdict.job


MESSAGES = [
    # What is not of the right shape: the field, what was found, what would be right.
    (shot(duration_s=-1), "shots[0].duration_s",
     "shots[0].duration_s: found -1; expected a number above 0 and at most 600"),
    (shot(duration_s=0), "shots[0].duration_s",
     "shots[0].duration_s: found 0; expected a number above 0 and at most 600"),
    (shot(duration_s="1"), "shots[0].duration_s",
     'shots[0].duration_s: found "1"; expected a number above 0 and at most 600'),
    (shot(prompt=""), "shots[0].prompt",
     "shots[0].prompt: found text of 0 characters; expected text of 1 to 2000 characters"),
    (shot(prompt="x" * 2001), "shots[0].prompt",
     "shots[0].prompt: found text of 2001 characters; expected text of 1 to 2000 characters"),
    (shot(seed=1.5), "shots[0].seed", "shots[0].seed: found 1.5; expected a whole number from 0 to 2147483647"),
    (shot(seed=2**70), "shots[0].seed",
     f"shots[0].seed: found {2**70}; expected a whole number from 0 to 2147483647"),
    (shot(colour="red"), "shots[0].colour",
     'shots[0]: unknown field "colour"; known are prompt, duration_s, negative_prompt, seed, continuity, '
     "model, style, guidance, steps, reference_images, source_video, source_strength, first_keyframe, last_keyframe, "
     "controls, background, trim, chunk_seeds"),
    (request(shot=[SHOT]), "shot", 'the request: unknown field "shot"; did you mean shots?'),
    (request(shots=[]), "shots", "shots: found a list of 0 entries; expected a list of 1 to 50 entries"),
    (request(shots=[{"duration_s": 1}]), "shots[0].prompt",
     "shots[0].prompt: missing; expected text of 1 to 2000 characters"),
    (request(lane="vip"), "lane", 'lane: found "vip"; expected one of bulk, express, standard'),
    (request(lane=1), "lane", "lane: found 1; expected one of bulk, express, standard"),
    (request(output={"width_px": 16000, "height_px": 16000}), "output.width_px",
     "output.width_px: found 16000; expected a whole number from 64 to 4096, a multiple of 2"),
    (request(output={"width_px": 65}), "output.width_px",
     "output.width_px: found 65; expected a whole number from 64 to 4096, a multiple of 2"),
    (request(output=None), "output",
     "output: found null; expected an object with the fields width_px, height_px, fps, fit, container, codec, "
     "bitrate_kbps, quality"),
    (request(subtitles={"burned_in": "yes"}), "subtitles.burned_in",
     'subtitles.burned_in: found "yes"; expected true or false'),
    (request(label={"profile": "eu", "position": "middle"}), "label.position",
     'label.position: found "middle"; expected one of "", bottom-left, bottom-right, top-left, top-right'),
    (request(metadata={"a": 1}), "metadata",
     "metadata: an entry is not text; expected an object of at most 32 entries, each of them text"),
    (request(webhook={"url": "ftp://example.org"}), "webhook.url",
     "webhook.url: found text of 17 characters; expected an address that starts with https:// or http://"),
    (shot(duration_s=1_000_000), "shots[0].duration_s",
     "shots[0].duration_s: found 1000000; expected a number above 0 and at most 600"),
    # What cannot be done here.
    (request(model="sora"), "model", 'model: unknown model "sora"; known are shapes, text-only'),
    (request(model="text-only"), "output.fps",
     "output.fps: found 24; model text-only makes 16 frames per second"),
    (request(output={"width_px": 4096, "height_px": 4096}), "output",
     "output: 4096 x 4096 is 16777216 pixels; the limit is 8847360"),
    (request(lane="bulk"), "lane",
     "lane: found bulk, but the record is on the topic of lane standard; send it to jobs.requested.bulk or change the "
     "field"),
    (shot(duration_s=600), "shots[0].duration_s",
     "shots[0].duration_s: 600 s is 14400 frames; the limit is 7200 frames (300 s at 24 fps)"),
    (shots(200, 200), "shots", "shots: 9600 frames in all; the limit is 7200 frames (300 s at 24 fps)"),
    (shots(290), "shots",
     "shots: 6960 frames are 580 chunks of model shapes; the limit is 400; make the video shorter or fps lower"),
    (request(model="text-only", output={"fps": 16}, shots=[{**SHOT, "duration_s": 10}]), "shots[0].continuity",
     'shots[0].continuity: model text-only cannot continue a clip; say "independent", or make the shot at most 5.0625 '
     "s (81 frames)"),
    (shot(prompt=" \n\t "), "shots[0].prompt", "shots[0].prompt: has no visible character; say what the shot shows"),
    (shot(prompt="\u200b\u2060"), "shots[0].prompt",
     "shots[0].prompt: has no visible character; say what the shot shows"),
    (shot(prompt="a\u0000b"), "shots[0].prompt", "shots[0].prompt: holds the control character U+0000; remove it"),
    (shot(negative_prompt="\u001b[2J"), "shots[0].negative_prompt",
     "shots[0].negative_prompt: holds the control character U+001B; remove it"),
    (request(shots=[{**SHOT, "prompt": "ab " * 600}] * 10), "shots",
     "shots: prompts of 18000 bytes in all; the limit is 16384"),
    (request(metadata={"a": "é" * 2100}), "metadata", "metadata: 4201 bytes in all; the limit is 4096"),
    (request(metadata={"a": "\u0007"}), "metadata", "metadata: holds the control character U+0007; remove it"),
    (request(shots=[{**SHOT, "prompt": '"' * 1990}] * 8, metadata={"a": '"' * 4000}), "",
     "the request: 40136 bytes of JSON; the limit is 24576"),
    (shots(1, 1, transitions=[{"after": 1, "duration_s": 0.5}]), "transitions[0].after",
     "transitions[0].after: found 1, but no shot follows shots[1]; there are 2 shots, so it is 0 to 0"),
    (shots(1, transitions=[{"after": 0, "duration_s": 0.5}]), "transitions[0].after",
     "transitions[0].after: found 0, but no shot follows shots[0]; there is only one shot"),
    (shots(1, 1, transitions=[{"after": 0, "duration_s": 0.2}] * 2), "transitions[1].after",
     "transitions[1].after: found 0, which transitions[0] has already"),
    (shots(3, 1, transitions=[{"after": 0, "duration_s": 2}]), "transitions[0].duration_s",
     "transitions[0].duration_s: 2 s is 48 frames, but shots[1] has 24 frames, 24 of them free for it; transitions may "
     "not overlap"),
    (shots(3, 1, 3, transitions=[{"after": 0, "duration_s": 0.5}, {"after": 1, "duration_s": 0.75}]),
     "transitions[1].duration_s",
     "transitions[1].duration_s: 0.75 s is 18 frames, but shots[1] has 24 frames, 12 of them free for it; transitions "
     "may not overlap"),
    (request(deadline_ms=NOW_MS), "deadline_ms",
     f"deadline_ms: {NOW_MS} is not after the moment of the request, {NOW_MS} (ms since 1970, UTC); give a later one "
     "or leave it out"),
    (request(webhook={"url": "https://user:pw@example.org/"}), "webhook.url",
     "webhook.url: carries a user name or password; leave them out, webhooks are signed"),
    (request(webhook={"url": "https:///path"}), "webhook.url",
     "webhook.url: has no valid host; expected https://host/path"),
    (request(webhook={"url": "https://example.org:99999/"}), "webhook.url",
     "webhook.url: cannot be understood as an address"),
    (request(webhook={"url": "https://exa\nmple.org"}), "webhook.url",
     "webhook.url: has no valid host; expected https://host/path"),
    (shot(prompt="a n.u.d.e statue"), "shots[0].prompt",
     "shots[0].prompt: the text is refused by the content policy, category sexual"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "message"), MESSAGES, ids=[f"{i}-{m[1]}" for i, m in enumerate(MESSAGES)])
def test_a_refusal_names_the_field_and_what_is_right(body: dict[str, Any], field: str, message: str) -> None:
    assert refused(body)[1:] == (field, message)


def test_codes_tell_programs_what_happened() -> None:
    assert refused(shot(prompt="nude"))[0] == "prompt_refused"
    assert refused(request(model="x"))[0] == "model_unknown"
    assert refused(request(deadline_ms=1))[0] == "deadline_passed"
    assert refused(shots(290))[0] == "limit_exceeded"
    assert refused(shot(prompt=""))[0] == "invalid_request"
    assert refused(request(lane="bulk"))[0] == "lane_mismatch"


def test_the_prompt_is_never_repeated() -> None:
    for body in (shot(prompt="nude secretword"), shot(prompt="secretword" * 300), shot(prompt=["secretword"])):
        assert "secretword" not in refused(body)[2]


def test_the_key_must_be_the_job_id() -> None:
    assert refused(request(), key=None) == (
        "invalid_key", "key", 'key: missing; the record key must be the job_id, "job-1"'
    )  # fmt: skip
    assert refused(request(), key=b"job\n\xff")[2] == (
        'key: found "job\\n\\ufffd"; the record key must be the job_id, "job-1"'
    )


def test_webhooks_need_a_secret() -> None:
    silent = Rules(Offer(OFFER.models, OFFER.limits, webhooks=False), RULES.policy, RULES.tenants)
    code, field, message = refused(request(webhook={"url": "https://example.org/"}), rules=silent)
    assert (code, field) == ("webhook_unavailable", "webhook")
    assert "webhook_secret_file" in message
    assert isinstance(judged(request(), rules=silent), Cleared)


PICTURE = {"uri": "https://media.example.com/cat.png"}


def test_a_picture_goes_by_way_of_intake() -> None:
    step = decide("standard", RULES)
    for body, topic in ((shot(first_keyframe=PICTURE), "inputs.requested.standard"), (shot(), "jobs.cleared.standard")):
        value = json.dumps(body).encode()
        out = step(Incoming("reelbus.jobs.requested.standard.v1", 0, 0, b"job-1", value, (), NOW_MS))
        assert [each.topic.entity for each in out] == ["jobs.events", topic]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("https://10.0.0.1/cat.png", "is private"),
        ("https://[::ffff:169.254.169.254]/", "not global unicast"),
        ("https://me:secretword@media.example.com/", "user name or password"),
        ("s3://bucket/cat.png", "input_buckets"),
    ],
)
def test_a_pictures_address_is_judged_at_the_door(uri: str, words: str) -> None:
    code, field, message = refused(shot(first_keyframe={"uri": uri}))
    assert (code, field) == ("input_refused", "shots[0].first_keyframe.uri")
    assert words in message
    assert "secretword" not in message


def test_a_model_that_cannot_continue_takes_no_picture() -> None:
    body = shot(first_keyframe=PICTURE) | {"model": "text-only", "output": {"fps": 16}}
    code, field, message = refused(body)
    assert (code, field) == ("invalid_request", "shots[0].first_keyframe")
    assert "text-only" in message


def test_an_answer_carries_what_can_be_answered() -> None:
    kept = judged(request(model="x", metadata={"a": "b"}, webhook={"url": "https://example.org/"})).event
    assert kept.metadata == {"a": "b"}
    assert kept.webhook is not None
    dropped = judged(request(metadata={"a": "x" * 5000}, webhook={"url": "https://u:p@example.org/"})).event
    assert dropped.metadata == {}
    assert judged(request(webhook={"url": "https://u:p@example.org/"})).event.webhook is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [({"a": "b"}, {"a": "b"}), ({"a": 1}, {}), ({"a": "\ud800"}, {}), ({"a": "x" * 5000}, {}), ([1], {})],
)
def test_metadata_come_back_also_when_another_field_is_wrong(given: object, kept: dict[str, str]) -> None:
    event = judged(request(shots=7, metadata=given)).event
    assert event.metadata == kept
    assert decode(JobEvent, encode(event)) == event


NAMED_ANYWAY = [
    (b'{"job_id": "job-1", "shots": [{"prompt": "x", "duration_s": NaN}]}', "shots[0].duration_s",
     "shots[0].duration_s: found NaN, which JSON does not allow; give a number"),
    (b'{"job_id": "job-1", "shots": [{"prompt": "x", "duration_s": -Infinity}]}', "shots[0].duration_s",
     "shots[0].duration_s: found a number out of range, which JSON does not allow; give a number"),
    (b'{"job_id": "job-1", "shots": [{"prompt": "x", "duration_s": 1e309}]}', "shots[0].duration_s",
     "shots[0].duration_s: found a number out of range; expected a number above 0 and at most 600"),
    (b'{"job_id": "job-1", "shots": [{"prompt": "\\ud800", "duration_s": 1}]}', "", None),
    (b'{"job_id": "job-1", "shots": [{"prompt": "\xff", "duration_s": 1}]}', "", None),
    (b'{"job_id": "job-1", "shots": [{"prompt": "' + b"x" * 500_000 + b'", "duration_s": 1}]}', "shots[0].prompt",
     "shots[0].prompt: found text of 500000 characters; expected text of 1 to 2000 characters"),
    (json.dumps(request()).encode() + b" " * MAX_RECORD_BYTES, "", None),
    (b'{"job_id": "job-1", "shots": ' + b"[" * 400 + b"]" * 400 + b"}", "shots[0]", None),
    (b'{"job_id": "job-1", "shots": [{"prompt": "x", "duration_s": 1, "seed": ' + b"9" * 5000 + b"}]}", "shots[0].seed",
     "shots[0].seed: found a number out of range; expected a whole number from 0 to 2147483647"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "field", "message"), NAMED_ANYWAY, ids=range(len(NAMED_ANYWAY)))
def test_a_job_that_can_be_named_gets_an_answer(raw: bytes, field: str, message: str | None) -> None:
    _, found_field, found_message = refused(raw)
    assert found_field == field
    if message is not None:
        assert found_message == message


def framed(schema_id: int, payload: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + payload


IDS = {int(number): entry["record"] for number, entry in json.loads((SCHEMAS / "ids.json").read_text()).items()}
ID, OTHER_ID = (max(n for n, name in IDS.items() if name == record) for record in ("JobRequest", "JobOrder"))
FRAMED = encode(JobRequest(job_id="job-1", shots=(Shot(**SHOT),)))
DEAD = [
    (None, "value: missing (a tombstone); " + RIGHT),
    (b"", "value: empty; " + RIGHT),
    (b"\x00\x00\x00", "not a valid JobRequest: a frame of 3 bytes; byte 0x00, four of id, payload"),
    (framed(2**32 - 1, b"abc"), f"schema id {2**32 - 1} is not known; known are 1 to {max(IDS)}"),
    (framed(OTHER_ID, b"abc"), f"not a JobRequest: schema id {OTHER_ID} is a JobOrder"),
    (FRAMED[:-1], f"not a valid JobRequest: the payload does not fit schema id {ID}: "),
    (FRAMED + b"\x00", "not a valid JobRequest: 1 bytes after the end of the payload"),
    (b'{"job_id": "job-1", "shots"', "value: not valid JSON: Input data was truncated"),
    (b'{"job_id": "job-1", "shot": 1, "shots": [', "value: not valid JSON: Input data was truncated"),
    (b'{"job_id": "job-1", "lane": "vip", oops}',
     "value: not valid JSON: object keys must be strings (byte 35)"),
    (b"\xfe\xfe\x00\x01", "value: not valid JSON: invalid character (byte 0); " + RIGHT),
    (b"[1]", "value: found a list of 1 entry; a job request is an object"),
    (b"null", "value: found null; a job request is an object"),
    (b"{}", "job_id: missing; expected a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)"),
    (b'{"job_id": "../x", "shots": []}',
     'job_id: found "../x"; expected a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)'),
    (b'{"job_id": 7}',
     "job_id: found 7; expected a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)"),
    (b'{"job_id": "a", "tenant": "A/B"}',
     'tenant: found "A/B"; expected 1 to 63 lower-case letters, digits and - (a letter or digit first)'),
    (b'{"job_id": "job-1\\n", "shots": [{"prompt": "x", "duration_s": 1}]}',
     'job_id: found "job-1\\n"; expected a name of 1 to 128 letters, digits and . _ : - (a letter or digit first)'),
    (b'{"job_id": "job-1", "shots": [{"prompt": "' + b"x" * 10_000_000 + b'", "duration_s": 1}]}',
     "value: the record has 10000063 bytes; the limit is 65536 (64 KiB)"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "message"), DEAD, ids=range(len(DEAD)))
def test_what_names_no_job_is_a_dead_letter(raw: bytes | None, message: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        judge(record(raw), "standard", RULES)
    assert str(caught.value).startswith(message)
    assert message.endswith(": ") or str(caught.value) == message


def test_deep_nesting_is_a_dead_letter_and_no_crash() -> None:
    for raw in (b"[" * 60_000, b'{"job_id": "job-1", "shots": ' * 3_000, b'{"a":' * 200_000):
        with pytest.raises(InvalidMessage):
            judge(record(raw, None), "standard", RULES)


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode), st.none() | st.binary(max_size=20))
def test_any_bytes_get_an_answer_or_a_reason(raw: bytes, key: bytes | None) -> None:
    encode(answer(raw, key), "json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("shots", "tenant", "lane", "model", "transitions", "output", "deadline_ms", "webhook", "metadata", "x")


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), st.dictionaries(st.text(max_size=12), JSON, max_size=3)
)
def test_any_fields_get_an_answer_that_fits_into_a_record(top: dict[str, Any], of_shot: dict[str, Any]) -> None:
    body = {"job_id": "job-1", "shots": [{**SHOT, **of_shot}], **top}
    reason = answer(json.dumps(body).encode(), b"job-1")
    encode(reason, "json")
    assert reason.message.isprintable()


NOT_YET = [
    (request(not_before_ms=NOW_MS + 1), "not_before_ms"),
    (request(music={"media": {"uri": "s3://bucket/song.flac"}}), "music"),
    (request(narration={"text": "Once upon a time"}), "narration"),
    (shot(style="anime"), "shots[0].style"),
    (shot(source_video={"uri": "s3://bucket/clip.mp4"}), "shots[0].source_video"),
    (shot(controls=[{"kind": "pose", "media": {"uri": "s3://bucket/pose.mp4"}}]), "shots[0].controls"),
    (shot(trim={"start_s": 0.5}), "shots[0].trim"),
    (request(output={"quality": 80}), "output.quality"),
    (request(output={"container": "hls"}), "output.container"),
    (request(output={"codec": "av1"}), "output.codec"),
    (shots(1, 1, transitions=[{"after": 0, "duration_s": 0.5, "kind": "wipe"}]), "transitions[0].kind"),
]


def test_a_label_that_does_not_say_ai_or_cannot_be_drawn_is_refused() -> None:
    silent = {"profile": "eu", "text": "Filmed on location"}
    assert refused(request(label=silent))[:2] == ("invalid_request", "label.text")
    offer = dataclasses.replace(OFFER, undrawable=lambda text, width_px, height_px: "too wide")
    drawing = Rules(offer, RULES.policy, RULES.tenants)
    wide = {"profile": "eu", "text": "Made with AI"}
    code, field, message = refused(request(label=wide), rules=drawing)
    assert (code, field, message) == ("invalid_request", "label.text", "label.text: too wide")
    assert isinstance(judged(request(label=wide)), Cleared)


def test_the_visible_mark_is_left_out_for_nobody_who_did_not_prove_a_permission() -> None:
    unlabelled = request(label={"profile": "none"})
    assert refused(unlabelled)[:2] == ("label_required", "label.profile")
    permitted = Tenants("reelbus", {"default": Member({}, (), may_omit_label=True)}, require_signatures=False)
    lenient = dataclasses.replace(RULES, tenants=permitted)
    assert refused(unlabelled, rules=lenient)[:2] == ("label_required", "label.profile"), "it is not signed"
    assert permitted.may_omit_label("default", "key-1")
    assert not permitted.may_omit_label("acme", "key-1")
    assert not Tenants("reelbus").may_omit_label("default", "key-1")


@pytest.mark.parametrize(("body", "field"), NOT_YET, ids=[field for _, field in NOT_YET])
def test_what_is_not_built_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    code, found, message = refused(body)
    assert (code, found) == ("not_available", field)
    assert message.startswith(f"{field}: ")
    assert "not available yet" in message


def test_every_field_that_is_not_built_is_refused_and_its_default_is_not() -> None:
    """The table names real fields, and every one of them is refused when it differs from its default."""
    named = {(kind, name) for kind, names in availability.NOT_YET.items() for name in names}
    assert named == {(kind, f.name) for kind, name in named for f in msgspec.structs.fields(kind) if f.name == name}
    assert isinstance(judged(request(priority=5, subtitles=None, narration=None)), Cleared)


def test_avro_and_json_of_one_request_are_one_job() -> None:
    asked = msgspec.convert(request(metadata={"a": "b"}), JobRequest)
    framed_job, plain_job = judged(encode(asked)), judged(encode(asked, "json"))
    assert isinstance(framed_job, Cleared)
    assert isinstance(plain_job, Cleared)
    assert framed_job.job.fingerprint == plain_job.job.fingerprint
    assert framed_job.event.id == plain_job.event.id
    assert (framed_job.job.origin.format, plain_job.job.origin.format) == ("avro", "json")


def test_a_framed_request_with_a_value_out_of_range_names_the_field() -> None:
    wrong = JobRequest(job_id="job-1", shots=(Shot(prompt="x", duration_s=-1.0),))
    assert refused(encode(wrong))[1:] == (
        "shots[0].duration_s", "shots[0].duration_s: found -1.0; expected a number above 0 and at most 600"
    )  # fmt: skip


def test_answers_go_to_topics_of_the_tenant_only() -> None:
    own = request(tenant="acme", reply_topic="reelbus.replies.acme.v1")
    verdict = judged(own)
    assert isinstance(verdict, Cleared)
    assert verdict.event.reply_topic == "reelbus.replies.acme.v1"
    for foreign in ("reelbus.replies.acme2.v1", "reelbus.replies.acme.", "reelbus.jobs.control.v1", "elsewhere"):
        other = judged({**own, "reply_topic": foreign})
        assert isinstance(other, Rejected)
        assert other.event.reason is not None
        assert (other.event.reason.code, other.event.reply_topic) == ("reply_topic_refused", "")
        assert other.event.reason.message.endswith("tenant acme may use reelbus.replies.acme.*")
        unread = judged({**own, "reply_topic": foreign, "shots": 7})
        assert unread.event.reply_topic == ""
        for early in (
            judged({**own, "reply_topic": foreign}, key=b"x"),
            judged({**own, "reply_topic": foreign, "lane": "bulk"}),
        ):
            assert isinstance(early, Rejected)
            assert early.event.reply_topic == "", "refused before the reply topic was looked at"
    assert judged({**own, "shots": 7}).event.reply_topic == "reelbus.replies.acme.v1"


def test_headers_of_the_caller_come_back() -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given: Headers = (("ce_id", b"order-7"), ("ce_source", b"/shop"), ("traceparent", trace), ("other", b"x"))
    for body in (request(), shot(duration_s=-1), request(model="x")):
        origin = judged(body, headers=given).event.origin
        assert (origin.ce_id, origin.ce_source, origin.traceparent) == ("order-7", "/shop", trace.decode())
    for strange in (b"x" * 600, b"\xff", b"a\nb"):
        assert judged(request(), headers=(("ce_id", strange),)).event.origin.ce_id == ""


def test_an_order_becomes_a_command() -> None:
    asked = JobOrder(tenant="acme", job_id="job-1", action="cancel", reason="not needed")
    made = Command(job="acme/job-1", action="cancel", reason="not needed", requested_at_ms=NOW_MS)
    for value in (encode(asked), encode(asked, "json")):
        assert order(record(value), RULES.tenants) == made
    for wrong, key in ((b"{}", b"job-1"), (None, b"job-1"), (encode(asked), b"job-2"), (encode(asked), None)):
        with pytest.raises(InvalidMessage):
            order(record(wrong, key), RULES.tenants)


def test_the_same_record_gives_the_same_ids_and_another_one_does_not() -> None:
    assert judged(request()) == judged(request())
    assert judged(request()).event.id == judged({**request(), "lane": "standard"}).event.id
    ids = {judged(body).event.id for body in (request(), shot(duration_s=2), shot(duration_s=-2), shot(duration_s=-3))}
    assert len(ids) == 4


def test_the_largest_job_of_every_kind_fits_into_a_record() -> None:
    """Escapes make text grow on the wire: whatever is cleared must still fit with all that is added to it."""
    for char in ('"', "\\", "é", "\n", "😀", "x"):
        shots_of = [{"prompt": ("a" + char) * (160 // len(char.encode())), "duration_s": 5.6} for _ in range(50)]
        verdict = judged(request(shots=shots_of, metadata={f"k{i}": "x" * 100 for i in range(32)}))
        if isinstance(verdict, Cleared):
            encode(verdict.job)
        else:
            assert verdict.event.reason is not None
            assert verdict.event.reason.code == "limit_exceeded"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("[lanes.bulk]\nweight = 1.0", ""), r"\[lanes.bulk\]"),
        (("max_chunks = 400 ", "max_chunks = 401 "), "max_chunks"),
        (("weight = 8.0", "weight = 0"), "lanes"),
        (("max_pixels", "max_pixel"), "max_pixel"),
        (("[jobs]", "[jobs"), "limits file"),
    ],
)
def test_a_wrong_limits_file_is_named(change: tuple[str, str], fault: str) -> None:
    assert change[0] in LIMITS_TEXT
    with pytest.raises(Fatal, match=fault):
        limits_schema.parse(LIMITS_TEXT.replace(*change))


def test_a_refused_request_that_could_be_read_carries_the_fingerprint_that_it_had_when_it_was_accepted():
    good = request(deadline_ms=NOW_MS + 1)
    raw = json.dumps(good).encode()
    accepted = judge(record(raw), "standard", RULES)
    late = judge(_later(raw), "standard", RULES)
    assert isinstance(accepted, Cleared)
    assert isinstance(late, Rejected)
    assert late.event.fingerprint == accepted.event.fingerprint != ""


def test_a_request_that_cannot_be_read_or_has_no_meaning_carries_none():
    unread = judged(request(shots=[]))
    strange = JobRequest(job_id="job-1", shots=(Shot(prompt="a ball", duration_s=1.0, source_strength=float("nan")),))
    for verdict in (unread, judged(encode(strange, "avro"))):
        assert isinstance(verdict, Rejected)
        assert verdict.event.fingerprint == ""


def _later(raw: bytes) -> Incoming:
    return dataclasses.replace(record(raw), timestamp_ms=NOW_MS + 5)
