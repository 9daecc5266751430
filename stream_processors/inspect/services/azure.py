"""Azure AI Content Safety, image:analyze: request and answer. Pure."""

from base64 import b64encode
from typing import Literal

import msgspec

from schemas.prompt_rules import Category
from stream_processors.inspect.services.outcome import nonsense

CONTENT_TYPE = "application/json"
WORST = 6
NAMES: dict[str, Category] = {
    "Hate": "hate", "SelfHarm": "self-harm", "Sexual": "sexual", "Violence": "violence",
}  # fmt: skip


class _Category(msgspec.Struct):
    category: str
    severity: Literal[0, 2, 4, 6]


class _Answer(msgspec.Struct, rename="camel"):
    categories_analysis: list[_Category]


_decoder = msgspec.json.Decoder(_Answer)


def url(endpoint: str, api_version: str) -> str:
    """Where to ask."""
    return f"{endpoint.rstrip('/')}/contentsafety/image:analyze?api-version={api_version}"


def headers(key: str) -> dict[str, str]:
    """What is sent beside the body."""
    return {"Ocp-Apim-Subscription-Key": key, "Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}


def request(jpeg: bytes) -> bytes:
    """The body that asks about one picture."""
    asked = {"image": {"content": b64encode(jpeg).decode()}, "categories": [*NAMES], "outputType": "FourSeverityLevels"}
    return msgspec.json.encode(asked)


def parse(body: bytes) -> dict[str, float]:
    """Scores by category: the severity's share of the worst one. Raises Unanswered unless each of the four categories
    is there once; one more under another name is kept under that name."""
    try:
        found = _decoder.decode(body).categories_analysis
        names = [one.category for one in found]
        for name in NAMES:
            if names.count(name) != 1:
                raise ValueError(f"category {name}: found {names.count(name)} times, expected 1")
        return {NAMES.get(one.category, one.category): one.severity / WORST for one in found}
    except (ValueError, RecursionError) as exc:
        raise nonsense(exc) from None
