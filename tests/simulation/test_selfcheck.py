"""A simulator that cannot fail proves nothing: it must find every seeded bug within a bounded number of programs."""

import pytest

from tests.simulation.bugs import BUGS, seeded
from tests.simulation.runner import machine, run

pytestmark = pytest.mark.timeout(1_800)
PROGRAMS_MAX = 500
SEEDS = (1, 8, 3, 7)
"""One after another: hypothesis stays near what it has tried, so a rare window is sooner hit from several starts."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_found(bug: str) -> None:
    with seeded(bug) as bugs:
        kind = machine(bugs)
        failures = (run(kind, seed, PROGRAMS_MAX, shrink=False) for seed in SEEDS)
        failure = next((found for found in failures if found is not None), None)
    assert failure is not None, f"{kind.counts['programs']} programs did not find: {BUGS[bug]}"
