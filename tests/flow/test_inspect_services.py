"""Moderation services over a real network (loopback): what is asked, what is allowed and blocked, when they are asked
again, and what stops the stage."""

import base64
import io
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import Fatal, Transient
from stream_processors.inspect import core
from stream_processors.inspect.provider import make_moderator
from tests.flow.moderated import (
    AWS_SECRET,
    FRAMES,
    PICTURE,
    SECRET,
    SERVICES,
    SOUND,
    moderator_of,
    with_clock,
)  # fmt: skip
from tests.flow.moderated import server as server
from tests.hostile import moderation_server as served
from tests.hostile.moderation_server import Server, says, status


@pytest.mark.parametrize("service", SERVICES)
def test_a_sound_answer_allows_and_every_frame_was_asked_about(server: Server, tmp_path: Path, service: str) -> None:
    server.always = says(SOUND[service])
    verdict = moderator_of(server, service, tmp_path).judge(FRAMES)
    assert (verdict.verdict, verdict.frames_checked) == ("allow", 2)
    assert verdict.provider.startswith(service)
    assert len(server.asked) == 2


def seen_by(server: Server, service: str) -> list[Image.Image]:
    def data(body: dict[str, Any]) -> str:
        match service:
            case "openai":
                return str(body["input"][0]["image_url"]["url"]).removeprefix("data:image/jpeg;base64,")
            case "azure":
                return str(body["image"]["content"])
        return str(body["Image"]["Bytes"])

    return [Image.open(io.BytesIO(base64.b64decode(data(json.loads(one.body))))) for one in server.asked]


@pytest.mark.parametrize("service", SERVICES)
def test_the_frames_arrive_as_pictures_that_services_take(server: Server, tmp_path: Path, service: str) -> None:
    server.always = says(SOUND[service])
    moderator = moderator_of(server, service, tmp_path)
    moderator.judge(FRAMES)
    moderator.judge(np.zeros((1, 20, 40, 3), np.uint8))
    first, second, tiny = seen_by(server, service)
    assert {picture.format for picture in (first, second, tiny)} == {"JPEG"}
    assert np.abs(np.asarray(first).astype(int) - PICTURE).mean() < 8
    assert np.abs(np.asarray(second).astype(int) - PICTURE[:, ::-1]).mean() < 8
    assert tiny.size == (128, 64), "none of the services takes less than 50 pixels"


def test_each_service_is_asked_at_its_place_with_its_key(server: Server, tmp_path: Path) -> None:
    for service in SERVICES:
        server.always = says(SOUND[service])
        moderator_of(server, service, tmp_path).judge(FRAMES[:1])
    first, second, third = server.asked
    assert (first.path, first.headers["Authorization"]) == ("/v1/moderations", f"Bearer {SECRET}")
    assert second.path == "/contentsafety/image:analyze?api-version=2024-09-01"
    assert second.headers["Ocp-Apim-Subscription-Key"] == SECRET
    assert third.headers["X-Amz-Target"] == "RekognitionService.DetectModerationLabels"
    signed = third.headers["Authorization"]
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/rekognition/aws4_request" in signed
    assert AWS_SECRET not in signed
    assert json.loads(third.body)["MinConfidence"] == 1.0


def blocking(service: str) -> list[tuple[object, str]]:
    match service:
        case "openai":
            return [(served.openai(served.openai_result(scores={name: 0.95})), name) for name in served.CATEGORIES]
        case "azure":
            names = {"Hate": "hate", "SelfHarm": "self-harm", "Sexual": "sexual", "Violence": "violence"}
            return [(served.azure(**{ours: 6}), name) for ours, name in names.items()]
    return [
        (served.rekognition(("Explicit", "", 1, 99.0)), "sexual"),
        (served.rekognition(("Hate Symbols", "", 1, 99.0)), "hate"),
        (served.rekognition(("Visually Disturbing", "", 1, 99.0)), "violence/graphic"),
        (served.rekognition(("Graphic Violence", "Violence", 2, 99.0), ("Violence", "", 1, 99.0)), "violence/graphic"),
        (served.rekognition(("Self-Harm", "Graphic Violence", 3, 99.0)), "self-harm"),
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_each_category_of_a_service_blocks_and_spares_the_frames_behind(
    server: Server, tmp_path: Path, service: str
) -> None:
    moderator = moderator_of(server, service, tmp_path)
    for answer, category in blocking(service):
        server.script, server.asked = [says(answer)], []
        verdict = moderator.judge(FRAMES)
        assert (verdict.verdict, verdict.category, verdict.frames_checked) == ("block", category, 1)
        assert len(server.asked) == 1


def test_a_policys_own_thresholds_and_labels_hold(server: Server, tmp_path: Path) -> None:
    server.always = says(served.azure(Violence=6, Sexual=2))
    strict = moderator_of(server, "azure", tmp_path, thresholds={"violence": 1.0, "sexual": 0.3}).judge(FRAMES)
    assert (strict.verdict, strict.category) == ("block", "violence")
    loose = moderator_of(server, "azure", tmp_path, thresholds={"violence": "never"})
    assert loose.judge(FRAMES).verdict == "allow"
    server.always = says(served.rekognition(("Alcohol", "", 1, 60.0)))
    assert moderator_of(server, "rekognition", tmp_path).judge(FRAMES).verdict == "allow"
    dry = moderator_of(server, "rekognition", tmp_path, labels={"Alcohol": "illicit"})
    assert dry.judge(FRAMES).category == "illicit"


def test_doubt_about_one_frame_does_not_spare_the_next_one(server: Server, tmp_path: Path) -> None:
    moderator = moderator_of(server, "azure", tmp_path, review_from={"violence": 0.3})
    server.always = says(served.azure(Violence=2))
    doubt = moderator.judge(FRAMES)
    assert (doubt.verdict, doubt.category, doubt.frames_checked) == ("review", "violence", 2)
    server.script, server.always = [server.always], says(served.azure(Sexual=6))
    assert (moderator.judge(FRAMES).verdict, moderator.judge(FRAMES).category) == ("block", "sexual")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_comes_back_is_asked_again_after_growing_waits(
    server: Server, tmp_path: Path, service: str
) -> None:
    asking, slept = with_clock(moderator_of(server, service, tmp_path, tries=3))
    server.script, server.always = [status(500), status(503)], says(SOUND[service])
    assert asking.judge(FRAMES[:1]).verdict == "allow"
    assert slept == [0.5, 1.0]


def test_retry_after_is_honoured_and_a_long_one_is_waited_for_in_the_topic(server: Server, tmp_path: Path) -> None:
    asking, slept = with_clock(moderator_of(server, "openai", tmp_path, tries=3))
    server.script, server.always = [status(429, Retry_After="7")], says(SOUND["openai"])
    assert asking.judge(FRAMES[:1]).verdict == "allow"
    assert slept == [7.0]
    server.script = [status(429, Retry_After="300")]
    with pytest.raises(Transient, match="429"):
        asking.judge(FRAMES[:1])
    asked = len(server.asked)
    with pytest.raises(Transient, match="left alone for 300 s"):
        asking.judge(FRAMES[:1])
    assert (len(server.asked), slept) == (asked, [7.0]), "it is not asked before that"


def test_aws_throttles_with_status_400(server: Server, tmp_path: Path) -> None:
    asking, slept = with_clock(moderator_of(server, "rekognition", tmp_path, tries=2))
    throttled = status(400, b'{"__type": "ThrottlingException", "message": "slow down"}')
    server.script, server.always = [throttled], says(SOUND["rekognition"])
    assert asking.judge(FRAMES[:1]).verdict == "allow"
    assert slept == [0.5]


def test_the_breaker_keeps_a_dead_service_from_being_hammered_and_finds_it_alive(
    server: Server, tmp_path: Path
) -> None:
    asking, _ = with_clock(moderator_of(server, "openai", tmp_path, breaker_failures=4, breaker_open_s=30.0))
    server.always = status(503)
    for _ in range(50):
        with pytest.raises(Transient):
            asking.judge(FRAMES[:1])
    assert len(server.asked) == 4
    asking._sleep(30.0)
    for _ in range(50):
        with pytest.raises(Transient):
            asking.judge(FRAMES[:1])
    assert len(server.asked) == 5, "one probe"
    asking._sleep(30.0)
    server.always = says(SOUND["openai"])
    assert asking.judge(FRAMES).verdict == "allow"


def test_a_chunk_has_a_time_of_its_own(server: Server, tmp_path: Path) -> None:
    asking, slept = with_clock(moderator_of(server, "openai", tmp_path, tries=10, chunk_timeout_s=10.0))
    server.always = status(500)
    with pytest.raises(Transient):
        asking.judge(FRAMES)
    assert sum(slept) < 10


def test_aws_without_credentials_or_region_stops_the_stage(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Fatal, match="NoCredentialsError; check region"):
        moderator_of(server, "rekognition", tmp_path, key_file="").judge(FRAMES)
    with pytest.raises(Fatal, match="NoRegionError; check region"):
        moderator_of(server, "rekognition", tmp_path, region="")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
    with pytest.raises(Fatal, match=r"CredentialRetrievalError; check region[^<]*$"):
        moderator_of(server, "rekognition", tmp_path, key_file="")
    assert server.asked == [], "nobody was asked to moderate"


DENIED = {
    "openai": [(401, b"{}"), (403, b"{}"), (404, b"{}")],
    "azure": [(401, b"{}"), (403, b"{}"), (404, b"{}")],
    "rekognition": [
        (400, b'{"__type": "UnrecognizedClientException", "message": "The security token is invalid."}'),
        (400, b'{"__type": "com.amazon#AccessDeniedException", "Message": "User is not authorized"}'),
        (403, b'{"__type": "InvalidSignatureException"}'),
    ],
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_refused_key_stops_the_stage_and_is_not_told(
    server: Server, tmp_path: Path, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # at DEBUG botocore writes down every body that it is sent
    echo = f"Incorrect key provided: {SECRET} {AWS_SECRET}".encode()
    for code, body in [*DENIED[service], (401, echo), (401, json.dumps({"error": {"code": SECRET}}).encode())]:
        server.always = status(code, body)
        with pytest.raises(Fatal, match=rf"^provider {service} .*the service answers") as caught:
            moderator_of(server, service, tmp_path, tries=3).judge(FRAMES)
        assert "secret" not in f"{caught.value!r} {caplog.text}"
    assert len(server.asked) == 5, "it is not asked twice"


def test_one_picture_that_a_service_will_not_take_neither_stops_the_stage_nor_opens_the_breaker(
    server: Server, tmp_path: Path
) -> None:
    moderator = moderator_of(server, "openai", tmp_path, tries=3, breaker_failures=1)
    server.always = status(400, b'{"error": {"code": "invalid_image", "message": "x"}}')
    for _ in range(3):
        with pytest.raises(Transient, match="400 invalid_image: it does not take this picture"):
            moderator.judge(FRAMES)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "8 to 512 printable"), ("short", "8 to 512"), ("two words of key", "printable"), ("käse-schlüssel", "A"),
        ("abcdefgh\nijklmnop", "alone"),
    ],
)  # fmt: skip
def test_a_key_file_that_holds_no_key_is_named_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "key").write_text(text)
    policy = core.parse_policy("[[providers]]\nname='openai'\nkey_file='key'")
    with pytest.raises(Fatal, match=said) as caught:
        make_moderator(policy, tmp_path)
    assert "key_file" in str(caught.value)
    assert not text or text not in str(caught.value)


def test_other_faults_of_a_policy_stop_the_stage_at_start(server: Server, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    faults = {
        "name='openai'\nkey_file='absent'": "cannot read key_file",
        "name='openai'\nkey_file='key'\nendpoint='http://moderation.example/v1'": "expected https://",
        "name='openai'\nkey_file='key'\nendpoint='ftp://127.0.0.1/'": "URL must begin",
        "name='azure'\nkey_file='key'\nendpoint='http://10.0.0.1'": "expected https://",
        "name='rekognition'\nkey_file='key'\nregion='eu-west-1'": "section [default]",
        f"name='rekognition'\nregion='eu-west-1'\nendpoint='{server.url.replace('127.0.0.1', '10.0.0.1')}'": "https://",
        "name='openai'\nkey_file='key'\nthresholds={'sexual/minors'='never'}": "never looser",
    }
    for text, said in faults.items():
        with pytest.raises(Fatal) as caught:
            make_moderator(core.parse_policy(f"[[providers]]\n{text}"), tmp_path)
        assert said in str(caught.value)
        assert SECRET not in str(caught.value)
    for text in ("name='openai'", "name='azure'\nkey_file='key'", "name='openai'\nkey_file='k'\nkey='sk'",
                 "name='openai'\nkey_file='k'\nthresholds={nudity=0.5}", "name='openai'\nkey_file='k'\ntimeout_s=31",
                 "name='openai'\nkey_file='k'\nthresholds={sexual='off'}"):  # fmt: skip
        with pytest.raises(Fatal, match="frame policy"):
            core.parse_policy(f"[[providers]]\n{text}")
