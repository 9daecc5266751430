"""SIGKILL a batch again and again while it is sent: every row becomes one job, and only one, with the same bytes.

BATCH_KILLS_ROWS=100000 for the whole of it, which `reelbus bench batch-kills` does too.
"""

import os
from pathlib import Path

import pytest

from ops.bench.batch_kills import kill_and_count
from ops.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
ROWS = int(os.environ.get("BATCH_KILLS_ROWS", "20000"))
KILLS = 20


def test_a_batch_that_is_killed_twenty_times_is_accepted_exactly(settings: Settings, tmp_path: Path) -> None:
    found = kill_and_count(settings, tmp_path, ROWS, KILLS, seed=int.from_bytes(os.urandom(3), "big"))
    assert found.kills == KILLS, found
    assert (found.ids, found.accepted, found.told_sent) == (found.right,) * 3, found
    assert found.ids_with_other_bytes == 0, found
    assert found.exact, found
    assert found.records > found.right, f"no kill hit a job on its way: {found}"
    assert max(found.done_at_kill) > 0, f"every run began from the start: {found}"
