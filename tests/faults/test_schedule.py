"""Schedules: the same seed the same one, nothing left out, in order of time."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.crash_points import POINTS
from tests.faults.injector import Injector
from tests.faults.jobs import ENDS, SHARES, workload
from tests.faults.schedule import ONCE, Dose, cells, schedule
from tests.faults.stack import PROCESSES

NAMES = [stage if n == 1 else f"{stage}-{n}" for stage, count in PROCESSES.items() for n in range(1, count + 1)]
doses = st.builds(
    Dose,
    kills=st.integers(0, 80),
    terms=st.integers(0, 9),
    freezes=st.integers(0, 4),
    broker_down_s=st.lists(st.sampled_from((5.0, 30.0)), max_size=4).map(tuple),
    store_windows=st.integers(0, 4),
    storms=st.integers(0, 2),
    clock_steps=st.integers(0, 3),
    disk_full=st.integers(0, 2),
    wipes=st.integers(0, 2),
    rolling=st.integers(0, 2),
    device_kills=st.integers(0, 5),
)


@settings(deadline=None)
@given(doses, st.integers(0, 10_000))
def test_a_schedule_holds_the_whole_dose_in_order_of_time(dose: Dose, seed: int) -> None:
    faults = schedule(dose, NAMES, seed)
    wanted = {
        "kill": dose.kills, "term": dose.terms, "freeze": dose.freezes, "broker": len(dose.broker_down_s),
        "store": dose.store_windows, "storm": dose.storms, "clock": dose.clock_steps, "disk-full": dose.disk_full,
        "wipe": dose.wipes, "rolling": dose.rolling, "device-kill": dose.device_kills,
    }  # fmt: skip
    assert Counter(f.kind for f in faults) == {kind: n for kind, n in wanted.items() if n}
    assert [f.at_s for f in faults] == sorted(f.at_s for f in faults)
    assert sorted(f.length_s for f in faults if f.kind == "broker") == sorted(dose.broker_down_s)


def test_the_same_seed_gives_the_same_schedule_and_another_one_another() -> None:
    assert schedule(Dose(), NAMES, 7) == schedule(Dose(), NAMES, 7)
    assert schedule(Dose(), NAMES, 7) != schedule(Dose(), NAMES, 8)
    assert cells(7) == cells(7) != cells(8)
    assert workload(50, 7) == workload(50, 7) != workload(50, 8)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(len(NAMES), 80))
def test_every_process_is_killed(seed: int, kills: int) -> None:
    faults = schedule(Dose(kills=kills), NAMES, seed)
    assert {f.target for f in faults if f.kind == "kill"} == set(NAMES)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_who_is_frozen_has_a_second_process_that_takes_over(seed: int) -> None:
    frozen = {f.target.partition("-")[0] for f in schedule(Dose(freezes=9), NAMES, seed) if f.kind == "freeze"}
    assert all(PROCESSES[stage] > 1 for stage in frozen)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_every_crash_point_comes_once_a_round(seed: int, rounds: int) -> None:
    made = cells(seed, rounds)
    for stage, points in POINTS.items():
        found = Counter(cell.partition(":")[0] for cell in made[stage])
        assert found == {f"{stage}.{point}": rounds for point in points}
    once = {cell for names in made.values() for cell in names if cell.partition(":")[0].partition(".")[2] in ONCE}
    assert all(cell.endswith(":1") for cell in once)


def test_every_kind_of_fault_can_be_carried_out() -> None:
    everything = schedule(Dose(), NAMES, 1)
    assert all(hasattr(Injector, "_" + fault.kind.replace("-", "_")) for fault in everything)


@pytest.mark.parametrize("seed", range(5))
def test_a_workload_has_every_kind_of_job_and_no_id_twice(seed: int) -> None:
    jobs = workload(500, seed, "http://127.0.0.1:1/hook")
    assert {a.kind for a in jobs} == set(SHARES) == set(ENDS)
    assert len({a.job for a in jobs}) == 500
    assert all((a.cancel_at is not None) == (a.kind == "cancelled") for a in jobs)
    assert len({a.request.webhook.url for a in jobs if a.request.webhook}) > 10
