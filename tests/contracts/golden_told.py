"""Golden examples of what is told about jobs: what `track` makes of every stage's events."""

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from ops import deletion
from schemas.events import JobEvent, JobReply, JobState, Progress, PublishedFile, Reason, Video, WebhookDelivery
from schemas.ids import event_id, video_object_key
from schemas.plan import Plan
from schemas.reports import plan_event
from schemas.request import JobRequest
from schemas.reviews import ReviewDecision
from schemas.steering import of_command
from schemas.topics import JOBS_FINISHED_RETRY
from stream_processors.moderate.core import Cleared, Rejected
from stream_processors.mux.core import SignedBy, describe
from stream_processors.split.core import planned
from stream_processors.track import core as track
from tests.contracts import golden_requests as requests
from tests.contracts.golden_jobs import ALLOW, DOUBT, T0, cleared, judged
from tests.contracts.golden_work import object_of, ordered

Goldens = dict[str, msgspec.Struct]


def _video(plan: Plan) -> Video:
    def file(name: str, kind: str, size_bytes: int) -> PublishedFile:
        key = video_object_key(plan.job, name)
        digest = event_id(key) * 2
        return PublishedFile(
            uri=f"s3://videos.example.com/{key}", key=key, sha256=digest, size_bytes=size_bytes, content_type=kind
        )

    return describe(
        plan,
        file("video.mp4", "video/mp4", 182_334),
        file("thumbnail.jpg", "image/jpeg", 9_120),
        file("contact-sheet.png", "image/png", 41_200),
        label="AI generated",
        signed_by=SignedBy("7" * 64, "Video signing 2026"),
        expires_at_ms=T0 + 30 * 86_400_000,
    )


def _events(plan: Plan, accepted: JobEvent) -> dict[str, JobEvent]:
    """One event of every type, of one job, in the order of its life; the ends exclude each other."""
    chunks = len(plan.chunks)
    waiting = Progress(chunks=chunks, queue_position=2, eta_s=3.1)
    running = Progress(chunks=chunks, running=1, eta_s=1.9, waited_s=0.42)
    done = Progress(chunks=chunks, rendered=chunks - 1, reused=1, device_s=0.61, waited_s=0.42)

    def said(source: str, kind: str, after_ms: int, **facts: object) -> JobEvent:
        return plan_event(source, kind, plan, at_ms=T0 + after_ms, **facts)  # type: ignore[arg-type]

    looked_at = object_of(plan, 0).sha256
    late = "too late to cancel: all chunks are rendered and the video is being assembled"
    return {
        "accepted": accepted,
        "planned": planned(plan, T0 + 200),
        "queued": said("dispatch", "job.queued", 300, prompts=plan.prompts, progress=waiting),
        "started": said("dispatch", "job.started", 400, progress=running),
        "progress": said("dispatch", "job.progress", 1_400, about="1", progress=replace(running, rendered=1)),
        "review-wanted": said(
            "dispatch", "job.review-wanted", 1_500, about=looked_at, frames=DOUBT,
            progress=replace(running, rendered=1, stopped="frames wait for a review"),
        ),
        "review-approved": said(
            "dispatch", "job.review-approved", 1_900, about=looked_at, progress=replace(running, rendered=1),
            review=ReviewDecision(
                job=plan.job, verdict="approve", objects=(looked_at,), reason="a marble statue", by="ada",
                at_ms=T0 + 1_880,
            ),
        ),
        "assembling": said("dispatch", "job.assembling", 2_000, about="1", progress=done),
        "cancel-refused": said("dispatch", "job.cancel-refused", 2_100, reason=_why("cancel_too_late", late)),
        "steered": said(
            "dispatch", "job.steered", 1_800, about="held", progress=replace(running, rendered=1, stopped="held"),
            steering=of_command(ordered("hold")),
        ),
        "order-refused": said(
            "dispatch", "job.order-refused", 2_150,
            reason=_why("order_too_late", "hold: all chunks are rendered and the video is being assembled"),
        ),
        "published": said("mux", "job.published", 4_200, video=_video(plan), frames=ALLOW),
        "failed": said(
            "dispatch", "job.failed", 3_000,
            reason=_why("render_failed", "chunk 1 could not be rendered in 5 tries: the device ran out of memory"),
        ),
        "cancelled": said(
            "dispatch", "job.cancelled", 950, reason=_why("cancelled", "the order was withdrawn"),
        ),
        "metered": said("dispatch", "job.metered", 1_100, about="0.050", late_device_s=0.05, fingerprint=""),
        "expired": said(
            "dispatch", "job.expired", 3_600_000,
            reason=_why("deadline_passed", "the deadline passed before the video was rendered"),
        ),
    }  # fmt: skip


def _why(code: str, message: str, field: str = "") -> Reason:
    return Reason(code=code, message=message, field=field)


def _story(*events: JobEvent) -> Iterator[tuple[JobState, list[msgspec.Struct]]]:
    """The states that events lead to, each with the other records that `track` writes about it."""
    state: JobState | None = None
    for event in events:
        after, out = track.take(state, event, 0)
        state = after or state
        assert state is not None, event.type
        yield state, [o.record for o in out if o.record is not None and o.record is not state]


def told(plan: Plan) -> Goldens:
    events = _events(plan, cleared("standard")[0])
    made: Goldens = {f"jobs.events/{name}": event for name, event in events.items()}
    rejected = [_refused(requests.BLOCKED), _refused(requests.WRONG)]
    made["jobs.events/rejected-prompt"], made["jobs.events/rejected-field"] = rejected
    for number, name in enumerate(("prompt", "field")):
        made |= _ending(f"rejected-{name}", list(_story(rejected[number]))[-1])
    life = ["accepted", "planned", "queued", "started", "progress", "steered", "assembling", "cancel-refused"]
    life += ["order-refused", "published"]
    for name, step in zip(life, _story(*(events[name] for name in life)), strict=True):
        made |= _ending("completed", step) if name == "published" else _along(name, step)
        if name == "published":
            gone = deletion.deleted(step[0], _why("retention_ended", "kept for 30 days"), T0 + 30 * 86_400_000)
            made["jobs.events/deleted"] = gone
            made |= _along("deleted", list(_story(*(events[name] for name in life), gone))[-1])
    for name in ("failed", "cancelled", "expired"):
        step = list(_story(*(events[each] for each in ("accepted", "planned", "queued", "started", name))))[-1]
        made |= _ending(name, step)
    cancelled = [events[name] for name in ("accepted", "planned", "queued", "started", "cancelled", "metered")]
    after, (late,) = list(_story(*cancelled))[-1]
    made |= {"jobs.state/cancelled-and-metered": after, "usage.metered/late": late}
    made |= _second_request(events["accepted"])
    made |= {f"replies.default/{name}": record for name, record in _replies(made)}
    return made


def _refused(request: JobRequest) -> JobEvent:
    verdict = judged("standard", request)
    assert isinstance(verdict, Rejected)
    return verdict.event


def _along(name: str, step: tuple[JobState, list[msgspec.Struct]]) -> Goldens:
    state, others = step
    made: Goldens = {f"jobs.replies/{name}": record for record in others if isinstance(record, JobReply)}
    if name not in ("progress", "cancel-refused", "order-refused"):
        made[f"jobs.state/{state.state}"] = state
    return made


def _ending(name: str, step: tuple[JobState, list[msgspec.Struct]]) -> Goldens:
    state, (finished, usage, told) = step
    made: Goldens = {
        f"jobs.state/{name}": state, f"jobs.finished/{name}": finished, f"usage.metered/{name}": usage,
        f"jobs.replies/{name}": told,
    }  # fmt: skip
    if name == "completed":
        made |= {f"{topic.entity}/{name}": finished for topic in JOBS_FINISHED_RETRY.values()}
    return made


def _second_request(first: JobEvent) -> Goldens:
    other = judged("standard", replace(requests.MAIN["standard"], shots=requests.STORYBOARD.shots[:1]))
    assert isinstance(other, Cleared)
    (_, (told,)) = list(_story(first, other.event))[-1]
    return {"jobs.replies/rejected-second-request": told}


def _replies(made: Goldens) -> Iterator[tuple[str, msgspec.Struct]]:
    """A caller's own topic has the same records."""
    for path, record in made.items():
        topic, _, name = path.partition("/")
        if topic == "jobs.replies":
            yield name, record


def deliveries(plan: Plan) -> Goldens:
    first = WebhookDelivery(
        id=event_id("finished", plan.job), job=plan.job, attempt=1, outcome="delivered", status=204, at_ms=T0 + 4_300
    )
    busy = replace(first, outcome="retry", status=503, error="the receiver answered 503")
    private = "hooks.example.com is 10.0.0.7, a private address"
    return {
        "notify.log/delivered": first,
        "notify.log/retry": busy,
        "notify.log/given-up": replace(busy, outcome="given-up", attempt=7),
        "notify.log/refused": replace(first, outcome="refused", status=0, error=private),
    }
