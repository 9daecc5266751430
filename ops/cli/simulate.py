"""`reelbus simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import simulate_options as read
from ops.cli.connection import Place, connected
from ops.cli.output import data, data_json, paper, say
from schemas.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ops.settings import Settings
    from ops.simulate.arrivals import Mix
    from ops.simulate.hardware import Costs
    from ops.simulate.jobs import SimJob
    from ops.simulate.measures import Group, Outcome
    from ops.simulate.sizing import PolicyName, Targets
    from schemas.limits import Limits
    from schemas.plan import Plan
    from schemas.registry import ModelEntry

Repeated = list[str] | None
TENANTS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(simulate))


def simulate(  # one parameter per option
    place: Place,
    jobs: Annotated[Path | None, typer.Option(metavar="FILE", help="CSV of jobs with the second they arrive.")] = None,
    synthetic: Annotated[int | None, typer.Option(metavar="N", min=1, help="Instead of FILE: N jobs made up.")] = None,
    from_topic: Annotated[bool, typer.Option(help="Instead of FILE: jobs that were asked for, from Kafka.")] = False,
    since: Annotated[str, typer.Option(metavar="WHEN", help="From Kafka: since 30m, 2h, 7d ago, or ISO 8601.")] = "1d",
    until: Annotated[str, typer.Option(metavar="WHEN", help="From Kafka: until then; now.")] = "",
    gpus: Annotated[str, typer.Option(metavar="LIST", help="Numbers of devices: 4, or 1,2,4, or 1-8.")] = "1",
    policy: Annotated[str, typer.Option(metavar="NAME", help="reelbus, or fifo: first in, first out.")] = "reelbus",
    seed: Annotated[int, typer.Option(help="Of made-up jobs and of the jitter.")] = 0,
    load: Annotated[float, typer.Option(help="Made-up jobs: busy share of the most devices.")] = 0.8,
    lanes: Annotated[str, typer.Option(help="Made-up jobs: share of each lane.")] = "express=0.2,standard=0.3,bulk=0.5",
    model: Annotated[str, typer.Option(metavar="NAME", help="Made-up jobs: their model.")] = "shapes",
    short_s: Annotated[float, typer.Option(min=0.1, max=600, help="Made-up jobs: length of a short video.")] = 2.0,
    long_s: Annotated[float, typer.Option(min=0.1, max=600, help="Made-up jobs: length of a long video.")] = 20.0,
    long_share: Annotated[float, typer.Option(min=0, max=1, help="Made-up jobs: share of long ones.")] = 0.2,
    tenants: Annotated[int, typer.Option(min=1, help="Made-up jobs: number of tenants.")] = 4,
    cost: Annotated[Repeated, typer.Option(metavar="MODEL[@WxH]=S", help="Device-seconds of a chunk.")] = None,
    model_load_s: Annotated[float | None, typer.Option(min=0, help="Seconds to load a model; the registry's.")] = None,
    jitter: Annotated[float, typer.Option(help="A chunk takes its cost times 1 +- this, at random.")] = 0.1,
    batch_gain: Annotated[float, typer.Option(help="0: a batch takes as long as its chunks; 1: as one.")] = 0.0,
    slow: Annotated[Repeated, typer.Option(metavar="N=FACTOR", help="Worker N takes so many times longer.")] = None,
    death: Annotated[Repeated, typer.Option(metavar="N=AT_S[:AWAY_S]", help="Worker N dies, and comes back.")] = None,
    p95_wait_s: Annotated[Repeated, typer.Option(metavar="[LANE=]S", help="Target: p95 of the wait.")] = None,
    goodput: Annotated[Repeated, typer.Option(metavar="[LANE=]SHARE", help="Target: share of good jobs.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="DIR", help="Write plots (PNG) into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Play jobs through the scheduler in virtual time, on several numbers of devices: waits, goodput, utilisation.

    Registry, limits and pool are those of the settings. Needs a broker for
    --from-topic only. Exit code 1 when targets are given and no
    number of devices meets them.
    """
    from ops.limits import load as load_limits
    from ops.registry import load as load_registry
    from ops.simulate.arrivals import Mix
    from ops.simulate.hardware import Hardware
    from ops.simulate.jobs import planned
    from ops.simulate.sizing import Targets, outcomes, smallest

    settings, counts = place.settings, read.gpus(gpus)
    models, limits = load_registry(settings.registry), load_limits(settings.limits)
    hardware = Hardware(
        read.costs(cost or (), models, model_load_s),
        jitter,
        batch_gain,
        seed,
        read.slow(slow or ()),
        read.deaths(death or ()),
    )
    targets = Targets(
        read.by_lane("--p95-wait-s", p95_wait_s or (), 0.0), read.by_lane("--goodput", goodput or (), 0.0, 1.0)
    )
    if (jobs is not None) + (synthetic is not None) + from_topic != 1:
        raise InvalidMessage("one of --jobs FILE, --synthetic N and --from-topic says which jobs")
    if from_topic:
        plans = _recorded(settings, since, until, models, limits)
    else:
        if jobs is not None:
            arriving = _from_file(jobs, models, settings)
        else:
            mix = Mix(read.shares(lanes), model, short_s, long_s, long_share, tenants)
            arriving = _made_up(synthetic or 0, load, max(counts), mix, models, hardware.costs, seed, settings.pool)
        plans = planned(arriving, models, limits, settings.pool)
    found = []
    for outcome in outcomes(plans, models, limits, settings.pool, counts, hardware, _policy(policy)):
        done = f"{outcome.completed:,} of {outcome.jobs:,} jobs"
        say(f"{outcome.gpus} devices: {done} in {outcome.took_s:,.0f} simulated s")
        found.append(outcome)
    least = smallest(found, targets) if targets else None
    _tell(found, targets, least, as_json)
    if plot is not None:
        from ops.simulate.plots import plot_outcomes

        for path in plot_outcomes(found, plot):
            say(f"written: {path}")
    if targets and least is None:
        raise typer.Exit(1)


def _policy(name: str) -> "PolicyName":
    from ops.simulate.sizing import POLICIES

    for known in POLICIES:
        if name == known:
            return known
    raise InvalidMessage(f"--policy: {name!r} is not one of {', '.join(POLICIES)}")


def _from_file(path: Path, models: "Mapping[str, ModelEntry]", settings: "Settings") -> "list[SimJob]":
    from ops.simulate.rows import read as read_rows

    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return read_rows(lines, models, settings.pool)
    except UnicodeDecodeError as exc:
        raise InvalidMessage(f"{path}: not UTF-8 text ({exc.reason} at byte {exc.start})") from None
    except InvalidMessage as exc:
        raise InvalidMessage(f"{path}: {exc}") from None


def _recorded(
    settings: "Settings", since: str, until: str, models: "Mapping[str, ModelEntry]", limits: "Limits"
) -> "list[Plan]":
    from time import time

    from ops.cli import simulate_recorded
    from ops.simulate.recorded import recorded

    since_ms, until_ms = simulate_recorded.window(since, until, int(time() * 1000))
    made = simulate_recorded.plans(settings, since_ms)
    found, left_out = recorded(made, since_ms, until_ms, models, limits, settings.pool)
    for why, jobs in left_out.items():
        say(f"left out: {jobs:,} jobs {why}")
    return found


def _made_up(
    count: int,
    load: float,
    gpus: int,
    mix: "Mix",
    models: "Mapping[str, ModelEntry]",
    costs: "Costs",
    seed: int,
    pool: str,
) -> "list[SimJob]":
    from random import Random

    from ops.simulate.arrivals import poisson
    from ops.simulate.jobs import check_model

    check_model(mix.model, models, pool)
    return poisson(count, load, gpus, mix, models[mix.model], costs, Random(seed))


def _tell(found: "Sequence[Outcome]", targets: "Targets", least: int | None, as_json: bool) -> None:
    missed = {outcome.gpus: targets.missed(outcome) for outcome in found}
    if as_json:
        data_json({
            "outcomes": found,
            "targets": {"p95_wait_s": targets.p95_wait_s, "goodput": targets.goodput} if targets else None,
            "missed": {str(count): said for count, said in missed.items()},
            "smallest": least,
        })  # fmt: skip
        return
    _table(found)
    if not targets:
        return
    for count, said in missed.items():
        for sentence in said:
            data(f"{count} devices: {sentence}")
    data(f"smallest number of devices that meets the targets: {least if least is not None else 'none of these'}")


def _table(found: "Sequence[Outcome]") -> None:
    from ops.view.table import plain_table

    heads = ("wait p50", "p95", "p99", "done p50", "done p95", "done p99", "goodput")
    fleet = ("rendering", "loading", "idle", "Jain")
    numbers = ("gpus", "jobs", *heads, *fleet)
    table = plain_table("gpus", "lane", "tenant", "jobs", *heads, *fleet, numbers=numbers)
    left_out = 0
    for outcome in found:
        busy = [f"{share:.0%}" for share in (outcome.rendering, outcome.loading, outcome.idle)]
        table.add_row(str(outcome.gpus), "all", "", str(outcome.jobs), *[""] * len(heads), *busy, f"{outcome.jain:.3f}")
        shown = outcome.tenants[:TENANTS_SHOWN] if len({g.tenant for g in outcome.tenants}) > 1 else ()
        left_out = len(outcome.tenants) - len(shown) if shown else 0
        for group in (*outcome.lanes, *shown):
            table.add_row("", group.lane, group.tenant, str(group.jobs), *_cells(group), "", "", "", "")
    paper().print(table)
    if left_out:
        data(f"{left_out} more tenants and lanes are not shown; --json has all")
    data("waits and times in simulated seconds")


def _cells(group: "Group") -> list[str]:
    seconds = (
        group.wait_p50_s, group.wait_p95_s, group.wait_p99_s, group.done_p50_s, group.done_p95_s, group.done_p99_s
    )  # fmt: skip
    return ["-" if s is None else f"{s:.1f}" for s in seconds] + [f"{group.goodput:.1%}"]
