"""Which files a job names, what their frames are called, and what follows when they cannot be had. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from schemas.errors import InvalidMessage, JobRejected
from schemas.events import EventType, JobEvent, Reason
from schemas.ids import input_id
from schemas.plan import ClearedJob, ShotInput
from schemas.registry import ModelEntry
from schemas.reports import cleared_event
from schemas.request import Media
from schemas.retries import ATTEMPT_HEADER, DUE_HEADER, number
from schemas.topics import RETRY_DELAYS

SOURCE = "intake"
MAX_ATTEMPTS = len(RETRY_DELAYS) + 1
METHOD = "cover-1"
"""How pictures are made to fit; another way gets another name, and so other objects."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to be fetched."""

    shot: int
    media: Media

    @property
    def field(self) -> str:
        """Its address in the request."""
        return f"shots[{self.shot}].first_keyframe.uri"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a picture becomes: `frames` times the same picture, in the model's size."""

    width_px: int
    height_px: int
    frames: int
    fps: int
    codec: str

    def name(self, file_sha256: str) -> str:
        """Name of the object that holds it."""
        how = {"size": [self.width_px, self.height_px], "frames": self.frames, "fps": self.fps, "codec": self.codec}
        return input_id(file_sha256, method=METHOD, **how)


def attempt_of(headers: Mapping[str, bytes]) -> int:
    """Number of this try, from the record's headers. Raises InvalidMessage."""
    number(headers, DUE_HEADER, default=0)
    attempt = number(headers, ATTEMPT_HEADER, default=1)
    if not 1 <= attempt <= MAX_ATTEMPTS:
        raise InvalidMessage(f"header {ATTEMPT_HEADER}: {attempt}; expected 1 to {MAX_ATTEMPTS}")
    return attempt


def wanted(cleared: ClearedJob) -> Iterator[Wanted]:
    """The pictures of a job, in the order of its shots."""
    for index, shot in enumerate(cleared.request.shots):
        if shot.first_keyframe is not None:
            yield Wanted(index, shot.first_keyframe)


def shape_for(cleared: ClearedJob, models: Mapping[str, ModelEntry]) -> Shape:
    """What the job's pictures become. Raises JobRejected when its model has left the registry or takes no picture."""
    output, name = cleared.request.output, cleared.request.model
    model = models.get(name)
    if model is None:
        raise JobRejected("model_unknown", f"model: {name} has left the model registry", "model")
    if not model.given_frames:
        raise JobRejected("model_changed", f"model: {name} cannot start from a picture", "model")
    width_px, height_px = model.native_size(output.width_px, output.height_px)
    return Shape(width_px, height_px, model.given_frames, output.fps, model.chunk_codec)


def with_inputs(cleared: ClearedJob, made: tuple[ShotInput, ...]) -> ClearedJob:
    """The job as split takes it."""
    return replace(cleared, inputs=made)


def refused(cleared: ClearedJob, refusal: JobRejected, at_ms: int) -> JobEvent:
    """Ends a job whose file cannot be used."""
    return _end("job.rejected", cleared, Reason(code=refusal.code, message=refusal.message, field=refusal.field), at_ms)


def failed(cleared: ClearedJob, why: str, at_ms: int) -> JobEvent:
    """Ends a job whose record cannot be processed. why: a sentence for its owner."""
    return _end("job.failed", cleared, Reason(code="internal_error", message=why), at_ms)


def _end(kind: EventType, cleared: ClearedJob, reason: Reason, at_ms: int) -> JobEvent:
    return cleared_event(SOURCE, kind, cleared, at_ms=at_ms, about=cleared.fingerprint, reason=reason)


def wrong_file(picture: Wanted, what: str) -> JobRejected:
    """The file is the caller's fault. what: a part of a sentence about it."""
    right = "give a PNG, JPEG or WebP picture, or an MP4 (H.264, AV1) or WebM (VP9, AV1) clip"
    return JobRejected("input_invalid", f"{picture.field}: the file {what}; {right}", picture.field)


def wrong_hash(picture: Wanted, found: str) -> JobRejected:
    """The file is not the one that the caller meant."""
    field = picture.field.replace(".uri", ".sha256")
    return JobRejected(
        "input_invalid", f"{field}: the file has {found}; give that, or the address of the right file", field
    )


def no_answer(picture: Wanted, why: str) -> JobRejected:
    """All tries failed."""
    tried = f"no file came in {MAX_ATTEMPTS} tries, at last: {why}"
    right = "see that the address answers, and send the job again under a new job_id"
    return JobRejected("input_unavailable", f"{picture.field}: {tried}; {right}", picture.field)


def refused_address(picture: Wanted, why: str) -> JobRejected:
    """The address may not be called."""
    return JobRejected("input_refused", f"{picture.field}: {why}; give an https address that is public", picture.field)
