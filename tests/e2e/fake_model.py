"""The registry of a pipeline that renders with the fake family: no weights, and frames that can be told apart."""


def registry(
    *,
    name: str = "fake",
    revision: str = "1",
    steps: int = 4,
    guidance: float = 1.0,
    cost_s: float = 0.3,
    clip_frames: int = 17,
    given_frames: int = 5,
    codec: str = "ffv1",
) -> str:
    """A model registry with one model, as TOML. cost_s: seconds that a chunk takes."""
    return f"""
[[model]]
name = "{name}"
family = "fake"
source = "none"
revision = "{revision}"
pools = ["cpu"]
clip_frames = {clip_frames}
given_frames = {given_frames}
sizes = [[64, 64]]
fps_min = 1
fps_max = 60
steps = {steps}
guidance = {guidance}
chunk_cost_s = {cost_s}
chunk_codec = "{codec}"
"""


REGISTRY = registry()
