"""Which frames are looked at, and what the answers mean. Pure."""

import hashlib
import math
import tomllib
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from schemas.errors import Fatal, InvalidMessage
from schemas.ids import chunk_object_key, is_chunk_id
from schemas.work import ChunkInspected, ChunkRendered, FrameVerdict, ObjectRef
from stream_processors.inspect.service_policies import AzurePolicy, OcrPolicy, OpenAiPolicy, RekognitionPolicy

HASH_PATTERN = r"^[0-9a-f]{16}$"
MIN_FRAMES = 2


class OpenNsfwPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="opennsfw"):
    """Block a frame whose score is at least `threshold`, have a person look at one from `review_from` on."""

    threshold: Annotated[float, Meta(gt=0, le=1)]
    review_from: Annotated[float, Meta(gt=0, le=1)] | None = None
    """None: nobody is asked, what is below `threshold` passes."""

    def __post_init__(self) -> None:
        if self.review_from is not None and self.review_from >= self.threshold:
            found = f"found {self.review_from:g}, threshold is {self.threshold:g}"
            raise ValueError(f"review_from: {found}; what is looked at by a person begins below what is blocked")


class BlocklistPolicy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="name", tag="blocklist"
):
    """Block a frame whose difference hash is within `max_distance` bits of a listed one."""

    hashes: Annotated[tuple[Annotated[str, Meta(pattern=HASH_PATTERN)], ...], Meta(min_length=1)]
    max_distance: Annotated[int, Meta(ge=0, le=16)] = 6
    """Bits of 64 that may differ. Two unrelated pictures differ by about 32; above 16 strangers start to match."""
    category: Annotated[str, Meta(min_length=1, max_length=24)] = "known-image"


ProviderPolicy = OpenNsfwPolicy | BlocklistPolicy | OpenAiPolicy | RekognitionPolicy | AzurePolicy | OcrPolicy
KNOWN_PROVIDERS = ("azure", "blocklist", "ocr", "openai", "opennsfw", "rekognition")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The policy file. Any provider that blocks, blocks."""

    providers: Annotated[tuple[ProviderPolicy, ...], Meta(min_length=1)]
    frames_per_second: Annotated[float, Meta(gt=0, le=60)] = 1.0
    max_frames: Annotated[int, Meta(ge=MIN_FRAMES, le=256)] = 8
    scene_changes: Annotated[int, Meta(ge=0, le=254)] = 0
    """Of these frames so many are kept for where the scene changes; the others are spread evenly."""

    def __post_init__(self) -> None:
        if self.scene_changes > self.max_frames - MIN_FRAMES:
            right = (
                f"at most max_frames - {MIN_FRAMES} = {self.max_frames - MIN_FRAMES}: first and last frame come first"
            )
            raise ValueError(f"scene_changes: found {self.scene_changes}; expected {right}")


def parse_policy(text: str) -> Policy:
    """The policy in a TOML text. Raises Fatal that names the field and, for a provider's name, the known ones."""
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise Fatal(f"frame policy is not valid TOML: {exc}") from None
    listed = plain.get("providers")
    for provider in listed if isinstance(listed, list) else ():
        name = provider.get("name") if isinstance(provider, dict) else None
        if name not in KNOWN_PROVIDERS:
            raise Fatal(f"frame policy: unknown provider {name!r}; known are {', '.join(KNOWN_PROVIDERS)}")
    try:
        return msgspec.convert(plain, Policy)
    except msgspec.ValidationError as exc:
        raise Fatal(f"frame policy: {exc}") from None


def policy_digest(policy: Policy) -> str:
    """Hex SHA-256 of a policy's meaning: a verdict is only good for the policy that it was made under."""
    return hashlib.sha256(msgspec.json.encode(policy, order="sorted")).hexdigest()


def sample_indices(frames: int, fps: float, per_second: float, max_frames: int) -> tuple[int, ...]:
    """Positions of the frames to look at, rising: first, last, and `per_second` a second spread evenly between.

    At least two where there are two, at most `max_frames`. frames >= 1, fps > 0, max_frames >= 2.
    """
    if frames == 1:
        return (0,)
    wanted = math.ceil((frames - 1) / fps * per_second) + 1
    count = min(max(wanted, MIN_FRAMES), max_frames, frames)
    return tuple((i * (frames - 1) + (count - 1) // 2) // (count - 1) for i in range(count))


def verdict_of(
    scores: Sequence[float], threshold: float, provider: str, category: str, review_from: float | None = None
) -> FrameVerdict:
    """One provider's verdict from its scores (0..1, one per frame): block when the highest reaches the threshold,
    review when it reaches `review_from`.

    A score that is not a number blocks: an answer that cannot be read is not a permission.
    """
    worst = max(scores, key=lambda score: math.inf if math.isnan(score) else score)
    blocked = not worst < threshold
    doubtful = review_from is not None and not worst < review_from
    return FrameVerdict(
        verdict="block" if blocked else "review" if doubtful else "allow",
        provider=provider,
        frames_checked=len(scores),
        category=category if blocked or doubtful else "",
        score=1.0 if math.isnan(worst) else min(max(worst, 0.0), 1.0),
    )


def combine(verdicts: Sequence[FrameVerdict]) -> FrameVerdict:
    """One verdict of many: the first block, or else the review with the highest score, or an allow; these name every
    provider, since all have looked. Needs at least one."""
    for verdict in verdicts:
        if verdict.verdict == "block":
            return verdict
    all_looked = FrameVerdict(
        verdict="allow",
        provider=", ".join(v.provider for v in verdicts),
        frames_checked=min(v.frames_checked for v in verdicts),
        score=max(v.score for v in verdicts),
    )
    doubtful = [verdict for verdict in verdicts if verdict.verdict == "review"]
    if not doubtful:
        return all_looked
    worst = max(doubtful, key=lambda verdict: verdict.score)
    return replace(all_looked, verdict="review", category=worst.category, score=worst.score)


def object_to_inspect(rendered: ChunkRendered) -> ObjectRef | None:
    """What must be fetched, or None when the chunk was not finished and there is nothing to look at. Raises
    InvalidMessage."""
    if rendered.status in ("failed", "withdrawn"):
        return None
    if rendered.object is None:
        raise InvalidMessage(f"object: missing; a {rendered.status} chunk must name its object")
    if rendered.frames < 1:
        raise InvalidMessage(f"frames: {rendered.frames}; a {rendered.status} chunk has at least 1")
    if not is_chunk_id(rendered.chunk_id):
        raise InvalidMessage(f"chunk_id: {rendered.chunk_id[:80]!r}; expected 64 hex digits")
    expected = chunk_object_key(rendered.job.partition("/")[0], rendered.chunk_id)
    if rendered.object.key != expected:
        # A broken object gets deleted: a forged record must not choose which.
        raise InvalidMessage(f"object.key: {rendered.object.key[:220]!r}; this chunk is stored under {expected!r}")
    return rendered.object


def unusable(rendered: ChunkRendered, problem: str, lost: bool = True) -> ChunkInspected:
    """The chunk as a failed one, so that dispatch asks for it again. `problem`: one sentence. lost: its object is not
    what it was reported to be."""
    failed = msgspec.structs.replace(rendered, status="failed", object=None, frames=0, error=problem)
    return ChunkInspected(rendered=failed, lost=lost)
