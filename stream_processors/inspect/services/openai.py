"""OpenAI's moderations: request and answer. Pure.

One picture a request: the endpoint refuses more. Of the thirteen categories the model scores six on pictures; it says
so in `category_applied_input_types`, and an answer that does not say that it looked at the picture is none.
"""

from base64 import b64encode
from typing import Annotated

import msgspec
from msgspec import Meta

from ops.prompt_policy.pack import CATEGORIES
from stream_processors.inspect.services.outcome import nonsense

CONTENT_TYPE = "application/json"
SEEN_ON_PICTURES = ("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic")
Score = Annotated[float, Meta(ge=0, le=1)]


class _Result(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, Score]
    category_applied_input_types: dict[str, list[str]]


class _Answer(msgspec.Struct):
    model: str
    results: list[_Result]


_decoder = msgspec.json.Decoder(_Answer)


def headers(key: str) -> dict[str, str]:
    """What is sent beside the body."""
    return {"Authorization": f"Bearer {key}", "Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}


def request(model: str, jpeg: bytes) -> bytes:
    """The body that asks about one picture."""
    url = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
    return msgspec.json.encode({"model": model, "input": [{"type": "image_url", "image_url": {"url": url}}]})


def parse(body: bytes) -> dict[str, float]:
    """Scores by category. Raises Unanswered for anything but an answer about one picture that was looked at."""
    try:
        results = _decoder.decode(body).results
        if len(results) != 1:
            raise ValueError(f"results: found {len(results)}, expected 1")
        return _scores(results[0])
    except (ValueError, RecursionError) as exc:
        raise nonsense(exc) from None


def _scores(result: _Result) -> dict[str, float]:
    if missing := set(CATEGORIES) - (result.category_scores.keys() & result.categories.keys()):
        raise ValueError(f"{min(missing)} is missing")
    for name in SEEN_ON_PICTURES:
        if "image" not in result.category_applied_input_types.get(name, ()):
            raise ValueError(f"{name} was not scored on the picture")
    if result.flagged != any(result.categories.values()):
        raise ValueError("flagged says something else than categories")
    return result.category_scores
