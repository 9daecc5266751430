"""What a request will cost, before it is sent. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.chunks import chunk_specs
from schemas.costs import CostTable
from schemas.errors import JobRejected
from schemas.ids import fingerprint, job_key
from schemas.limits import Limits
from schemas.plan import ClearedJob, ShotInput
from schemas.registry import ModelEntry
from schemas.request import JobRequest
from stream_processors.prioritise.core import place
from stream_processors.split.core import split


@dataclass(frozen=True, slots=True)
class Quote:
    """device_s: expected device-seconds of all chunks. Chunks that exist already, of an earlier job, would be free."""

    job: str
    lane: str
    model: str
    pool: str
    chunks: int
    device_s: float
    chunks_seen: int
    """Finished chunks that the figure rests on; 0: the registry's figure, nothing of this model was rendered yet."""


def quote(
    request: JobRequest, models: Mapping[str, ModelEntry], limits: Limits, table: CostTable, local_pool: str
) -> Quote:
    """Split and place a request as the pipeline will, and price its chunks. Raises JobRejected for an unknown model."""
    model = models.get(request.model)
    if model is None:
        message = f'model: "{request.model}" is not in the registry; known are {", ".join(sorted(models))}'
        raise JobRejected("model_unknown", message, "model")
    # The name of a picture that is not fetched yet decides pixels, not cost.
    pictured = tuple(ShotInput(i, "0" * 64) for i, shot in enumerate(request.shots) if shot.first_keyframe is not None)
    job = job_key(request.tenant, request.job_id)
    cleared = ClearedJob(
        job=job, request=request, fingerprint=fingerprint(request), requested_at_ms=0, inputs=pictured
    )  # fmt: skip
    plan = place(split(cleared, model), model, limits, local_pool)
    assert plan.placement is not None
    pool, prior_s = plan.placement.pool, plan.placement.chunk_cost_s
    specs = chunk_specs(plan)
    seen = {spec.frames + spec.given_frames: table.seen(pool, spec) for spec in specs}
    return Quote(
        job=job,
        lane=request.lane,
        model=model.name,
        pool=pool,
        chunks=len(specs),
        device_s=table.all_s(pool, specs, prior_s, model.clip_frames),
        chunks_seen=min((kind.chunks if kind else 0) for kind in seen.values()),
    )
