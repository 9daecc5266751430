"""What a well-formed request may not ask for: limits, the model's abilities, and parts that do not fit together. Pure.

Each check returns nothing or raises JobRejected; `check` runs them in the order in which a sender would want to know.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from ops.net.addresses import Refused
from ops.net.sources import HTTPS_ONLY, Sources, check_source
from schemas import labels
from schemas.chunks import frames_of
from schemas.errors import JobRejected
from schemas.limits import JobLimits, chunk_count
from schemas.registry import ModelEntry
from schemas.request import JobRequest


@dataclass(frozen=True, slots=True)
class Offer:
    """What this installation can do.

    webhooks: a signing secret is configured
    sources:  where callers' files may come from
    undrawable: why a label's text cannot be drawn on pictures of a width and height in pixels, "" if it can
    """

    models: Mapping[str, ModelEntry]
    limits: JobLimits
    webhooks: bool
    sources: Sources = HTTPS_ONLY
    undrawable: Callable[[str, int, int], str] = lambda text, width_px, height_px: ""


def check(request: JobRequest, now_ms: int, offer: Offer) -> None:
    """Raises JobRejected for the first thing that cannot be done. now_ms: timestamp of the request record."""
    limits = offer.limits
    model = offer.models.get(request.model)
    if model is None:
        known = ", ".join(sorted(offer.models))
        raise _refusal("model", f"unknown model {_quoted(request.model)}; known are {known}", "model_unknown")
    if not model.fps_min <= request.output.fps <= model.fps_max:
        least = f"{model.fps_min} to " if model.fps_min < model.fps_max else ""
        right = f"model {model.name} makes {least}{model.fps_max} frames per second"
        raise _refusal("output.fps", f"found {request.output.fps}; {right}")
    pixels = request.output.width_px * request.output.height_px
    if pixels > limits.max_pixels:
        size = f"{request.output.width_px} x {request.output.height_px} is {pixels} pixels"
        raise _limit("output", f"{size}; the limit is {limits.max_pixels}")
    _check_pictures(request, model, offer.sources)
    _check_texts(request, limits)
    _check_metadata(request, limits)
    frames = tuple(frames_of(shot.duration_s, request.output.fps) for shot in request.shots)
    _check_length(request, frames, limits)
    _check_chunks(request, frames, model, limits)
    _check_transitions(request, frames)
    if request.deadline_ms is not None and request.deadline_ms <= now_ms:
        late = f"{request.deadline_ms} is not after the moment of the request, {now_ms} (ms since 1970, UTC)"
        raise _refusal("deadline_ms", f"{late}; give a later one or leave it out", "deadline_passed")
    _check_webhook(request, offer.webhooks)
    _check_label(request, offer)
    size_bytes = len(msgspec.json.encode(request))
    if size_bytes > limits.max_request_bytes:
        raise _limit("", f"the request: {size_bytes} bytes of JSON; the limit is {limits.max_request_bytes}")


def _refusal(field: str, message: str, code: str = "invalid_request") -> JobRejected:
    return JobRejected(code, f"{field}: {message}" if field else message, field)


def _limit(field: str, message: str) -> JobRejected:
    return _refusal(field, message, "limit_exceeded")


def _quoted(text: str) -> str:
    return msgspec.json.encode(text[:40]).decode()


def _control(text: str, allowed: str = "") -> str:
    """The first control character of `text` as U+XXXX, or ""."""
    return next((f"U+{ord(c):04X}" for c in text if unicodedata.category(c) == "Cc" and c not in allowed), "")


def _check_texts(request: JobRequest, limits: JobLimits) -> None:
    total = 0
    for index, shot in enumerate(request.shots):
        if not any(unicodedata.category(c)[0] in "LNPS" for c in shot.prompt):
            raise _refusal(f"shots[{index}].prompt", "has no visible character; say what the shot shows")
        for name, text in (("prompt", shot.prompt), ("negative_prompt", shot.negative_prompt)):
            if control := _control(text, "\n\t"):
                raise _refusal(f"shots[{index}].{name}", f"holds the control character {control}; remove it")
            total += len(text.encode())
    if total > limits.max_text_bytes:
        raise _limit("shots", f"prompts of {total} bytes in all; the limit is {limits.max_text_bytes}")


def _check_label(request: JobRequest, offer: Offer) -> None:
    if request.label is None:
        return
    labels.check(request.label)
    if not request.label.text:
        return
    if why := offer.undrawable(request.label.text, request.output.width_px, request.output.height_px):
        raise _refusal("label.text", why)


def metadata_bytes(metadata: Mapping[str, str]) -> int:
    """Keys and values together, in UTF-8."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())


def _check_metadata(request: JobRequest, limits: JobLimits) -> None:
    for key, value in request.metadata.items():
        if control := _control(key) or _control(value, "\n\t"):
            raise _refusal("metadata", f"holds the control character {control}; remove it")
    size = metadata_bytes(request.metadata)
    if size > limits.max_metadata_bytes:
        raise _limit("metadata", f"{size} bytes in all; the limit is {limits.max_metadata_bytes}")


def _check_length(request: JobRequest, frames: tuple[int, ...], limits: JobLimits) -> None:
    fps = request.output.fps
    most = f"the limit is {limits.max_frames} frames ({limits.max_frames / fps:g} s at {fps} fps)"
    for index, count in enumerate(frames):
        if count > limits.max_frames:
            raise _limit(
                f"shots[{index}].duration_s", f"{request.shots[index].duration_s:g} s is {count} frames; {most}"
            )
    if sum(frames) > limits.max_frames:
        raise _limit("shots", f"{sum(frames)} frames in all; {most}")


def _check_chunks(request: JobRequest, frames: tuple[int, ...], model: ModelEntry, limits: JobLimits) -> None:
    for index, (shot, count) in enumerate(zip(request.shots, frames, strict=True)):
        chains = shot.continuity == "chained" and count > model.clip_frames
        if chains and not 0 < model.given_frames < model.clip_frames:
            most = f"{model.clip_frames / request.output.fps:g} s ({model.clip_frames} frames)"
            remedy = f'say "independent", or make the shot at most {most}'
            raise _refusal(f"shots[{index}].continuity", f"model {model.name} cannot continue a clip; {remedy}")
    _check_chunk_seeds(request, frames, model)
    chunks = sum(chunk_count(shot, count, model) for shot, count in zip(request.shots, frames, strict=True))
    if chunks > limits.max_chunks:
        what = f"{sum(frames)} frames are {chunks} chunks of model {model.name}"
        raise _limit("shots", f"{what}; the limit is {limits.max_chunks}; make the video shorter or fps lower")


def _check_chunk_seeds(request: JobRequest, frames: tuple[int, ...], model: ModelEntry) -> None:
    for index, (shot, count) in enumerate(zip(request.shots, frames, strict=True)):
        chunks, seen = chunk_count(shot, count, model) if shot.chunk_seeds else 0, set[int]()
        for place, given in enumerate(shot.chunk_seeds):
            field = f"shots[{index}].chunk_seeds[{place}].chunk"
            if given.chunk >= chunks:
                raise _refusal(field, f"found {given.chunk}; the shot has the chunks 0 to {chunks - 1}")
            if given.chunk in seen:
                raise _refusal(field, f"found {given.chunk} again; give every chunk one seed")
            seen.add(given.chunk)


def _check_transitions(request: JobRequest, frames: tuple[int, ...]) -> None:
    fps, shots = request.output.fps, len(frames)
    free = list(frames)
    seen: dict[int, int] = {}
    for index, transition in enumerate(request.transitions):
        after, place = transition.after, f"transitions[{index}]"
        if after > shots - 2:
            right = f"there are {shots} shots, so it is 0 to {shots - 2}" if shots > 1 else "there is only one shot"
            raise _refusal(f"{place}.after", f"found {after}, but no shot follows shots[{after}]; {right}")
        if after in seen:
            raise _refusal(f"{place}.after", f"found {after}, which transitions[{seen[after]}] has already")
        seen[after] = index
        overlap = frames_of(transition.duration_s, fps)
        for shot in (after, after + 1):
            free[shot] -= overlap
            if free[shot] < 0:
                what = f"{transition.duration_s:g} s is {overlap} frames"
                left = f"shots[{shot}] has {frames[shot]} frames, {free[shot] + overlap} of them free for it"
                raise _refusal(f"{place}.duration_s", f"{what}, but {left}; transitions may not overlap")


def _check_pictures(request: JobRequest, model: ModelEntry, sources: Sources) -> None:
    for index, shot in enumerate(request.shots):
        if shot.first_keyframe is None:
            continue
        field = f"shots[{index}].first_keyframe"
        if not model.given_frames:
            raise _refusal(field, f"model {model.name} cannot start from a picture; leave it out or use another model")
        try:
            check_source(shot.first_keyframe.uri, request.tenant, sources)
        except Refused as exc:
            raise _refusal(f"{field}.uri", str(exc), "input_refused") from None


def _check_webhook(request: JobRequest, available: bool) -> None:
    if request.webhook is None:
        return
    if not available:
        why = "webhooks are signed, and this installation has no secret for it (setting webhook_secret_file)"
        raise _refusal("webhook", f"{why}; leave webhook out and read jobs.finished instead", "webhook_unavailable")
    try:
        url = urlsplit(request.webhook.url)
        port_fits = url.port is None or url.port > 0
    except ValueError:
        raise _refusal("webhook.url", "cannot be understood as an address") from None
    if not url.hostname or not port_fits or any(c.isspace() or _control(c) for c in request.webhook.url):
        raise _refusal("webhook.url", "has no valid host; expected https://host/path")
    if url.username is not None or url.password is not None:
        raise _refusal("webhook.url", "carries a user name or password; leave them out, webhooks are signed")
