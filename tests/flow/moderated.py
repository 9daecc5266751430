"""Moderation services as the policy names them, at a server of this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stream_processors.inspect import core
from stream_processors.inspect.provider import make_moderator
from tests.hostile import moderation_server as served
from tests.hostile.moderation_server import Server, serving

SECRET = "sk-0123456789-secret"
AWS_SECRET = "wJalrXUtnFEMIK7MDENGsecret"
SERVICES = ("openai", "azure", "rekognition")
SOUND: dict[str, Any] = {"openai": served.openai(), "azure": served.azure(), "rekognition": served.rekognition()}
PICTURE = np.asarray(
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((160, 90))
)
FRAMES = np.stack([PICTURE, PICTURE[:, ::-1]])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def policy_of(server: Server, service: str, folder: Path, **options: object) -> core.Policy:
    """The policy file for one service at this server, with its key beside it."""
    aws = service == "rekognition"
    server.content_type = "application/x-amz-json-1.1" if aws else "application/json"
    credentials = f"[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {AWS_SECRET}\n"
    (folder / "key").write_text(credentials if aws else SECRET + "\n")
    path = "/v1/moderations" if service == "openai" else ""
    given = {"name": service, "key_file": "key", "endpoint": server.url + path, "timeout_s": 10.0, "tries": 1}
    given |= {"region": "eu-west-1"} if aws else {}
    lines = [f"{name} = {_toml(value)}" for name, value in (given | options).items()]
    return core.parse_policy("\n".join(["[[providers]]", *lines]))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}" = {_toml(inner)}' for name, inner in value.items()) + "}"
    return json.dumps(value)


def moderator_of(server: Server, service: str, folder: Path, **options: object) -> Any:
    return make_moderator(policy_of(server, service, folder, **options), folder)


def with_clock(moderator: Any) -> tuple[Any, list[float]]:
    """The asking part of a moderator, on a clock that moves only when it sleeps."""
    (asking,) = moderator._moderators
    now, slept = [1000.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    asking._clock_s, asking._sleep, asking._jitter = lambda: now[0], sleep, lambda: 1.0
    return asking, slept
