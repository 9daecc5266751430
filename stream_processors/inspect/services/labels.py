"""AWS Rekognition's moderation labels, and what they count as. Pure.

The taxonomy has three levels, and an answer holds a label with all that it is under. The most special ones speak:
"Weapons" comes with "Violence" and says that no more than weapons was seen.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.prompt_rules import Category
from stream_processors.inspect.services.outcome import nonsense

LEVELS = 3
CONTENT_TYPE = "application/x-amz-json-1.1"
Meaning = Category | Literal["ignore"]
UNLISTED = "unlisted-label"
"""What a label counts as that is not in the mapping and under none that is."""
_NUDITY = "Non-Explicit Nudity of Intimate parts and Kissing"
TAXONOMY: Mapping[str, tuple[str, Meaning]] = {
    "Explicit": ("", "sexual"),
    _NUDITY: ("", "sexual"),
    "Non-Explicit Nudity": (_NUDITY, "sexual"),
    "Bare Back": ("Non-Explicit Nudity", "ignore"),
    "Exposed Male Nipple": ("Non-Explicit Nudity", "ignore"),
    "Kissing on the Lips": (_NUDITY, "ignore"),
    "Swimwear or Underwear": ("", "ignore"),
    "Violence": ("", "violence"),
    "Weapons": ("Violence", "ignore"),
    "Graphic Violence": ("Violence", "violence/graphic"),
    "Weapon Violence": ("Graphic Violence", "violence"),
    "Physical Violence": ("Graphic Violence", "violence"),
    "Self-Harm": ("Graphic Violence", "self-harm"),
    "Explosions and Blasts": ("Graphic Violence", "violence"),
    "Visually Disturbing": ("", "violence/graphic"),
    "Crashes": ("Visually Disturbing", "violence"),
    "Drugs & Tobacco": ("", "illicit"),
    "Products": ("Drugs & Tobacco", "ignore"),
    "Smoking": ("Drugs & Tobacco Paraphernalia & Use", "ignore"),
    "Drugs & Tobacco Paraphernalia & Use": ("Drugs & Tobacco", "illicit"),
    "Alcohol": ("", "ignore"),
    "Rude Gestures": ("", "harassment"),
    "Gambling": ("", "ignore"),
    "Hate Symbols": ("", "hate"),
}
"""What a label is under and counts as (taxonomy of model 7). One that is not named counts as what it is under."""


_NAMES = {"confidence": "Confidence", "name": "Name", "parent": "ParentName", "level": "TaxonomyLevel"}


class Label(msgspec.Struct, frozen=True, rename=_NAMES):
    """One label of an answer. confidence: 0 to 100. parent: what it is directly under, "" at level 1."""

    confidence: Annotated[float, Meta(ge=0, le=100)]
    name: Annotated[str, Meta(min_length=1)]
    parent: str
    level: Annotated[int, Meta(ge=1, le=LEVELS)]


class _Answer(msgspec.Struct, rename="pascal"):
    moderation_labels: list[Label]
    moderation_model_version: Annotated[str, Meta(min_length=1)]


_decoder = msgspec.json.Decoder(_Answer)


def parse(body: bytes, own: Mapping[str, Meaning]) -> dict[str, float]:
    """Scores by category; what nothing was found of is not there. Raises Unanswered for what is no such answer.

    own: meanings that go before ours
    """
    try:
        labels = _decoder.decode(body).moderation_labels
    except (ValueError, RecursionError) as exc:
        raise nonsense(exc) from None
    return scores_of(labels, own)


def scores_of(labels: Sequence[Label], own: Mapping[str, Meaning]) -> dict[str, float]:
    """The highest score of each category, from the labels that nothing more special speaks for."""
    meanings: dict[str, Meaning] = {name: meaning for name, (_, meaning) in TAXONOMY.items()} | dict(own)
    parents = {label.name: label.parent for label in labels}
    scores: dict[str, float] = {}
    for label in labels:
        meaning = _meaning(label.name, parents, meanings)
        if meaning != "ignore" and not any(_speaks_for(below, label, meanings) for below in labels):
            scores[meaning] = max(scores.get(meaning, 0.0), label.confidence / 100)
    return scores


def _meaning(name: str, parents: Mapping[str, str], meanings: Mapping[str, Meaning]) -> str:
    """Of a label, or else of what it is under."""
    for _ in range(LEVELS):
        if name in meanings:
            return meanings[name]
        name = parents.get(name, "")
    return UNLISTED


def _speaks_for(below: Label, label: Label, meanings: Mapping[str, Meaning]) -> bool:
    """Whether `below` is right under `label`, means something of its own, and is no less certain. Where we know what a
    label is under, an answer that says otherwise does not count."""
    known = below.name not in TAXONOMY or TAXONOMY[below.name][0] == label.name
    under = below.parent == label.name and known
    return under and below.name in meanings and below.confidence >= label.confidence
