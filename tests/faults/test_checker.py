"""A run without a fault is clean, and every single thing that can be wrong with one is reported by its rule."""

from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.audit import Check
from schemas.chunks import chunk_ids
from schemas.events import JobEvent, Reason
from schemas.ids import video_object_key
from tests.faults.checker import check, frames_of_plan
from tests.faults.evidence import UNREADABLE, Evidence, Frame, VideoSeen
from tests.faults.jobs import ENDS, Asked, workload
from tests.faults.whole import evidence_of

JOBS = workload(200, 3, "http://127.0.0.1:1/hook")
WHOLE = evidence_of(JOBS)
Wrong = Callable[[Evidence, str], None]


def job_of(kind: str, *, chunks: int = 1, webhook: bool = False) -> Asked:
    return next(
        a
        for a in JOBS
        if a.kind == kind
        and (a.job not in WHOLE.plans or len(WHOLE.plans[a.job].chunks) >= chunks)
        and (not webhook or a.request.webhook is not None)
    )


PLAIN, CANCELLED = job_of("plain", chunks=2).job, job_of("cancelled").job
OTHER = next(a.job for a in JOBS if a.kind == "plain" and a.request.tenant != PLAIN.partition("/")[0])
HOOKED = job_of("plain", webhook=True).job
ONE = next(a for a in JOBS if a.job == PLAIN)
VIDEO = video_object_key(PLAIN, "video.mp4")


def edit_finished(seen: Evidence, job: str, **changes: object) -> None:
    seen.finished = [replace(d, **changes) if d.job == job else d for d in seen.finished]


def edit_frames(seen: Evidence, edit: Callable[[list[Frame]], list[Frame]]) -> None:
    seen.videos[VIDEO] = VideoSeen(seen.videos[VIDEO].sha256, tuple(edit(list(seen.videos[VIDEO].frames))))


def swapped(frames: list[Frame]) -> list[Frame]:
    return [frames[1], frames[0], *frames[2:]]


def other_order(frames: list[Frame]) -> list[Frame]:
    first = len([f for f in frames if f[0] == frames[0][0]])
    return [*frames[first:], *frames[:first]]


def no_file(name: str) -> Wrong:
    return lambda seen, job: seen.objects.pop(video_object_key(job, name)) and None


def video_of(job: str) -> str:
    return video_object_key(job, "video.mp4")


def leave(seen: Evidence, job: str) -> None:
    last = next(s for s in seen.states if s.job == job and s.state == "completed")
    seen.states.append(replace(last, state="accepted", sequence=3))


def again(seen: Evidence, job: str) -> None:
    seen.finished += [d for d in seen.finished if d.job == job]


def usage_again(seen: Evidence, job: str) -> None:
    seen.usage += [u for u in seen.usage if u.job == job]


def entered_again(seen: Evidence, job: str) -> None:
    seen.entries += [e for e in seen.entries if e.job == job]


def touched(seen: Evidence, job: str) -> None:
    seen.audit[0] = Check()
    seen.audit[0].take(7, b"junk", None)


def metered_late_twice(seen: Evidence, job: str) -> None:
    late = replace(next(u for u in seen.usage if u.job == job), id="late", device_s=0.25)
    seen.usage += [late, late]


def no_usage(seen: Evidence, job: str) -> None:
    seen.usage = [u for u in seen.usage if u.job != job]


def lost(seen: Evidence, job: str) -> None:
    seen.finished = [d for d in seen.finished if d.job != job]
    seen.usage = [u for u in seen.usage if u.job != job]
    seen.states = [s for s in seen.states if s.job != job or s.sequence == 1]
    seen.replies = [r for r in seen.replies if r[1].job != job]


def refused(seen: Evidence, job: str) -> None:
    edit_finished(seen, job, state="failed", video=None, reason=Reason(code="x", message="y"))


def retell(seen: Evidence, job: str) -> None:
    seen.replies += [(tenant, replace(r, id="another")) for tenant, r in seen.replies if r.job == job]


def untold(seen: Evidence, job: str) -> None:
    seen.replies = [r for r in seen.replies if r[1].job != job]


def to_another_tenant(seen: Evidence, job: str) -> None:
    told = next(r for _, r in seen.replies if r.job == job)
    other = OTHER.partition("/")[0]
    seen.replies.append((other, told))


def of_another_tenant(seen: Evidence, job: str) -> None:
    seen.videos[VIDEO] = seen.videos[video_object_key(OTHER, "video.mp4")]


def published_late(seen: Evidence, job: str) -> None:
    seen.events.append(JobEvent(id="e", source="mux", type="job.published", job=job, at_ms=9))


def video_all_the_same(seen: Evidence, job: str) -> None:
    seen.videos[video_of(job)] = VideoSeen("0" * 64, ())


def stuck(seen: Evidence, job: str) -> None:
    seen.states = [s for s in seen.states if s.job != job or s.sequence == 1]


def same_sequence(seen: Evidence, job: str) -> None:
    seen.states += [next(s for s in seen.states if s.job == job and s.state == "completed")]


def sub(name: str, job: str) -> str:
    return video_object_key(job, name)


def other_key(seen: Evidence, job: str) -> None:
    done = next(d for d in seen.finished if d.job == job)
    assert done.video is not None
    file = replace(done.video.file, key=video_of(OTHER))
    edit_finished(seen, job, video=replace(done.video, file=file))


CASES: list[tuple[str, Wrong, str, str, str]] = [
    ("never acknowledged", lambda s, j: s.acknowledged.remove(j), PLAIN, "I1", "never acknowledged"),
    ("lost", lost, PLAIN, "I1", "lost: no terminal record; last state accepted"),
    ("ends as it must not", refused, PLAIN, "I1", "a plain job ended as failed"),
    ("state behind the record", stuck, PLAIN, "I1", "beside terminal record"),
    ("leaves its terminal state", leave, PLAIN, "I1", "left the terminal state"),
    ("no video in the record", lambda s, j: edit_finished(s, j, video=None), PLAIN, "I2", "without a video"),
    ("plan gone", lambda s, j: s.plans.pop(j) and None, PLAIN, "I2", "without a video or a plan"),
    ("names another's file", other_key, PLAIN, "I2", "as its video.mp4"),
    ("no video object", no_file("video.mp4"), PLAIN, "I2", "half done: there is no video.mp4"),
    ("no thumbnail", no_file("thumbnail.jpg"), PLAIN, "I2", "half done: there is no thumbnail.jpg"),
    ("no contact sheet", no_file("contact-sheet.png"), PLAIN, "I2", "half done: there is no contact-sheet.png"),
    ("other bytes", lambda s, j: s.objects.update({VIDEO: "0" * 64}), PLAIN, "I2", "other bytes"),
    (
        "does not decode",
        lambda s, j: s.videos.update({VIDEO: VideoSeen("0" * 64, s.videos[VIDEO].frames, "broken")}),
        PLAIN,
        "I2",
        "does not decode",
    ),
    ("frames swapped", lambda s, j: edit_frames(s, swapped), PLAIN, "I2", "frame 0 is"),
    ("chunks swapped", lambda s, j: edit_frames(s, other_order), PLAIN, "I2", "frame 0 is"),
    ("a frame less", lambda s, j: edit_frames(s, lambda f: f[:-1]), PLAIN, "I2", "frames where the plan has"),
    ("a frame twice", lambda s, j: edit_frames(s, lambda f: [f[0], *f]), PLAIN, "I2", "frames where the plan has"),
    ("a damaged frame", lambda s, j: edit_frames(s, lambda f: [UNREADABLE, *f[1:]]), PLAIN, "I2", "frame 0 is"),
    ("second terminal record", again, PLAIN, "I3", "2 terminal records"),
    ("second usage record", usage_again, PLAIN, "I3", "2 usage records"),
    ("late usage twice", metered_late_twice, PLAIN, "I3", "metered 2 times under one id"),
    ("end entered twice", entered_again, PLAIN, "I3", "2 entries of its end"),
    ("end not entered", lambda s, j: s.entries.clear(), PLAIN, "I3", "0 entries of its end"),
    ("trail was touched", touched, PLAIN, "I3", "audit.trail[0] at 7: is no audit entry"),
    ("terminal without usage", no_usage, PLAIN, "I3", "together"),
    ("sequence repeated", same_sequence, PLAIN, "I3", "sequence 2 after 2"),
    ("two reply ids", retell, PLAIN, "I3", "told under 2 ids"),
    ("never told", untold, PLAIN, "I3", "told under 0 ids"),
    ("two webhook ids", lambda s, j: s.webhooks[j].append("another"), HOOKED, "I3", "under 2 ids"),
    ("no webhook", lambda s, j: s.webhooks.pop(j) and None, HOOKED, "I3", "under 0 ids"),
    ("video of a cancelled job", video_all_the_same, CANCELLED, "I4", "did not complete"),
    ("published after its end", published_late, CANCELLED, "I4", "published although"),
    ("video put twice", lambda s, j: s.created.update([VIDEO]), PLAIN, "I4", "was put 2 times"),
    ("thumbnail put twice", lambda s, j: s.created.update([sub("thumbnail.jpg", j)]), PLAIN, "I4", "was put 2 times"),
    ("left unread", lambda s, j: s.lags.update({"g t[0]": 3}), PLAIN, "I5", "3 records are not committed"),
    ("past the end", lambda s, j: s.past_end.update({"g t[0]": 1}), PLAIN, "I5", "committed 1 past the end"),
    ("an object of nobody", lambda s, j: s.objects.update({"chunks/x/y.mkv": "0"}), PLAIN, "I6", "no job accounts for"),
    ("a stray file of a job", lambda s, j: s.objects.update({sub("notes.txt", j): "0"}), PLAIN, "I6", "accounts for"),
    ("told to another tenant", to_another_tenant, PLAIN, "I7", "was told to tenant"),
    ("shows another tenant's frames", of_another_tenant, PLAIN, "I7", "frames of another tenant"),
]  # fmt: skip


def test_a_run_of_every_kind_of_job_without_a_fault_is_clean() -> None:
    assert {a.kind for a in JOBS} == ENDS.keys()
    assert check(JOBS, WHOLE) == []


@pytest.mark.parametrize(("wrong", "job", "rule", "says"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_each_thing_that_is_wrong_is_reported_by_its_rule(wrong: Wrong, job: str, rule: str, says: str) -> None:
    seen = deepcopy(WHOLE)
    wrong(seen, job)
    assert [v for v in check(JOBS, seen) if v.rule == rule and says in v.what]


def test_what_the_outside_may_do_is_no_violation() -> None:
    seen = deepcopy(WHOLE)
    key = video_object_key(PLAIN, "thumbnail.jpg")
    seen.created[key], seen.deleted[key] = 2, 1
    for place in [k for k in seen.objects if k.startswith("chunks/")]:
        del seen.objects[place]  # garbage collection
    seen.objects["garbage/owner.json"] = "0" * 64
    seen.replies += seen.replies
    assert check(JOBS, seen) == []


def test_a_blend_of_two_frames_that_reads_by_chance_accuses_nobody() -> None:
    seen = deepcopy(WHOLE)
    blended = [key for key, video in seen.videos.items() if UNREADABLE in video.frames]
    for key in blended:
        frames = [("06ff9edf", 16) if frame == UNREADABLE else frame for frame in seen.videos[key].frames]
        seen.videos[key] = VideoSeen(seen.videos[key].sha256, tuple(frames))
    assert blended
    assert check(JOBS, seen) == []


def test_only_a_deletion_may_follow_an_end() -> None:
    seen = deepcopy(WHOLE)
    last = next(s for s in seen.states if s.job == PLAIN and s.state == "completed")
    seen.states.append(replace(last, state="deleted", sequence=3, video=None))
    assert check(JOBS, seen) == []


@settings(deadline=None)
@given(st.data())
def test_any_other_frames_than_those_of_the_plan_are_seen(data: st.DataObject) -> None:
    right = frames_of_plan(WHOLE.plans[PLAIN])
    names = chunk_ids(WHOLE.plans[PLAIN])
    strange = st.tuples(st.sampled_from([name[:8] for name in names]), st.integers(0, 99))
    frame = st.sampled_from(right) | st.just(UNREADABLE) | strange
    other = data.draw(st.lists(frame, max_size=len(right) + 2) | st.permutations(right))
    seen = evidence_of([ONE])
    edit_frames(seen, lambda _: list(other))
    assert bool([v for v in check([ONE], seen) if v.rule == "I2"]) == (list(other) != right)
