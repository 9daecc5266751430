"""From which score on a frame is blocked, by category. Names are OpenAI's; all services are mapped to them. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from msgspec import Meta

from ops.prompt_policy.pack import CATEGORIES
from schemas.errors import Fatal
from schemas.prompt_rules import NEVER_LOOSENED, Category

Threshold = Annotated[float, Meta(gt=0, le=1)] | Literal["never"]
GRAVEST_FIRST: tuple[Category, ...] = (
    "sexual/minors", "self-harm/instructions", "self-harm/intent", "self-harm", "hate/threatening", "hate",
    "harassment/threatening", "harassment", "illicit/violent", "illicit", "violence/graphic", "violence", "sexual",
)  # fmt: skip
"""Of several that block, the first one is named."""
DEFAULTS: Mapping[str, float] = MappingProxyType(
    {**{str(name): 0.5 for name in CATEGORIES}, NEVER_LOOSENED: 0.1, "violence": 0.8}
)
"""Fights and battles are what films are made of: violence alone must be likely, graphic violence need not."""
UNLISTED = 0.5
"""For what a service reports under a name that is none of these: it is not passed over."""
OFF = float("inf")


def merged(own: Mapping[Category, Threshold], provider: str) -> dict[str, float]:
    """The thresholds of a provider: the policy's own before the defaults; "never" is a score that none reaches.

    Raises Fatal for one that loosens sexual/minors.
    """
    thresholds: dict[str, float] = {**DEFAULTS}
    for category, threshold in own.items():
        if category == NEVER_LOOSENED and (threshold == "never" or threshold > DEFAULTS[category]):
            right = f"at most {DEFAULTS[category]}: this category may be made stricter, never looser"
            raise Fatal(
                f'frame policy: provider {provider}, thresholds."{category}": found {threshold}; expected {right}'
            )
        thresholds[category] = OFF if threshold == "never" else threshold
    return thresholds


def check_review(review_from: Mapping[Category, float], thresholds: Mapping[str, float], provider: str) -> None:
    """Raises Fatal for a category that nobody would be asked about, since it blocks before."""
    for category, score in review_from.items():
        if score >= thresholds[category]:
            right = f"expected less than {thresholds[category]:g}, from where on it is blocked"
            raise Fatal(f'frame policy: provider {provider}, review_from."{category}": found {score:g}; {right}')
