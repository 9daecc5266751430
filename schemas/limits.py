"""The lane and size policy: what a job may cost and how lanes and tenants share. Pure; `ops.limits` reads the file."""

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.errors import Fatal
from schemas.registry import ModelEntry
from schemas.request import LANES, Lane, Shot

Weight = Annotated[float, Meta(gt=0, le=1000)]


class LanePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    weight: Weight
    """Share of device time against the other lanes while all of them wait."""


class ProjectPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    weight: Weight = 1.0
    """Share within the tenant; a project that is not named has 1.0."""


class TenantPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    weight: Weight = 1.0
    """Share within a lane; a tenant that is not named has 1.0."""
    projects: dict[str, ProjectPolicy] = {}
    """Projects of the tenant by name, as requests give it."""


class JobLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Largest job that is accepted. The upper bounds keep every record of the largest job below 64 KiB."""

    max_frames: Annotated[int, Meta(ge=1)]
    """Frames of all shots together."""
    max_pixels: Annotated[int, Meta(ge=64 * 64)]
    """Width times height of the output."""
    max_chunks: Annotated[int, Meta(ge=1, le=400)]
    """Chunks of all shots together."""
    max_text_bytes: Annotated[int, Meta(ge=1)]
    """Prompts and negative prompts together, UTF-8."""
    max_metadata_bytes: Annotated[int, Meta(ge=0)]
    """Keys and values together, UTF-8."""
    max_request_bytes: Annotated[int, Meta(ge=1, le=24 * 1024)]
    """The whole request, as compact JSON."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    jobs: JobLimits
    lanes: dict[Lane, LanePolicy]
    tenants: dict[str, TenantPolicy] = {}

    def lane_weights(self) -> dict[Lane, float]:
        """Weight of every lane."""
        return {lane: self.lanes[lane].weight for lane in LANES}

    def tenant_weight(self, tenant: str) -> float:
        """Weight of a tenant within its lane."""
        policy = self.tenants.get(tenant)
        return policy.weight if policy else 1.0

    def project_weight(self, tenant: str, project: str | None) -> float:
        """Weight of a project within its tenant; 1.0 for requests that name none."""
        policy = self.tenants.get(tenant)
        named = policy.projects.get(project) if policy and project else None
        return named.weight if named else 1.0


def parse(text: str) -> Limits:
    """Policy file (TOML) -> limits. Raises Fatal that names the fault."""
    try:
        limits = msgspec.toml.decode(text, type=Limits)
    except msgspec.DecodeError as exc:
        raise Fatal(f"limits file: {exc}") from None
    missing = [lane for lane in LANES if lane not in limits.lanes]
    if missing:
        raise Fatal(f"limits file: no table [lanes.{missing[0]}]")
    return limits


def chunk_count(shot: Shot, frames: int, model: ModelEntry) -> int:
    """How many chunks a shot of `frames` frames becomes.

    An independent chunk adds clip_frames; a chained one after the first, and one that starts from a picture, spends
    given_frames on its start.
    """
    first = model.clip_frames - (model.given_frames if shot.first_keyframe else 0)
    if frames <= first:
        return 1
    step = model.clip_frames - (0 if shot.continuity == "independent" else model.given_frames)
    return 1 + math.ceil((frames - first) / step)
