"""The muxer's pure part: what every output frame shows, where pictures go, what is said about a job."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunks import frames_of, overlap_frames, total_frames
from schemas.events import JobEvent, PublishedFile
from schemas.plan import ChunkSpan, Plan, RenderSettings
from schemas.request import JobRequest, Output, Shot, Transition, Webhook
from schemas.topics import JOBS_CONTROL, JOBS_EVENTS
from schemas.work import Command, MuxTask, ReadyChunk
from stream_processors.mux.core import (
    ChunkFault,
    PlanBroken,
    SignedBy,
    ask_again,
    check_plan,
    describe,
    failed,
    fit,
    published,
    spread,
    timeline,
)

RENDER = RenderSettings(
    model="shapes", model_revision="1", steps=8, guidance=2.0, width_px=64, height_px=64, clip_frames=17, given_frames=5
)
FILE = PublishedFile(
    uri="s3://b/videos/0/video.mp4", key="videos/0/video.mp4", sha256="0" * 64, size_bytes=1, content_type="video/mp4"
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Storyboards of 1 to 5 shots, cut anywhere, with cross-fades of any length that has room."""
    fps = draw(st.integers(1, 30))
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    transitions, taken = [], 0
    for shot in range(len(lengths) - 1):
        room = min(lengths[shot] - taken, lengths[shot + 1])
        taken = draw(st.integers(0, room))
        if taken and taken <= 10 * fps:
            transitions.append(Transition(after=shot, duration_s=taken / fps))
        else:
            taken = 0
    spans = []
    for shot, length in enumerate(lengths):
        at = 0
        while at < length:
            size = draw(st.integers(1, length - at))
            spans.append(ChunkSpan(shot, at, size, -1))
            at += size
    request = JobRequest(
        job_id="j",
        shots=tuple(Shot(prompt="p", duration_s=n / fps) for n in lengths),
        transitions=tuple(transitions),
        output=Output(fps=fps),
    )
    return plan_of(request, tuple(spans))


def plan_of(request: JobRequest, chunks: tuple[ChunkSpan, ...]) -> Plan:
    return Plan(job="default/j", request=request, fingerprint="f", requested_at_ms=5, render=RENDER, chunks=chunks)


def one_shot(*spans: tuple[int, int], seconds: float = 1.0) -> Plan:
    request = JobRequest(job_id="j", shots=(Shot(prompt="p", duration_s=seconds),), output=Output(fps=10))
    return plan_of(request, tuple(ChunkSpan(0, first, frames, -1) for first, frames in spans))


@given(plans())
def test_timeline_has_exactly_the_requested_frames_and_uses_every_chunk_frame_once(plan: Plan) -> None:
    check_plan(plan, len(plan.chunks))
    shown = list(timeline(plan))
    assert len(shown) == total_frames(plan.request)
    used = Counter(p for s in shown for p in (s.picture, s.into) if p is not None)
    assert set(used.values()) == {1}
    assert sum(used.values()) == sum(span.frames for span in plan.chunks)
    assert sum(s.into is not None for s in shown) == sum(overlap_frames(plan.request).values())


@given(plans())
def test_frames_of_a_chunk_come_in_order_and_at_most_two_chunks_are_open(plan: Plan) -> None:
    next_frame: dict[int, int] = {}
    for shown in timeline(plan):
        for picture in (shown.picture, shown.into):
            if picture is not None:
                assert picture.frame == next_frame.pop(picture.chunk, 0)
                if picture.frame + 1 < plan.chunks[picture.chunk].frames:
                    next_frame[picture.chunk] = picture.frame + 1
        assert len(next_frame) <= 2
    assert not next_frame


@given(plans())
def test_a_crossfade_goes_from_one_shot_to_the_next_and_never_back(plan: Plan) -> None:
    weights: dict[int, list[float]] = {}
    for shown in timeline(plan):
        if shown.into is None:
            assert shown.weight == 0
            continue
        before, after = plan.chunks[shown.picture.chunk].shot, plan.chunks[shown.into.chunk].shot
        assert after == before + 1
        weights.setdefault(before, []).append(shown.weight)
    for shot, steps in weights.items():
        assert len(steps) == overlap_frames(plan.request)[shot]
        assert steps == sorted(steps)
        assert 0 < steps[0] == pytest.approx(1 - steps[-1])


@pytest.mark.parametrize(
    ("plan", "ready", "words"),
    [
        (one_shot((0, 10)), 2, "2 ready chunks for a plan of 1"),
        (one_shot((0, 9)), 1, "cover 9 of 10 frames of shot 0"),
        (one_shot((0, 5), (6, 4)), 2, "chunk 1 starts at frame 6, not 5"),
        (one_shot((0, 5), (0, 5)), 2, "chunk 1 starts at frame 0, not 5"),
        (one_shot((0, 0), (0, 10)), 2, "chunk 0"),
    ],
)
def test_a_plan_that_contradicts_itself_is_named(plan: Plan, ready: int, words: str) -> None:
    with pytest.raises(PlanBroken, match=words):
        check_plan(plan, ready)


def test_transitions_that_overlap_each_other_are_refused() -> None:
    shots = tuple(Shot(prompt="p", duration_s=1) for _ in range(3))
    for transitions, words in (
        ((Transition(after=0, duration_s=0.6), Transition(after=1, duration_s=0.6)), "frames of shot 1"),
        ((Transition(after=2, duration_s=0.2),), "no next shot"),
    ):
        request = JobRequest(job_id="j", shots=shots, transitions=transitions, output=Output(fps=10))
        with pytest.raises(PlanBroken, match=words):
            check_plan(plan_of(request, tuple(ChunkSpan(s, 0, 10, -1) for s in range(3))), 3)


@given(st.integers(2, 4096), st.integers(2, 4096), st.integers(32, 2048), st.integers(32, 2048))
def test_fit_stays_even_and_inside(width: int, height: int, half_width: int, half_height: int) -> None:
    for kind in ("contain", "cover"):
        output = Output(width_px=2 * half_width, height_px=2 * half_height, fit=kind)  # type: ignore[arg-type]
        place = fit(width, height, output)
        values = (place.width_px, place.height_px, place.x_px, place.y_px, place.crop_x_px, place.crop_y_px)
        assert all(v % 2 == 0 and v >= 0 for v in values)
        if kind == "contain":
            assert place.width_px + place.x_px <= output.width_px
            assert place.height_px + place.y_px <= output.height_px
            assert place.width_px == output.width_px or place.height_px == output.height_px
        else:
            assert place.width_px - place.crop_x_px >= output.width_px
            assert place.height_px - place.crop_y_px >= output.height_px


@given(st.integers(1, 10_000), st.integers(1, 50))
def test_spread_is_ordered_inside_and_even(frames: int, count: int) -> None:
    numbers = spread(frames, count)
    assert len(numbers) == min(frames, count) == len(set(numbers))
    assert list(numbers) == sorted(numbers)
    assert numbers[0] >= 0
    assert numbers[-1] < frames
    gaps = [b - a for a, b in pairwise(numbers)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_what_is_said_follows_from_the_task_alone() -> None:
    shot = Shot(prompt="secret prompt", duration_s=2)
    request = JobRequest(
        job_id="j", lane="bulk", shots=(shot,), metadata={"a": "b"}, webhook=Webhook(url="https://example.com/hook")
    )
    plan = plan_of(request, (ChunkSpan(0, 0, frames_of(2, 24), -1),))
    task = MuxTask(plan=plan, ready=(ReadyChunk("0" * 64, 1),), attempt=3)
    video = describe(plan, FILE, FILE, FILE, "AI GENERATED", SignedBy("ab" * 32, "Ours"), None)
    assert (video.frames, video.duration_s, video.fps) == (48, 2.0, 24)
    assert (video.provenance.certificate_sha256, video.provenance.certificate_name) == ("ab" * 32, "Ours")
    first, again = published(task, video, 10), published(task, video, 99)
    event, release = first[0].record, first[1].record
    assert isinstance(event, JobEvent)
    assert isinstance(release, Command)
    assert [o.topic for o in first] == [JOBS_EVENTS, JOBS_CONTROL]
    assert {o.key for o in first} == {"default/j"}
    assert (event.type, event.lane, event.metadata, event.requested_at_ms) == ("job.published", "bulk", {"a": "b"}, 5)
    assert event.webhook == request.webhook
    assert (release.action, release.mux_attempt) == ("release", 3)
    repeated = again[0].record
    assert isinstance(repeated, JobEvent)
    assert repeated.id == event.id, "a redelivery must be the same fact"

    bad = failed(task, "why", 10)[0].record
    assert isinstance(bad, JobEvent)
    assert bad.reason is not None
    assert (bad.type, bad.reason.code, bad.reason.message) == ("job.failed", "assembly_failed", "why")
    assert bad.id != event.id

    redo = ask_again(task, [ChunkFault(0, "gone")], 10)
    assert [o.topic for o in redo] == [JOBS_CONTROL]
    assert redo[0].record == Command(
        job="default/j", action="redo_chunk", chunk=0, mux_attempt=3, reason="gone", requested_at_ms=10
    )
