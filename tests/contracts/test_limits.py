"""The plugin that bounds each test: a run with tests that hang ends, and says which, and runs the others."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANGING = """
import signal, threading, pytest

@pytest.fixture
def never_ends():
    yield
    threading.Event().wait()

def test_failed_and_its_teardown_hangs(never_ends):
    assert "what went wrong" == ""

def test_after_it():
    pass

@pytest.mark.timeout(1)
def test_hangs_where_no_signal_is_seen():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    threading.Event().wait()

def test_last():
    pass
"""


def test_a_hanging_teardown_and_a_hanging_call_end_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    options = [
        "-o",
        "teardown_limit=2",
        "-o",
        "grace=1",
        "-o",
        "timeout=30",
        "-n1",
        "--dist=loadfile",
        "-pno:cacheprovider",
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ptests.limits", "--rootdir", tmp_path, "-c", os.devnull, *options, tmp_path],
        cwd=ROOT,
        env={**os.environ, "CI": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert re.search(r"3 failed, 2 passed", run.stdout), run.stdout + run.stderr
    before_summary = run.stdout.partition("= FAILURES =")[0]
    assert "what went wrong" in before_summary, run.stdout
    assert re.search(r"call of \S+test_failed_and_its_teardown_hangs failed", before_summary)
    assert "crashed while running" in run.stdout
    assert "in never_ends" in run.stderr
    assert "in test_hangs_where_no_signal_is_seen" in run.stderr
