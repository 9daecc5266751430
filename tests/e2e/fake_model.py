"""The registry of a pipeline that renders with the fake family: no weights, and frames that can be told apart."""

REGISTRY = """
[[model]]
name = "fake"
family = "fake"
source = "none"
revision = "1"
pools = ["cpu"]
clip_frames = 17
given_frames = 5
sizes = [[64, 64]]
fps_min = 1
fps_max = 60
steps = 4
guidance = 1.0
chunk_cost_s = 0.3
chunk_codec = "ffv1"
"""
