"""2,000 programs of the whole pipeline, and the proof that one that fails can be run again, bit for bit."""

import ast
import logging
import os
import subprocess
import sys

import pytest

from tests.simulation.bugs import seeded
from tests.simulation.runner import machine, replay, run

pytestmark = pytest.mark.timeout(1_800)
"""A busy machine is no failure."""
PROGRAMS = 500
SEEDS = (101, 202, 303, 404)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "stream_processors")


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_happens_twice(seed: int) -> None:
    kind = machine()
    failure = run(kind, seed, PROGRAMS)
    if failure is not None:
        command = f'.venv/bin/python -m tests.simulation --replay "{failure.blob!r}"'
        pytest.fail(f"{failure.what}\nseed {seed}; run it again with\n  {command}\n{failure.program}")
    assert kind.counts["programs"] >= PROGRAMS
    assert kind.counts["jobs"] > PROGRAMS, "programs that submit nothing prove nothing"


BUG = "chunk index off by one"
_AGAIN = """
import ast, sys
from tests.simulation.bugs import seeded
from tests.simulation.runner import machine, replay
with seeded(sys.argv[1]) as bugs:
    kind = machine(bugs, keep_digests=True)
    print((replay(kind, ast.literal_eval(sys.argv[2])), kind.digests))
"""


def test_a_failing_program_runs_again_bit_for_bit() -> None:
    """Same blob, same violation, same digest of all effects: here, and where hashes are seeded otherwise."""
    with seeded(BUG) as bugs:
        failure = run(machine(bugs), 1, 500)
        assert failure is not None
        runs = []
        for _ in range(2):
            kind = machine(bugs, keep_digests=True)
            runs.append((replay(kind, failure.blob), kind.digests))
    command = [sys.executable, "-c", _AGAIN, BUG, repr(failure.blob)]
    env = {**os.environ, "PYTHONHASHSEED": "4711"}
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    runs.append(ast.literal_eval(said.splitlines()[-1]))
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0][0] == failure.what
    assert runs[0][0][1] == failure.program
    assert runs[0][1], "no digest was taken"


def test_a_seed_names_its_programs() -> None:
    digests = []
    for _ in range(2):
        kind = machine(keep_digests=True)
        assert run(kind, 7, 20) is None
        digests.append(kind.digests)
    assert digests[0] == digests[1]
    assert len(set(digests[0])) > 10
