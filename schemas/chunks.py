"""From a plan to its chunks' specs, ids and frame counts. Pure.

Split writes only spans into the plan; dispatch, mux and tests derive the rest here, so a plan stays one small record.
"""

from collections import Counter
from functools import lru_cache

from schemas.ids import chunk_id, chunk_object_key, input_object_key, seed_of
from schemas.plan import ChunkSpec, Plan
from schemas.request import JobRequest

BatchKey = tuple[str, str, int, int, int, float, int, int]
"""What the chunks of one forward pass have in common."""


def batch_key(spec: ChunkSpec) -> BatchKey:
    """Chunks with equal keys may share a forward pass: all that a pipeline takes once per call is in it."""
    return (
        spec.model, spec.model_revision, spec.width_px, spec.height_px, spec.steps, spec.guidance, spec.fps,
        spec.given_frames,
    )  # fmt: skip


def frames_of(duration_s: float, fps: int) -> int:
    """Frames of a duration, rounded to the nearest, at least 1."""
    return max(1, round(duration_s * fps))


def overlap_frames(request: JobRequest) -> dict[int, int]:
    """Shot index -> frames that it shares with the next shot."""
    return {t.after: frames_of(t.duration_s, request.output.fps) for t in request.transitions}


def total_frames(request: JobRequest) -> int:
    """Frames of the finished video: all shots, less what transitions overlap."""
    fps = request.output.fps
    return sum(frames_of(s.duration_s, fps) for s in request.shots) - sum(overlap_frames(request).values())


def shot_seeds(plan: Plan) -> tuple[int, ...]:
    """Seed of every shot: as it was asked for, or derived from the job."""
    return tuple(
        shot.seed if shot.seed is not None else seed_of(plan.job, str(index))
        for index, shot in enumerate(plan.request.shots)
    )


def chunk_specs(plan: Plan) -> tuple[ChunkSpec, ...]:
    """Spec of every chunk, in plan order. A chunk's predecessor has a smaller index.

    The first chunk of a shot with an input starts from that, as a chained one does from its predecessor.
    """
    specs: list[ChunkSpec] = []
    inputs = {made.shot: made.chunk for made in plan.inputs}
    render, request, seeds = plan.render, plan.request, shot_seeds(plan)
    own = {(n, given.chunk): given.seed for n, shot in enumerate(request.shots) for given in shot.chunk_seeds}
    within: Counter[int] = Counter()
    for index, span in enumerate(plan.chunks):
        shot = request.shots[span.shot]
        given = (
            _id(specs[span.after]) if span.after >= 0 else inputs.get(span.shot, "") if span.first_frame == 0 else ""
        )
        specs.append(
            ChunkSpec(
                tenant=request.tenant,
                model=render.model,
                model_revision=render.model_revision,
                prompt=shot.prompt,
                negative_prompt=shot.negative_prompt,
                seed=own.get((span.shot, within[span.shot]), _seed(seeds[span.shot], span.first_frame)),
                steps=render.steps,
                guidance=render.guidance,
                width_px=render.width_px,
                height_px=render.height_px,
                fps=request.output.fps,
                first_frame=span.first_frame,
                frames=span.frames,
                given_frames=render.given_frames if given else 0,
                given_chunk=given,
            )
        )
        within[span.shot] += 1
        assert span.after < index
    return tuple(specs)


def given_object_key(spec: ChunkSpec) -> str:
    """Object key of the frames that a chunk starts from: its predecessor's, or an input if it is the first of its shot.

    Only for specs with given_frames.
    """
    of = input_object_key if spec.first_frame == 0 else chunk_object_key
    return of(spec.tenant, spec.given_chunk)


def _seed(shot_seed: int, first_frame: int) -> int:
    return shot_seed if first_frame == 0 else seed_of(str(shot_seed), str(first_frame))


@lru_cache(maxsize=4096)
def _id(spec: ChunkSpec) -> str:
    return chunk_id(spec)


def chunk_ids(plan: Plan) -> tuple[str, ...]:
    """Name of every chunk, in plan order."""
    return tuple(_id(spec) for spec in chunk_specs(plan))


def chunk_keys(plan: Plan) -> tuple[str, ...]:
    """Object key of every chunk, in plan order."""
    return tuple(chunk_object_key(plan.request.tenant, name) for name in chunk_ids(plan))
