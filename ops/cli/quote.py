"""`reelbus quote`: what jobs will cost, before they are sent."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.jobs import LaneName, from_file, one_shot, size_of
from ops.cli.output import data, data_json, say

if TYPE_CHECKING:
    from ops.quote import Quote
    from schemas.costs import CostTable
    from schemas.prompts import PromptDoubt


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(quote))


def quote(
    place: Place,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Requests: a JSON object, a JSON list, or JSON lines; - for stdin.")
    ] = "",
    prompt: Annotated[str, typer.Option(help="One shot with this prompt, instead of a file.")] = "",
    duration_s: Annotated[float, typer.Option(help="With --prompt: length of that shot in seconds.")] = 2.0,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="With --prompt: size, e.g. 640x360.")] = None,
    fps: Annotated[int | None, typer.Option(help="With --prompt: frames per second; 24 if left out.")] = None,
    lane: Annotated[LaneName | None, typer.Option(help="With --prompt: class of service.")] = None,
    model: Annotated[str | None, typer.Option(help="With --prompt: model, from the registry.")] = None,
    price: Annotated[float | None, typer.Option("--price-per-hour", min=0, help="Of a device.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every job as one JSON line.")] = False,
) -> None:
    """Check jobs as the pipeline would and say what they will cost; sends nothing.

    The cost of a chunk is what chunks of its kind took on this installation (topic costs.learnt), or else the
    registry's figure. Models, limits and policies are those of the settings here.
    """
    from ops.limits import load as load_limits
    from ops.quote import quote as quoted
    from stream_processors.moderate.core import examine
    from stream_processors.moderate.shell import load_rules

    if bool(file) == bool(prompt):
        raise typer.BadParameter("give either a FILE or --prompt TEXT")
    rules, limits = load_rules(place.settings, semantic=False), load_limits(place.settings.limits)
    table = _learnt(place)
    jobs, total_s = 0, 0.0
    with ExitStack() as stack:
        job = {"lane": lane and lane.value, "model": model}
        one = [one_shot(prompt, {"duration_s": duration_s}, job, {**size_of(size), "fps": fps})] if prompt else []
        for request in from_file(file, stack) if file else iter(one):
            doubts = examine(request, time.time_ns() // 1_000_000, rules)
            found = quoted(request, rules.offer.models, limits, table, place.settings.pool)
            jobs, total_s = jobs + 1, total_s + found.device_s
            _tell(found, doubts, price, as_json)
    if not as_json and jobs > 1:
        say(f"{jobs} jobs, {_cost(total_s, price)}")


def _learnt(place: Place) -> "CostTable":
    from ops.bus import clients, table
    from schemas.codec import decode
    from schemas.costs import CostTable
    from schemas.topics import COSTS_LEARNT
    from schemas.work import LearntCost

    clients.reached(place.settings)
    return CostTable(decode(LearntCost, raw) for raw in table.load(place.settings, COSTS_LEARNT).values())


def _tell(found: "Quote", doubts: "tuple[PromptDoubt, ...]", price: float | None, as_json: bool) -> None:
    if as_json:
        cost = None if price is None else round(found.device_s / 3600 * price, 4)
        data_json({
            "job": found.job, "lane": found.lane, "model": found.model, "pool": found.pool, "chunks": found.chunks,
            "device_s": round(found.device_s, 3), "cost": cost, "chunks_seen": found.chunks_seen,
            "review": [{"field": doubt.field, "category": doubt.category} for doubt in doubts],
        })  # fmt: skip
        return
    basis = f"as {found.chunks_seen} chunks took" if found.chunks_seen else "by the registry; none was rendered yet"
    chunks = "1 chunk" if found.chunks == 1 else f"{found.chunks} chunks"
    data(f"{found.job}: {chunks} of {found.model} on {found.pool}, {_cost(found.device_s, price)} ({basis})")
    for doubt in doubts:
        data(f"{found.job}: waits until a person has read {doubt.field} ({doubt.category})")


def _cost(device_s: float, price: float | None) -> str:
    from ops.view.units import seconds

    money = "" if price is None else f" for {device_s / 3600 * price:,.4f}"
    return f"{seconds(device_s)} of a device{money}"
