"""The bench of batch ingestion runs, and its figures are well-formed; whether they hold is for the bench to say."""

import shutil
from pathlib import Path

import pytest

from ops.bench.ingest import measure
from ops.settings import Settings

pytestmark = pytest.mark.kafka


def test_a_quick_run_measures_all_sides(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("celery")
    result = measure(settings, tmp_path, quick=True)
    assert set(result) == {"bench", "figures", "machine", "peers"}
    bare, memory, celery = result["figures"]
    assert [figure["bar"] for figure in result["figures"]] == [0.5, 1.25, 20.0]
    assert bare["value"] > 0
    assert bare["holds"] == (bare["value"] >= 0.5)
    assert memory["value"] > 0
    assert memory["holds"] == (memory["value"] <= 1.25)
    sides = ["reelbus", "confluent-kafka"]
    if shutil.which("redis-server"):
        sides.append("Celery")
        assert celery["value"] > 0
    else:
        assert (celery["value"], celery["holds"]) == (None, False)
        assert "no redis-server" in celery["name"]
    assert [peer["name"] for peer in result["peers"]] == sides
    assert all(peer["rows_per_s"] > 0 and peer["rows"] >= 500 for peer in result["peers"])
    assert result["machine"]["quick"] is True
