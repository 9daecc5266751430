"""What the frame policy says of moderation services of others, and of text in frames. Pure."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.prompt_rules import Category
from stream_processors.inspect.thresholds import Threshold

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class ServicePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="name"):
    """What all services have in common.

    Times are bounded so that the watchdog (40 s of silence) and SIGTERM (`drain_s`, 70 s) do not cut in.
    """

    thresholds: dict[Category, Threshold] = {}
    """Score from which a frame is blocked, or "never"; the defaults hold for categories that are not named."""
    review_from: dict[Category, Annotated[float, Meta(gt=0, le=1)]] = {}
    """Score from which a person is asked; nobody is for categories that are not named."""
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 10.0
    """One request, from the lookup of the name to the last byte of the answer."""
    chunk_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 45.0
    """All requests about one chunk, with retries and the waits between them."""
    tries: Annotated[int, Meta(ge=1, le=10)] = 3
    """Of one request, before the chunk waits."""
    breaker_failures: Annotated[int, Meta(ge=1, le=10_000)] = 5
    """So many failures one after the other, and the service is left alone for a while."""
    breaker_open_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """For so long; then one request tries whether it answers again."""


class OpenAiPolicy(ServicePolicy, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="openai"):
    """OpenAI's moderations, or a server that answers like it."""

    key_file: Text
    """File with the API key alone; relative to the policy file."""
    endpoint: Text = "https://api.openai.com/v1/moderations"
    model: Text = "omni-moderation-latest"


class AzurePolicy(ServicePolicy, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="azure"):
    """Azure AI Content Safety, image:analyze. Its severities 0, 2, 4, 6 count as scores 0, 0.33, 0.67, 1."""

    key_file: Text
    """File with the resource's key alone; relative to the policy file."""
    endpoint: Text
    """Of the resource, without path: https://NAME.cognitiveservices.azure.com."""
    api_version: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?\Z")] = "2024-09-01"


class RekognitionPolicy(ServicePolicy, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="rekognition"):
    """AWS Rekognition, DetectModerationLabels. Its confidence of 0 to 100 counts as a score of 0 to 1."""

    key_file: Annotated[str, Meta(max_length=200)] = ""
    """Credentials file as AWS writes it, section [default]; relative to the policy file. Empty: AWS's own chain
    (environment, ~/.aws, instance role)."""
    region: Annotated[str, Meta(max_length=64)] = ""
    """Empty: as AWS's own chain says."""
    endpoint: Annotated[str, Meta(max_length=200)] = ""
    """Empty: AWS's, of the region."""
    labels: dict[Text, Category | Literal["ignore"]] = {}
    """What a label counts as, before the mapping in services/labels.py."""


class OcrPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="name", tag="ocr"):
    """Read text in frames, and judge it by the prompt policy."""

    max_frames: Annotated[int, Meta(ge=1, le=64)] = 1
    """Of the sampled frames of a chunk, those with the most edges that text could have."""
    min_edges: Annotated[float, Meta(ge=0, le=1)] = 0.0003
    """Share of a frame that must be such edges; others are not read."""
    min_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Lines that the network is less sure of are not judged."""
