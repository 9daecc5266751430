"""Cutting jobs into chunks."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.chunks import chunk_ids, chunk_specs, frames_of, overlap_frames, total_frames
from schemas.codec import MAX_RECORD_BYTES, encode
from schemas.errors import JobRejected
from schemas.ids import fingerprint, job_key
from schemas.limits import chunk_count
from schemas.plan import ClearedJob, Placement
from schemas.registry import ModelEntry
from schemas.request import JobRequest, Output, Shot, Transition
from schemas.work import MuxTask, ReadyChunk
from stream_processors.split.core import planned, split

MODEL = ModelEntry(
    name="shapes",
    family="ltx",
    source="shapes",
    revision="r1",
    pools=("cpu",),
    clip_frames=17,
    given_frames=5,
    sizes=((64, 64),),
    fps_min=1,
    fps_max=60,
    steps=8,
    guidance=2.0,
    chunk_cost_s=0.4,
)
Continuity = Literal["chained", "independent"]


def cleared(request: JobRequest) -> ClearedJob:
    return ClearedJob(
        job=job_key(request.tenant, request.job_id),
        request=request,
        fingerprint=fingerprint(request),
        requested_at_ms=1,
    )


def one_shot(frames: int, continuity: Continuity = "chained", *, job_id: str = "a", tenant: str = "default",
             seed: int | None = None) -> ClearedJob:  # fmt: skip
    shot = Shot(prompt="a red ball", duration_s=frames / 24, continuity=continuity, seed=seed)
    return cleared(JobRequest(job_id=job_id, tenant=tenant, shots=(shot,), output=Output(fps=24)))


@st.composite
def jobs(draw: st.DrawFn) -> tuple[ClearedJob, ModelEntry]:
    fps = draw(st.integers(1, 60))
    count = draw(st.integers(1, 6))
    shots = tuple(
        Shot(
            prompt=f"shot {i}",
            duration_s=draw(st.floats(0.01, 8)),
            continuity=draw(st.sampled_from(["chained", "independent"])),
            seed=draw(st.none() | st.integers(0, 100)),
        )
        for i in range(count)
    )
    fades = tuple(Transition(after=i, duration_s=0.01) for i in range(count - 1) if draw(st.booleans()))
    clip = draw(st.integers(2, 40))
    model = replace(MODEL, clip_frames=clip, given_frames=draw(st.integers(1, clip - 1)))
    return cleared(JobRequest(job_id="a", shots=shots, transitions=fades, output=Output(fps=fps))), model


@given(jobs())
def test_every_shot_is_covered_once_and_in_order(case: tuple[ClearedJob, ModelEntry]) -> None:
    job, model = case
    plan = split(job, model)
    fps = job.request.output.fps
    assert [span.shot for span in plan.chunks] == sorted(span.shot for span in plan.chunks)
    for index, shot in enumerate(job.request.shots):
        spans = [(at, span) for at, span in enumerate(plan.chunks) if span.shot == index]
        covered = [frame for _, span in spans for frame in range(span.first_frame, span.first_frame + span.frames)]
        assert covered == list(range(frames_of(shot.duration_s, fps)))
        assert len(spans) == chunk_count(shot, len(covered), model)
        for place, (at, span) in enumerate(spans):
            follows = shot.continuity == "chained" and place > 0
            assert span.after == (at - 1 if follows else -1)
            assert span.frames >= 1
            assert span.frames + (model.given_frames if follows else 0) <= model.clip_frames
    overlaps = sum(overlap_frames(job.request).values())
    assert sum(span.frames for span in plan.chunks) == total_frames(job.request) + overlaps


@given(jobs())
def test_a_plan_is_a_function_of_the_job(case: tuple[ClearedJob, ModelEntry]) -> None:
    job, model = case
    assert encode(split(job, model)) == encode(split(job, model))
    assert chunk_ids(split(job, model)) == chunk_ids(split(job, model))
    assert planned(split(job, model), 5) == planned(split(job, model), 5)


def test_a_chained_shot() -> None:
    plan = split(one_shot(17 + 12 + 12 + 3), MODEL)
    assert [tuple(getattr(s, f) for f in ("shot", "first_frame", "frames", "after")) for s in plan.chunks] == [
        (0, 0, 17, -1), (0, 17, 12, 0), (0, 29, 12, 1), (0, 41, 3, 2)
    ]  # fmt: skip
    specs = chunk_specs(plan)
    assert [spec.given_frames for spec in specs] == [0, 5, 5, 5]
    assert [spec.given_chunk for spec in specs[1:]] == list(chunk_ids(plan)[:-1])


def test_an_independent_shot() -> None:
    plan = split(one_shot(40, "independent"), MODEL)
    assert [(s.first_frame, s.frames, s.after) for s in plan.chunks] == [(0, 17, -1), (17, 17, -1), (34, 6, -1)]


def test_chunks_are_shared_within_a_tenant_and_never_between_tenants() -> None:
    first = chunk_ids(split(one_shot(40, seed=7), MODEL))
    assert chunk_ids(split(one_shot(40, seed=7, job_id="b"), MODEL)) == first
    assert set(chunk_ids(split(one_shot(40, seed=7, tenant="other"), MODEL))).isdisjoint(first)
    assert set(chunk_ids(split(one_shot(40, seed=8), MODEL))).isdisjoint(first)
    # Without a seed the job id decides, so another job has other pixels.
    assert set(chunk_ids(split(one_shot(40, job_id="b"), MODEL))).isdisjoint(chunk_ids(split(one_shot(40), MODEL)))


def test_another_shot_leaves_the_chunks_of_its_neighbours() -> None:
    """Redo only shot 1: the other shots keep their chunks."""
    shots = tuple(Shot(prompt=f"shot {i}", duration_s=2, seed=i) for i in range(3))
    before = split(cleared(JobRequest(job_id="a", shots=shots)), MODEL)
    changed = (shots[0], replace(shots[1], prompt="another"), shots[2])
    after = split(cleared(JobRequest(job_id="b", shots=changed)), MODEL)
    same = [x == y for x, y in zip(chunk_ids(before), chunk_ids(after), strict=True)]
    assert same == [span.shot != 1 for span in before.chunks]


def test_a_model_that_cannot_continue_a_clip() -> None:
    unable = replace(MODEL, given_frames=0)
    assert len(split(one_shot(17), unable).chunks) == 1
    assert len(split(one_shot(40, "independent"), unable).chunks) == 3
    with pytest.raises(JobRejected, match="cannot continue a clip"):
        split(one_shot(18), unable)
    with pytest.raises(JobRejected, match="cannot continue a clip"):
        split(one_shot(18), replace(MODEL, given_frames=17))


@pytest.mark.parametrize(
    ("asked", "native"),
    [
        ((1920, 1080), (768, 448)), ((1080, 1920), (448, 768)), ((64, 64), (512, 512)), ((1000, 900), (512, 512)),
        ((4096, 64), (768, 448)), ((640, 360), (768, 448)),
    ],
)  # fmt: skip
def test_the_native_size_is_the_one_of_nearest_aspect(asked: tuple[int, int], native: tuple[int, int]) -> None:
    sizes = ((512, 512), (448, 768), (256, 256), (768, 448))
    assert replace(MODEL, sizes=sizes).native_size(*asked) == native


@pytest.mark.parametrize("continuity", ["chained", "independent"])
def test_the_largest_job_fits_into_its_records(continuity: Continuity) -> None:
    """400 chunks and the largest request: the plan and even the mux task stay below 64 KiB."""
    frames = 17 + 12 * 7 if continuity == "chained" else 17 * 8
    shots = tuple(
        Shot(prompt="x" * 428, duration_s=frames / 24, continuity=continuity, seed=2**31 - 1) for _ in range(50)
    )
    request = JobRequest(job_id="j" * 128, tenant="t" * 63, shots=shots)
    plan = split(cleared(request), MODEL)
    assert len(plan.chunks) == 400
    assert len(encode(request, "json")) >= 24 * 1024
    placed = replace(plan, placement=Placement(pool="cuda", weight=0.333333333333, chunk_cost_s=12.3456789012345))
    ready = tuple(ReadyChunk("f" * 64, 123_456_789) for _ in plan.chunks)
    assert len(encode(MuxTask(plan=placed, ready=ready, attempt=99))) < MAX_RECORD_BYTES
