"""The table of crash points is what the code has, and a normal process is deaf to all of them."""

import re
from pathlib import Path

from ops import crash_points

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [p for part in ("ops", "stream_processors", "gpu_consumers") for p in (ROOT / part).rglob("*.py")]


def test_every_point_of_the_table_is_somewhere_in_the_code() -> None:
    calls = re.compile(r"reached\(([^,]+), f?\"([^\"]+)\"\)")
    literal = {(stage.strip('"'), point) for p in SOURCES for stage, point in calls.findall(p.read_text())}
    own = {(stage, point) for stage, point in literal if stage in crash_points.POINTS and "{" not in point}
    shared = {point for stage, point in literal if stage.startswith("self.")}
    for stage, points in crash_points.POINTS.items():
        named = {point for point in points if not point.endswith("-put") or stage != "mux"}
        assert named <= {point for s, point in own if s == stage} | shared, stage
    assert {point for stage, point in own} <= {point for points in crash_points.POINTS.values() for point in points}


def test_nothing_happens_unless_somebody_listens() -> None:
    heard = []
    crash_points.reached("mux", "video-put")
    crash_points.listen(lambda stage, point: heard.append((stage, point)))
    try:
        crash_points.reached("mux", "video-put")
    finally:
        crash_points.listen(None)
    crash_points.reached("mux", "video-put")
    assert heard == [("mux", "video-put")]
