"""A simulator that cannot fail proves nothing: it must find every seeded bug within a bounded number of programs."""

import pytest

from tests.simulation.bugs import BUGS, seeded
from tests.simulation.runner import machine, run

pytestmark = pytest.mark.timeout(1_800)
PROGRAMS_MAX = 2_000
SEED = 1


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_found(bug: str) -> None:
    with seeded(bug) as bugs:
        kind = machine(bugs)
        failure = run(kind, SEED, PROGRAMS_MAX, shrink=False)
    assert failure is not None, f"{kind.counts['programs']} programs did not find: {BUGS[bug]}"
