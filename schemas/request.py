"""What callers send: job requests and orders, as typed structs. Pure; imports nothing of ours but ids.

Version 1 of the request can already say what the product is going to do; what is not built yet is refused by name
(`schemas.availability`), never ignored.

Conventions of all records: the unit is in the name (`duration_s`, `width_px`, `at_ms` = milliseconds since the Unix
epoch, UTC). Decoding JSON is strict: unknown fields are errors. The docstring under a field becomes its `doc` in
`schemas/avro/*.avsc`; a test proves the two equal.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.ids import JOB_ID_PATTERN, TENANT_PATTERN

Lane = Literal["express", "standard", "bulk"]
LANES: tuple[Lane, ...] = ("express", "standard", "bulk")
TOPIC_PATTERN = r"^[a-zA-Z0-9._-]{1,249}\Z"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z"
URI_PATTERN = r"^(https|s3)://"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parent of every record: immutable, strict, defaults left out of JSON."""


Uri = Annotated[str, Meta(min_length=8, max_length=2048, pattern=URI_PATTERN)]
Prompt = Annotated[str, Meta(min_length=1, max_length=2000)]
Text = Annotated[str, Meta(max_length=2000)]
Seconds = Annotated[float, Meta(gt=0, le=600)]
Offset = Annotated[float, Meta(ge=0, le=36_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
ShotIndex = Annotated[int, Meta(ge=0, le=49)]
Moment = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
"""Milliseconds since the epoch, up to the year 9999. Bounded like every number: what has no bound fits no schema."""
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Metadata = Annotated[dict[str, str], Meta(max_length=32)]


class Media(Record, frozen=True, kw_only=True):
    """A file that the caller provides."""

    uri: Uri
    """Where it is: https://... or s3://bucket/key."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    """Hash of the file, lower-case hex; a file with another one is refused."""


class Trim(Record, frozen=True, kw_only=True):
    """The part of a clip that is kept."""

    start_s: Offset = 0.0
    """Start of the part."""
    end_s: Offset | None = None
    """End of the part; the end of the clip if left out."""


class Control(Record, frozen=True, kw_only=True):
    """A clip or picture that steers a shot."""

    kind: Literal["pose", "depth", "edges", "motion", "segmentation"]
    """What the media shows."""
    media: Media
    """The control clip or picture."""
    strength: Share = 1.0
    """How closely it is followed: 0 not at all, 1 fully."""


class Background(Record, frozen=True, kw_only=True):
    """What the background of a shot is replaced by."""

    kind: Literal["colour", "blur", "media", "prompt"]
    """Which of the other fields counts; blur needs none."""
    colour: Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}\Z")] | None = None
    """Plain colour, #rrggbb."""
    media: Media | None = None
    """Picture or clip."""
    prompt: Prompt | None = None
    """Description of the background to be made."""


class ChunkSeed(Record, frozen=True, kw_only=True):
    """A seed for one chunk of a shot."""

    chunk: Annotated[int, Meta(ge=0, le=999)]
    """0-based index of the chunk within its shot."""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    """Start of its random numbers."""


class Shot(Record, frozen=True, kw_only=True):
    """One prompt with a duration: a piece of the storyboard."""

    prompt: Prompt
    """What the shot shows, in plain words. At least one visible character; no control characters but newline, tab."""
    duration_s: Seconds
    """Length in seconds; becomes round(duration_s * fps) frames, at least one."""
    negative_prompt: Text = ""
    """What should not be seen. Whether it has an effect is up to model and guidance."""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """Start of the random numbers. Left out: derived from tenant, job id and place, so a redelivered job renders the
    same pixels; give one if another job shall reuse the chunks."""
    continuity: Literal["chained", "independent"] = "chained"
    """For shots longer than one clip of the model. chained: each chunk starts from the last frames of the one before.
    independent: chunks render side by side."""
    model: Name | None = None
    """Model of this shot alone; that of the job if left out."""
    style: Name | None = None
    """Name of a style preset."""
    guidance: Annotated[float, Meta(ge=0, le=50)] | None = None
    """Strength of the prompt (classifier-free guidance); that of the model if left out."""
    steps: Annotated[int, Meta(ge=1, le=200)] | None = None
    """Denoise steps; those of the model if left out."""
    reference_images: Annotated[tuple[Media, ...], Meta(max_length=8)] = ()
    """Pictures of what should appear."""
    source_video: Media | None = None
    """Clip that is restyled."""
    source_strength: Share = 0.6
    """How far the result may leave source_video: 0 stays, 1 ignores it."""
    first_keyframe: Media | None = None
    """Picture that the shot begins with."""
    last_keyframe: Media | None = None
    """Picture that the shot ends with."""
    controls: Annotated[tuple[Control, ...], Meta(max_length=4)] = ()
    """Pose, depth, motion ... that the shot follows."""
    background: Background | None = None
    """Replacement of the background."""
    trim: Trim | None = None
    """Part of the rendered shot that is used."""
    chunk_seeds: Annotated[tuple[ChunkSeed, ...], Meta(max_length=50)] = ()
    """Chunks whose seed does not follow from the shot's: each of the model's chunks at most once. What is chained to
    such a chunk starts from its frames, and so is rendered anew as well."""


class Transition(Record, frozen=True, kw_only=True):
    """How shot `after` gives way to the next one. Shots without one are joined by a cut."""

    after: ShotIndex
    """0-based index of the shot before the transition."""
    kind: Literal["crossfade", "fade_black", "fade_white", "wipe", "slide"] = "crossfade"
    """The look of it."""
    duration_s: Annotated[float, Meta(gt=0, le=10)]
    """The two shots overlap for this long, so the video is this much shorter than the sum of its shots."""


class Cue(Record, frozen=True, kw_only=True):
    """One subtitle."""

    start_s: Offset
    """When it appears, counted from the start of the video."""
    end_s: Offset
    """When it disappears."""
    text: Annotated[str, Meta(min_length=1, max_length=500)]
    """What it says."""


class Subtitles(Record, frozen=True, kw_only=True):
    """Text under the pictures. One of `cues`, `media`, or `from_narration` says what."""

    cues: Annotated[tuple[Cue, ...], Meta(max_length=500)] = ()
    """The subtitles themselves."""
    media: Media | None = None
    """A file in SRT, VTT or ASS."""
    from_narration: bool = False
    """Made from the narration, timed to its words."""
    language: Annotated[str, Meta(max_length=35)] = ""
    """BCP 47 tag, e.g. en or zh-Hans."""
    burned_in: bool = False
    """Drawn into the pictures instead of kept as a track."""


class Narration(Record, frozen=True, kw_only=True):
    """A spoken text (text to speech), or a recording."""

    text: Annotated[str, Meta(max_length=5000)] = ""
    """What is said."""
    media: Media | None = None
    """A recording instead of the text."""
    voice: Name | None = None
    """Name of a voice."""
    language: Annotated[str, Meta(max_length=35)] = ""
    """BCP 47 tag."""
    speed: Annotated[float, Meta(ge=0.5, le=2)] = 1.0
    """1 is normal."""
    start_s: Offset = 0.0
    """When it begins."""


class Music(Record, frozen=True, kw_only=True):
    """A bed under the video: a file, or a description."""

    media: Media | None = None
    """The recording."""
    prompt: Text = ""
    """What it should sound like, where it is to be made."""
    volume_db: Annotated[float, Meta(ge=-60, le=12)] = -12.0
    """Level against full scale."""
    ducking: bool = True
    """Lowered while somebody speaks."""


class LipSync(Record, frozen=True, kw_only=True):
    """Mouths move to the narration."""

    shots: Annotated[tuple[ShotIndex, ...], Meta(max_length=50)] = ()
    """0-based indexes of the shots; all of them if left out."""


class Output(Record, frozen=True, kw_only=True):
    """Shape and format of the video."""

    width_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=2)] = 640
    """Width of the picture."""
    height_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=2)] = 360
    """Height of the picture."""
    fps: Annotated[int, Meta(ge=1, le=60)] = 24
    """Frames per second, within what the model can; frames are rendered at this rate, one to one."""
    fit: Literal["contain", "cover"] = "contain"
    """The model renders its native size with the nearest aspect; the picture is then scaled: contain adds bars, cover
    crops."""
    container: Literal["mp4", "webm", "gif", "hls"] = "mp4"
    """File format."""
    codec: Literal["h264", "h265", "av1", "vp9", "gif"] = "h264"
    """Video codec."""
    bitrate_kbps: Annotated[int, Meta(ge=100, le=200_000)] | None = None
    """Target bitrate; constant quality if left out."""
    quality: Annotated[int, Meta(ge=0, le=100)] | None = None
    """Constant quality, 100 is best; the installation's if left out."""


class Destination(Record, frozen=True, kw_only=True):
    """Where the finished files are copied to, besides our own store."""

    uri: Annotated[str, Meta(min_length=8, max_length=1024, pattern=r"^s3://")]
    """s3://bucket/prefix; the name of the job is appended."""


class Label(Record, frozen=True, kw_only=True):
    """The visible mark that says: generated."""

    profile: Literal["eu", "cn", "none"]
    """Rule that it follows. none: nothing is drawn, for tenants that may have it so; the other marks stay."""
    text: Annotated[str, Meta(max_length=80)] = ""
    """Own text instead of the profile's."""
    position: Literal["", "top-left", "top-right", "bottom-left", "bottom-right"] = ""
    """Corner; the profile's if left out."""
    opacity: Annotated[float, Meta(ge=0.4, le=1)] | None = None
    """Share of the picture that the plate behind the letters hides; 0.68 if left out. The letters are always opaque,
    and have a dark edge below 0.6."""


class Webhook(Record, frozen=True, kw_only=True):
    """An address that is told of the end of the job (Standard Webhooks)."""

    url: Annotated[str, Meta(min_length=8, max_length=2048, pattern=r"^https?://")]
    """https://host/path."""


class JobRequest(Record, frozen=True, kw_only=True):
    """A job is a storyboard. One prompt is a storyboard of one shot. Topic jobs.requested.<lane>, key = job_id."""

    job_id: Annotated[str, Meta(pattern=JOB_ID_PATTERN)]
    """Chosen by the sender, unique per tenant, and the record key: sending it again changes nothing. A spent id stays
    spent, also after a rejection: a corrected request needs a new one."""
    shots: Annotated[tuple[Shot, ...], Meta(min_length=1, max_length=50)]
    """The storyboard."""
    tenant: Annotated[str, Meta(pattern=TENANT_PATTERN)] = "default"
    """On whose account; must be the one whose key signed the request where signatures are required."""
    project: Name | None = None
    """Part of the tenant that shares its turn with the others."""
    lane: Lane = "standard"
    """Class of service; must be the lane of the topic that carries the request."""
    priority: Annotated[int, Meta(ge=-10, le=10)] = 0
    """Order among the jobs of one tenant and lane: higher goes first."""
    model: Annotated[str, Meta(min_length=1, max_length=64)] = "shapes"
    """Name from the model registry."""
    transitions: Annotated[tuple[Transition, ...], Meta(max_length=49)] = ()
    """At most one between two shots; cuts elsewhere. Those before and after a shot must fit into it side by side."""
    subtitles: Subtitles | None = None
    """Text track."""
    narration: Narration | None = None
    """Spoken text."""
    music: Music | None = None
    """Music bed."""
    lip_sync: LipSync | None = None
    """Mouths that follow the narration."""
    output: Output = Output()
    """Shape and format of the video."""
    label: Label | None = None
    """Visible mark; the installation's if left out."""
    destination: Destination | None = None
    """Where the files are copied to."""
    deadline_ms: Moment | None = None
    """Moment (ms since the epoch) after which the video is of no use: a job that still renders then ends as expired.
    Later than the broker's timestamp of the request. Once it is assembling it is finished, late or not."""
    not_before_ms: Moment | None = None
    """Moment (ms since the epoch) before which nothing is rendered."""
    reply_topic: Annotated[str, Meta(pattern=TOPIC_PATTERN)] | None = None
    """Full name of one of the tenant's reply topics, e.g. reelbus.replies.default.v1. Left out: no replies there."""
    webhook: Webhook | None = None
    """Address that is told of the end; only where the operator has set a signing secret."""
    batch_id: Annotated[str, Meta(pattern=JOB_ID_PATTERN)] | None = None
    """Name of the batch that the job belongs to; given back on every result."""
    metadata: Metadata = {}
    """Given back unchanged on every result. At most 32 entries, 4 KiB in all."""


class JobOrder(Record, frozen=True, kw_only=True):
    """What a caller wants done with a job it sent. Topic orders.requested, key = job_id."""

    job_id: Annotated[str, Meta(pattern=JOB_ID_PATTERN)]
    """The job."""
    action: Literal["cancel", "hold", "resume", "reprioritise", "move_lane", "change_deadline"]
    """cancel: no further chunk is handed out, and one that renders stops at its next denoise step. hold: no further
    chunk is handed out, until resume; one that renders is finished, and the deadline still counts. The others change
    what the request said; they act at the next chunk boundary."""
    tenant: Annotated[str, Meta(pattern=TENANT_PATTERN)] = "default"
    """Whose job it is."""
    reason: Annotated[str, Meta(max_length=500)] = ""
    """For cancel: kept with the job's result. For hold: shown while it is held."""
    priority: Annotated[int, Meta(ge=-10, le=10)] | None = None
    """For reprioritise, which needs it: order among the jobs of one tenant and lane, higher goes first."""
    lane: Lane | None = None
    """For move_lane, which needs it: the class of service to move to."""
    deadline_ms: Moment | None = None
    """For change_deadline: the new deadline, as in the request, after the broker's timestamp of the order; left out:
    the job has none any more."""
