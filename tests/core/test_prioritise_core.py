"""Placement by policy."""

import pytest
from msgspec.structs import replace

from schemas.errors import Fatal
from schemas.limits import parse
from schemas.registry import ModelEntry
from stream_processors.prioritise.core import failed, place
from tests.core.plans import plan

MODEL = ModelEntry(
    name="shapes",
    family="ltx",
    source="shapes",
    revision="r1",
    pools=("cuda", "cpu"),
    clip_frames=17,
    given_frames=5,
    sizes=((64, 64),),
    fps_min=1,
    fps_max=60,
    steps=8,
    guidance=2.0,
    chunk_cost_s=0.4,
)
POLICY = """
[jobs]
max_frames = 10
max_pixels = 10000
max_chunks = 10
max_text_bytes = 10
max_metadata_bytes = 10
max_request_bytes = 10
[lanes.express]
weight = 8
[lanes.standard]
weight = 3
[lanes.bulk]
weight = 1
[tenants.acme]
weight = 2.5
[tenants.acme.projects.film]
weight = 3
[tenants.plain]
"""
LIMITS = parse(POLICY)


def test_only_the_placement_is_added() -> None:
    drafted = replace(plan(), placement=None)
    placed = place(drafted, MODEL, LIMITS, "cpu")
    assert placed.placement is not None
    assert placed.placement.chunk_cost_s == 0.4
    assert replace(placed, placement=None) == drafted
    assert place(placed, MODEL, LIMITS, "cpu") == placed


@pytest.mark.parametrize(
    ("tenant", "project", "weight"),
    [("acme", "film", 3.0), ("acme", "other", 1.0), ("acme", None, 1.0), ("plain", "film", 1.0)],
)
def test_a_project_has_its_weight_within_its_tenant(tenant, project, weight) -> None:
    drafted = plan(tenant=tenant)
    drafted = replace(drafted, request=replace(drafted.request, project=project))
    placed = place(drafted, replace(MODEL, load_s=7.0, max_batch=4), LIMITS, "cpu").placement
    assert placed is not None
    assert (placed.account_weight, placed.load_s, placed.max_batch) == (weight, 7.0, 4)


@pytest.mark.parametrize(
    ("pools", "local", "chosen"),
    [
        (("cuda", "cpu"), "cpu", "cpu"),
        (("cuda", "cpu"), "cuda", "cuda"),
        (("cuda",), "cpu", "cuda"),
        (("cpu",), "cuda", "cpu"),
    ],
)
def test_the_local_pool_is_preferred(pools: tuple[str, ...], local: str, chosen: str) -> None:
    placement = place(plan(), replace(MODEL, pools=pools), LIMITS, local).placement
    assert placement is not None
    assert placement.pool == chosen


@pytest.mark.parametrize(("tenant", "weight"), [("acme", 2.5), ("plain", 1.0), ("nobody", 1.0)])
def test_a_tenant_has_the_weight_of_the_policy(tenant: str, weight: float) -> None:
    placement = place(plan(tenant=tenant), MODEL, LIMITS, "cpu").placement
    assert placement is not None
    assert placement.weight == weight


def test_lanes_have_their_weights() -> None:
    assert LIMITS.lane_weights() == {"express": 8.0, "standard": 3.0, "bulk": 1.0}


def test_a_job_whose_model_is_gone_ends_with_a_reason() -> None:
    event = failed(plan(), 7)
    assert (event.type, event.job, event.at_ms) == ("job.failed", "default/a", 7)
    assert event.reason is not None
    assert event.reason.message == "model: shapes has left the model registry"
    assert failed(plan(), 8).id == event.id


@pytest.mark.parametrize("text", ["", POLICY.replace("weight = 2.5", "weigth = 2.5"), POLICY.replace("= 2.5", "= -1")])
def test_a_wrong_policy_stops_the_stage(text: str) -> None:
    with pytest.raises(Fatal, match="limits file"):
        parse(text)
