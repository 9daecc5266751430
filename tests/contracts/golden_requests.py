"""The requests and orders among the golden examples: what callers write by hand."""

from schemas.request import (
    Background,
    ChunkSeed,
    Control,
    Cue,
    Destination,
    JobOrder,
    JobRequest,
    Label,
    Lane,
    LipSync,
    Media,
    Music,
    Narration,
    Output,
    Shot,
    Subtitles,
    Transition,
    Trim,
    Webhook,
)

DEADLINE_MS = 1_795_003_600_000
_BALL = Shot(prompt="a red ball moving right on a black background", duration_s=2.0)
_FILE = Media(uri="https://media.example.com/cat.png", sha256="0a" * 32)
_CLIP = Media(uri="s3://bucket/take-3.mp4", sha256="0b" * 32)

ONE_PROMPT = JobRequest(job_id="order-1017", shots=(_BALL,))
"""The least that a request can say."""
WITH_ANSWER = JobRequest(
    job_id="order-1018",
    shots=(_BALL,),
    deadline_ms=DEADLINE_MS,
    reply_topic="reelbus.replies.default.v1",
    webhook=Webhook(url="https://hooks.example.com/reelbus"),
    metadata={"customer": "4711", "title": "Glück & ☂"},
)
STORYBOARD = JobRequest(
    job_id="trailer-7",
    tenant="studio-a",
    lane="express",
    shots=(
        Shot(prompt="a red ball rising on a white background", duration_s=1.5, seed=11),
        Shot(
            prompt="a blue square moving left on a gray background", duration_s=1.5, negative_prompt="triangle",
            continuity="independent",
        ),
    ),
    transitions=(Transition(after=0, duration_s=0.5),),
    output=Output(width_px=1280, height_px=720, fit="cover"),
    metadata={"campaign": "spring"},
)  # fmt: skip
BATCH_ROW = JobRequest(
    job_id="row-000042",
    lane="bulk",
    shots=(Shot(prompt="a yellow triangle staying still on a navy background", duration_s=4.0, seed=5),),
    output=Output(width_px=256, height_px=256, fps=12),
    batch_id="catalogue-2026-11",
    metadata={"sku": "A-42"},
)
FROM_A_PICTURE = JobRequest(
    job_id="from-a-picture",
    shots=(
        Shot(prompt="the cat walks away", duration_s=1.0, first_keyframe=_FILE),
        Shot(prompt="a red ball moving right on a black background", duration_s=1.0),
    ),
    output=Output(width_px=256, height_px=256, fps=12),
)
"""A shot that begins with a picture of the caller's."""
EVERY_FIELD = JobRequest(
    job_id="every-field",
    tenant="studio-a",
    project="launch",
    priority=3,
    model="ltx-video",
    shots=(
        Shot(
            prompt="a cat walks through a door", duration_s=4.0, negative_prompt="dog", seed=7,
            continuity="independent", model="wan", style="watercolour", guidance=3.5, steps=12,
            reference_images=(_FILE,), source_video=_CLIP, source_strength=0.4,
            first_keyframe=_FILE, last_keyframe=_FILE,
            controls=(Control(kind="pose", media=_CLIP, strength=0.8),),
            background=Background(kind="colour", colour="#00aa55"), trim=Trim(start_s=0.5, end_s=3.5),
            chunk_seeds=(ChunkSeed(chunk=1, seed=43),),
        ),
        Shot(prompt="the cat sleeps", duration_s=3.0, background=Background(kind="prompt", prompt="a sunny garden")),
        Shot(prompt="the cat wakes up", duration_s=2.0, background=Background(kind="media", media=_CLIP)),
    ),
    transitions=(Transition(after=0, kind="fade_black", duration_s=0.5),),
    subtitles=Subtitles(cues=(Cue(start_s=0.2, end_s=1.4, text="Good morning."),), language="en", burned_in=True),
    narration=Narration(text="Good morning.", voice="alba", language="en", speed=1.1, start_s=0.2),
    music=Music(prompt="calm piano", volume_db=-18.0, ducking=False),
    lip_sync=LipSync(shots=(0,)),
    output=Output(
        width_px=1920, height_px=1080, fps=30, fit="cover", container="webm", codec="vp9", bitrate_kbps=8000, quality=80
    ),
    label=Label(profile="eu", text="Made with AI", position="bottom-right", opacity=0.8),
    destination=Destination(uri="s3://bucket/finished"),
    deadline_ms=DEADLINE_MS,
    not_before_ms=1_795_000_060_000,
    reply_topic="reelbus.replies.studio-a.v1",
    webhook=Webhook(url="https://hooks.example.com/reelbus"),
    batch_id="launch-1",
    metadata={"k": "v"},
)  # fmt: skip
OWN_RECORDINGS = JobRequest(
    job_id="own-recordings",
    shots=(_BALL,),
    subtitles=Subtitles(from_narration=True, language="de"),
    narration=Narration(media=Media(uri="https://media.example.com/voice.flac", sha256="0c" * 32)),
    music=Music(media=Media(uri="https://media.example.com/bed.flac", sha256="0d" * 32)),
)
SUBTITLE_FILE = JobRequest(
    job_id="subtitle-file",
    shots=(_BALL,),
    subtitles=Subtitles(media=Media(uri="https://media.example.com/de.vtt", sha256="0e" * 32), language="de"),
)

BLOCKED = JobRequest(job_id="order-1019", shots=(Shot(prompt="a ball and term0", duration_s=2.0),))
DOUBTFUL = JobRequest(job_id="order-1020", shots=(Shot(prompt="a ball and term11", duration_s=2.0),))
"""What stands for a term that is left to a person."""
"""What moderation refuses."""
WRONG = JobRequest(job_id="order-1020", shots=(_BALL,), model="dreams")
"""Right in form, and asks for what is not there."""

MAIN: dict[Lane, JobRequest] = {"express": STORYBOARD, "standard": WITH_ANSWER, "bulk": BATCH_ROW}
"""The job of each lane that the other topics' examples are about."""
NAMES: dict[Lane, str] = {"express": "storyboard", "standard": "with-answer", "bulk": "batch-row"}
REQUESTS = {
    "jobs.requested.standard/one-prompt": ONE_PROMPT,
    "jobs.requested.standard/every-field": EVERY_FIELD,
    "jobs.requested.standard/from-a-picture": FROM_A_PICTURE,
    "jobs.requested.standard/own-recordings": OWN_RECORDINGS,
    "jobs.requested.standard/subtitle-file": SUBTITLE_FILE,
    **{f"jobs.requested.{lane}/{NAMES[lane]}": request for lane, request in MAIN.items()},
}
ORDERS = {
    "orders.requested/cancel": JobOrder(job_id="order-1018", action="cancel", reason="the order was withdrawn"),
    "orders.requested/cancel-of-a-tenant": JobOrder(job_id="trailer-7", action="cancel", tenant="studio-a"),
    "orders.requested/hold": JobOrder(job_id="order-1018", action="hold", reason="legal looks at it"),
    "orders.requested/resume": JobOrder(job_id="order-1018", action="resume"),
    "orders.requested/reprioritise": JobOrder(job_id="order-1018", action="reprioritise", priority=5),
    "orders.requested/move-lane": JobOrder(job_id="order-1018", action="move_lane", lane="express"),
    "orders.requested/change-deadline": JobOrder(
        job_id="order-1018", action="change_deadline", deadline_ms=1_900_000_000_000
    ),
    "orders.requested/no-deadline": JobOrder(job_id="order-1018", action="change_deadline"),
}
