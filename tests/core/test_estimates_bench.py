"""The bench of estimates runs, and holds what was told against what happened."""

from random import Random

import pytest

from ops.bench import estimates as bench
from ops.bench.estimates_workload import mixed
from ops.bench.fairness_workloads import job, limits, plans
from ops.simulate.estimates import errors, held, silently_late_s, tellings
from ops.simulate.traces import JobTrace, Told, Traces


def traces(*told: tuple[float, float]) -> Traces:
    """One job that is rendered at second 100. told: at which second, and how many seconds more."""
    (made,) = plans([job(0.0, "bulk")], limits({"bulk": 1.0}))
    trace = JobTrace(made, ended_ms=100_000, end="completed", ends=1)
    return Traces({made.job: trace}, told=[Told(round(1000 * at_s), made.job, eta_s) for at_s, eta_s in told])


def test_an_error_is_a_share_of_what_remained() -> None:
    found = tellings(traces((0.0, 90.0), (50.0, 60.0), (90.0, 10.0)))
    assert [round(one.error, 3) for one in found] == [0.1, 0.2, 0.0]
    assert [one.early for one in found] == [True, False, False]
    assert errors(found).p50 == 0.1


def test_what_is_held_counts_for_as_long_as_it_is() -> None:
    found = held(traces((0.0, 150.0), (90.0, 10.0)), every_ms=10_000)
    assert [round(one.error, 3) for one in found] == [round(50 / (100 - at_s), 3) for at_s in range(0, 90, 10)] + [0.0]


def test_late_in_silence_is_from_the_told_finish_to_the_next_word_or_the_end() -> None:
    assert silently_late_s(traces((0.0, 10.0), (30.0, 10.0), (35.0, 60.0))) == pytest.approx([20.0, 5.0])


def test_it_measures_a_mixed_run() -> None:
    result = bench.run(quick=True)
    assert len(result["figures"]) == 3
    assert result["details"]["runs"][0]["error"]["tellings"] > 500
    assert set(result["details"]["error_by_lane"]) == {"express", "standard", "bulk"}


def test_the_same_generator_makes_the_same_jobs() -> None:
    assert mixed(50, 0.8, 4, Random(1)) == mixed(50, 0.8, 4, Random(1))
