"""Jobs of a simulation from a table, from options, and made up."""

from random import Random

import pytest
from msgspec.structs import replace

from ops.bench.fairness_workloads import MODEL, MODELS, POOL, job, limits, plans, seconds
from ops.cli import simulate_options as options
from ops.simulate.arrivals import Mix, device_s, poisson
from ops.simulate.hardware import Costs
from ops.simulate.jobs import START_MS, SimJob
from ops.simulate.recorded import recorded
from ops.simulate.rows import read
from schemas.errors import InvalidMessage


def rows(*lines: str) -> list[SimJob]:
    return read(lines, MODELS, POOL)


def test_an_empty_cell_is_the_default() -> None:
    first, second = rows(
        "arrival_s,tenant,lane,model,duration_s,priority,deadline_s,project",
        "0.5,acme,express,bench,2,3,60,films",
        "1,,,bench,4,,,",
    )
    assert first == SimJob(0.5, 2.0, "acme", "express", "bench", 3, 60.0, project="films")
    assert second == SimJob(1.0, 4.0, model="bench")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("arrival_s", "soon", "not a number of seconds"),
        ("arrival_s", "-1", "not a number of seconds"),
        ("arrival_s", "nan", "not a number of seconds"),
        ("arrival_s", "", "empty"),
        ("tenant", "Acme Corp", "regex"),
        ("lane", "fast", "express, standard, bulk"),
        ("model", "other", "not rendered by pool cpu; it renders bench"),
        ("duration_s", "601", "<= 600"),
        ("duration_s", "nan", ""),
        ("priority", "11", "<= 10"),
        ("deadline_s", "inf", "not a number of seconds"),
        ("width_px", "101", "multiple of 2"),
    ],
)
def test_a_fault_names_row_column_and_value(column: str, value: str, said: str) -> None:
    cells = {"arrival_s": "0", "tenant": "a", "lane": "bulk", "model": "bench", "duration_s": "2"} | {column: value}
    with pytest.raises(InvalidMessage) as caught:
        rows(",".join(cells), "0,a,bulk,bench,2" + ",".join([""] * (len(cells) - 4)), ",".join(cells.values()))
    (fault,) = str(caught.value).splitlines()
    assert fault.startswith(f"row 2, {column}: ")
    assert value in fault
    assert said in fault


def test_all_faults_are_told_at_once_and_not_too_many() -> None:
    with pytest.raises(InvalidMessage) as caught:
        rows("arrival_s,duration_s,model,lane", "x,y,bench,fast", *["z,1,bench,bulk"] * 30)
    said = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in said[:4]] == [
        "row 1, arrival_s", "row 1, duration_s", "row 1, lane", "row 2, arrival_s",
    ]  # fmt: skip
    assert len(said) == 21


@pytest.mark.parametrize(
    ("head", "named"),
    [("arrival_s,length", "'length'"), ("arrival_s", "duration_s"), ("arrival_s,duration_s,arrival_s", "'arrival_s'")],
)
def test_a_wrong_head_line_names_the_column(head: str, named: str) -> None:
    with pytest.raises(InvalidMessage, match=named):
        rows(head, "1,2")


def test_a_table_without_rows_and_a_cell_without_head_are_refused() -> None:
    with pytest.raises(InvalidMessage, match="no rows"):
        rows("arrival_s,duration_s", "")
    with pytest.raises(InvalidMessage, match="row 1, column 3: 'bench' stands below no head"):
        rows("arrival_s,duration_s", "1,2,bench")


def test_made_up_jobs_bring_the_load_that_was_asked_for() -> None:
    mix = Mix({"express": 1.0, "bulk": 3.0}, "bench", seconds(1), seconds(8), 0.25, 5)
    jobs = poisson(20_000, 0.8, 4, mix, MODEL, Costs(), Random(1))
    busy_s = sum(device_s(job.duration_s, MODEL, Costs()) for job in jobs)
    assert busy_s / jobs[-1].arrival_s / 4 == pytest.approx(0.8, rel=0.05)
    assert sum(job.lane == "bulk" for job in jobs) / len(jobs) == pytest.approx(0.75, abs=0.02)
    assert {job.tenant for job in jobs} == {f"tenant-{number}" for number in range(5)}
    assert jobs == poisson(20_000, 0.8, 4, mix, MODEL, Costs(), Random(1))


@pytest.mark.parametrize("text", ["0", "4-1", "1,,2", "a", "1-99999", "-3", "1.5"])
def test_a_wrong_list_of_devices_is_named(text: str) -> None:
    with pytest.raises(InvalidMessage, match="--gpus"):
        options.gpus(text)


def test_options_are_read() -> None:
    assert options.gpus("8,1-3,2") == [1, 2, 3, 8]
    assert options.by_lane("--p95-wait-s", ["express=5", "60"], 0.0) == {"express": 5, "standard": 60, "bulk": 60}
    assert options.costs(["bench=4", "bench@640x360=9"], MODELS, 7.0) == Costs(
        {("bench", 640, 360): 9}, {"bench": 4}, 7
    )
    assert options.slow(["0=2.5"]) == {0: 2.5}
    assert options.deaths(["1=60", "2=5:10"]) == {1: (60, float("inf")), 2: (5, 10)}


@pytest.mark.parametrize(
    ("read_it", "text", "option"),
    [
        (lambda t: options.by_lane("--goodput", [t], 0.0, 1.0), "fast=0.5", "--goodput"),
        (lambda t: options.by_lane("--goodput", [t], 0.0, 1.0), "1.5", "--goodput"),
        (lambda t: options.costs([t], MODELS, None), "other=1", "--cost"),
        (lambda t: options.costs([t], MODELS, None), "bench=0", "--cost"),
        (lambda t: options.slow([t]), "x=2", "--slow"),
        (lambda t: options.deaths([t]), "0=", "--death"),
        (options.shares, "express", "--lanes"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(read_it, text, option) -> None:
    with pytest.raises(InvalidMessage, match=option) as caught:
        read_it(text)
    assert text.rpartition("=")[2] in str(caught.value)


# ---- as recorded -----------------------------------------------------------------------------------------------------

POLICY = limits({"express": 8.0, "standard": 3.0, "bulk": 1.0}, {"acme": 5.0})
MADE = plans([job(10.0 * n, "bulk", "acme", chunks=2) for n in range(4)], limits({"bulk": 1.0}))


def between(made, from_s: float, to_s: float):
    return recorded(made, START_MS + round(from_s * 1000), START_MS + round(to_s * 1000), MODELS, POLICY, POOL)


def test_recorded_jobs_are_those_of_the_time_in_order_once_with_todays_weights() -> None:
    found, left_out = between([*reversed(MADE), *MADE], 10.0, 30.0)
    assert [plan.job for plan in found] == [MADE[1].job, MADE[2].job], "the end is not among them"
    assert {plan.placement.weight for plan in found} == {5.0}
    assert all(plan.chunks == MADE[1].chunks for plan in found)
    assert left_out == {}


def test_what_this_pool_does_not_render_is_left_out_and_counted() -> None:
    other = replace(MADE[1], placement=replace(MADE[1].placement, pool="cuda"))
    gone = replace(MADE[2], render=replace(MADE[2].render, model="gone"))
    found, left_out = between([MADE[0], other, gone], 0.0, 60.0)
    assert [plan.job for plan in found] == [MADE[0].job]
    assert sorted(left_out.values()) == [1, 1]


def test_no_recorded_job_is_said_so() -> None:
    with pytest.raises(InvalidMessage, match="no job was asked for between these moments"):
        between(MADE, 100.0, 200.0)
