"""Judges a run by what can be seen from outside: the invariants I1 to I7. Pure; says every single thing that is wrong.

I1  every acknowledged job has exactly one terminal state, one that its kind may end in
I2  completed: one video, whole, with exactly the frames of its plan in their order, and its side files
I3  exactly one terminal record per job, one usage record and one entry of the audit trail with it, none twice, for
    readers of committed records; the trail's chains hold
I4  no video of a job that did not complete, none put twice
I5  nothing is left unread, no offset is committed past the end
I6  no object that no job accounts for
I7  nothing of one tenant at another
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from ops.garbage import owner
from schemas.chunks import chunk_ids, chunk_keys, frames_of, overlap_frames
from schemas.events import JobFinished
from schemas.ids import event_id, video_object_key
from schemas.lifecycle import TERMINAL
from schemas.plan import Plan
from tests.faults.evidence import UNREADABLE, Evidence, Frame
from tests.faults.jobs import ENDS, Asked

SIDE_FILES = ("thumbnail.jpg", "contact-sheet.png")
FILES = ("video.mp4", *SIDE_FILES)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be. rule: I1 to I7."""

    rule: str
    job: str
    what: str


def check(asked: Sequence[Asked], seen: Evidence) -> list[Violation]:
    """Everything that is wrong, in the order of the rules."""
    return [
        *_ends(asked, seen),
        *_videos(seen),
        *_records(seen),
        *_published(seen),
        *_offsets(seen),
        *_objects(seen),
        *_tenants(seen),
        *_told(asked, seen),
    ]


def _first(seen: Evidence) -> dict[str, JobFinished]:
    return {done.job: done for done in reversed(seen.finished)}


def _ends(asked: Sequence[Asked], seen: Evidence) -> Iterator[Violation]:
    done = _first(seen)
    latest = {state.job: state for state in seen.states}
    for job in asked:
        if job.job not in seen.acknowledged:
            yield Violation("I1", job.job, "was never acknowledged: the run ended too early")
        elif job.job not in done:
            known = latest.get(job.job)
            last = known.state if known else "unknown"
            yield Violation("I1", job.job, f"lost: no terminal record; last state {last}")
        elif done[job.job].state not in ENDS[job.kind]:
            why = done[job.job].reason
            text = f"{done[job.job].state} ({why.code}: {why.message})" if why else done[job.job].state
            yield Violation("I1", job.job, f"a {job.kind} job ended as {text}")
        elif latest[job.job].state not in (done[job.job].state, "deleted"):
            text = f"state {latest[job.job].state} beside terminal record {done[job.job].state}"
            yield Violation("I1", job.job, text)
    ended: dict[str, str] = {}
    for state in seen.states:
        if state.job in ended and state.state not in (ended[state.job], "deleted"):
            yield Violation("I1", state.job, f"left the terminal state {ended[state.job]} for {state.state}")
        if state.state in TERMINAL:
            ended.setdefault(state.job, state.state)


def frames_of_plan(plan: Plan) -> list[Frame]:
    """What the pixels of the finished video must say; UNREADABLE where two shots are blended."""
    names, fps, shared = chunk_ids(plan), plan.request.output.fps, overlap_frames(plan.request)
    video: list[Frame] = []
    for shot, what in enumerate(plan.request.shots):
        frames = [
            (names[i][:8], span.first_frame + n)
            for i, span in enumerate(plan.chunks)
            if span.shot == shot
            for n in range(span.frames)
        ]
        assert len(frames) == frames_of(what.duration_s, fps)
        blended = shared.get(shot - 1, 0)
        video[len(video) - blended :] = [UNREADABLE] * blended
        video += frames[blended:]
    return video


def _videos(seen: Evidence) -> Iterator[Violation]:
    for done in seen.finished:
        if done.state != "completed":
            continue
        if done.video is None or done.job not in seen.plans:
            yield Violation("I2", done.job, "completed without a video or a plan")
            continue
        published = (done.video.file, done.video.thumbnail, done.video.contact_sheet)
        for name, file in zip(FILES, published, strict=True):
            key = video_object_key(done.job, name)
            if file is None or file.key != key:
                yield Violation("I2", done.job, f"names {file.key if file else None} as its {name}")
            elif key not in seen.objects:
                yield Violation("I2", done.job, f"half done: there is no {name}")
            elif seen.objects[key] != file.sha256:
                yield Violation("I2", done.job, f"{name} has other bytes than its record says")
        video = seen.videos.get(video_object_key(done.job, "video.mp4"))
        if video is not None:
            yield from _frames(done.job, seen.plans[done.job], video.frames, video.error)


def _frames(job: str, plan: Plan, found: Sequence[Frame], error: str) -> Iterator[Violation]:
    wanted = frames_of_plan(plan)
    if error:
        yield Violation("I2", job, f"the video does not decode: {error}")
    if len(found) != len(wanted):
        yield Violation("I2", job, f"{len(found)} frames where the plan has {len(wanted)}")
    for position, (is_, should) in enumerate(zip(found, wanted, strict=False)):
        if should != UNREADABLE and is_ != should:
            yield Violation("I2", job, f"frame {position} is {is_}, it should be {should}")
            return


def _ends_entered(seen: Evidence) -> Counter[str]:
    """By job that has ended. A refusal may be that of another request under its id, so jobs that were refused are not
    counted."""
    counted = Counter(
        entry.job for entry in seen.entries if entry.kind in ("published", "failed", "cancelled", "expired")
    )
    return Counter({done.job: counted[done.job] for done in seen.finished if done.state != "rejected"})


def _records(seen: Evidence) -> Iterator[Violation]:
    for partition, chain_ in seen.audit.items():
        for fault in chain_.broken:
            yield Violation("I3", "", f"audit.trail[{partition}] at {fault.offset}: {fault.why}")
    for what, counts in (
        ("terminal records", Counter(done.job for done in seen.finished)),
        ("usage records", Counter(used.job for used in seen.usage if used.id == event_id("usage", used.job))),
        ("entries of its end in the audit trail", _ends_entered(seen)),
    ):
        for job, count in counts.items():
            if count != 1:
                yield Violation("I3", job, f"{count} {what}")
    for job in {done.job for done in seen.finished} ^ {used.job for used in seen.usage}:
        yield Violation("I3", job, "terminal record and usage record do not come together")
    for used, count in Counter((used.job, used.id) for used in seen.usage).items():
        if count > 1 and used[1] != event_id("usage", used[0]):
            yield Violation("I3", used[0], f"late device time is metered {count} times under one id")
    latest: dict[str, int] = {}
    for state in seen.states:
        if state.sequence <= latest.get(state.job, 0):
            yield Violation("I3", state.job, f"sequence {state.sequence} after {latest[state.job]}")
        latest[state.job] = max(state.sequence, latest.get(state.job, 0))


def _published(seen: Evidence) -> Iterator[Violation]:
    done = _first(seen)
    completed = {video_object_key(job, "video.mp4") for job, d in done.items() if d.state == "completed"}
    for key in seen.videos:
        if key not in completed:
            yield Violation("I4", key, "a video of a job that did not complete")
    for key, count in seen.created.items():
        if key.startswith("videos/") and count - seen.deleted[key] > 1:
            yield Violation("I4", key, f"was put {count} times")
    ended_ms = {d.job: d.finished_at_ms for d in done.values() if d.state in ("cancelled", "rejected", "expired")}
    for event in seen.events:
        if event.type == "job.published" and event.job in ended_ms:
            yield Violation("I4", event.job, "published although it had ended")


def _offsets(seen: Evidence) -> Iterator[Violation]:
    for place, count in seen.lags.items():
        yield Violation("I5", "", f"{place}: {count} records are not committed")
    for place, count in seen.past_end.items():
        yield Violation("I5", "", f"{place}: committed {count} past the end")


def _objects(seen: Evidence) -> Iterator[Violation]:
    known = {owner.KEY} | {key for plan in seen.plans.values() for key in chunk_keys(plan)}
    for job in seen.plans:
        known |= {video_object_key(job, name) for name in FILES}
    for key in seen.objects:
        if key not in known:
            yield Violation("I6", key, "an object that no job accounts for")


def _tenants(seen: Evidence) -> Iterator[Violation]:
    for tenant, reply in seen.replies:
        if reply.tenant != tenant:
            yield Violation("I7", reply.job, f"was told to tenant {tenant}")
    owners: dict[str, set[str]] = defaultdict(set)
    for plan in seen.plans.values():
        for name in chunk_ids(plan):
            owners[name[:8]].add(plan.request.tenant)
    plan_of = {video_object_key(job, "video.mp4"): plan for job, plan in seen.plans.items()}
    for key, video in seen.videos.items():
        plan = plan_of.get(key)
        wanted = [] if plan is None else frames_of_plan(plan)
        # A blend of two frames says anything, once in 256 times with a checksum that fits.
        places = zip(video.frames, chain(wanted, repeat(None)), strict=False)
        shown = {name for (name, _), should in places if name and should != UNREADABLE}
        strange = {name for name in shown if plan is None or plan.request.tenant not in owners[name]}
        if strange:
            yield Violation("I7", key, f"shows frames of another tenant or of nobody: {sorted(strange)}")


def _told(asked: Sequence[Asked], seen: Evidence) -> Iterator[Violation]:
    """Callers hear the end of their jobs, under one id; so do webhooks."""
    ends: dict[str, set[str]] = defaultdict(set)
    for _, reply in seen.replies:
        if reply.result is not None:
            ends[reply.job].add(reply.id)
    for job in asked:
        if job.job in seen.acknowledged and len(ends[job.job]) != 1:
            yield Violation("I3", job.job, f"its end was told under {len(ends[job.job])} ids")
        if job.request.webhook is not None and job.job in seen.acknowledged:
            ids = set(seen.webhooks.get(job.job, ()))
            if len(ids) != 1:
                yield Violation("I3", job.job, f"its webhook came under {len(ids)} ids")
